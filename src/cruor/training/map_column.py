"""Maps of blood in a table of slices: what the network said by cell, kept beside its logits."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

MAP_COLUMN = "map"
"""Probability of blood by cell of each slice's square map: the bytes of little-endian float32, by rows."""

_CELL = np.dtype("<f4")


def pack_maps(maps: NDArray[np.floating]) -> list[bytes]:
    """(slices, side, side) -> the column's values."""
    return [one.astype(_CELL).tobytes() for one in maps]


def unpack_maps(column: pd.Series | Iterable[bytes]) -> NDArray[np.float32]:
    """The column's values -> (slices, side, side) float32; of no slices (0, 0, 0)."""
    column = list(column)
    if not column:
        return np.zeros((0, 0, 0), dtype=np.float32)
    cells = np.stack([np.frombuffer(one, dtype=_CELL) for one in column])
    side = math.isqrt(cells.shape[1])
    return cells.reshape(len(cells), side, side)
