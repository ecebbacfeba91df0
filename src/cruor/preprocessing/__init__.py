"""HU slice -> network input: head crop, resize, windows. The same functions serve training and reading."""
