"""Files -> instances -> series -> slices in HU: finding, decoding, ordering, choosing, refusing."""
