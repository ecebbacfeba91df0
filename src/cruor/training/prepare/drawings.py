"""Drawn blood: where a machine (BLAST-CT, Monteiro 2020) sees blood. A teacher, not the truth.

A folder of drawings holds `maps.csv` (`set, id, peak, file`) and one picture a slice, over the same field
as the slice; red, green and blue are probabilities x 255 of three kinds of blood, added here since the kind
is not to be trusted on single slices.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cruor.training.prepare.tables import read_table, whole_number

LEAST_PEAK = 128
"""A drawing that nowhere reaches one half says nothing: it is left out."""


class Drawings:
    """The drawings of a folder by data set and slice.

    Raises:
        PrepareError: the folder has no table of them.
    """

    def __init__(self, folder: Path) -> None:
        table = folder / "maps.csv"
        rows = read_table(table, "set", "id", "peak", "file")
        rows = [row for row in rows if whole_number(table, row, "peak") >= LEAST_PEAK]
        self._files = {(row["set"], row["id"]): folder / row["file"] for row in rows}

    def of(self, source: str, slice_id: str) -> NDArray[np.uint8] | None:
        """Probability of blood x 255, uint8, at about 1 mm a pixel; None where nothing is drawn."""
        file = self._files.get((source, slice_id))
        if file is None:
            return None
        kinds = np.asarray(Image.open(file).convert("RGB"), dtype=np.uint16)
        return np.asarray(np.minimum(kinds.sum(axis=2), 255), dtype=np.uint8)
