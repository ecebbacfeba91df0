"""What a slice's neighbours say of it: blood reaches over more than one slice."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FARTHEST = 3.0
"""Slices farther away than so many times the reach count for nothing."""


def average_along_scan(
    logits: NDArray[np.floating], positions_mm: NDArray[np.float64], reach_mm: float
) -> NDArray[np.float64]:
    """Average each slice's logits with its neighbours', by a Gaussian of their distance.

    By distance and not by number: slices of 0.6 mm and of 5 mm are looked at over the same length of head. A
    slice without neighbours near keeps its own.

    Args:
        logits: (slices, outputs), of one series.
        positions_mm: along the slice normal, (slices,), in any order.
        reach_mm: standard deviation of the Gaussian; 0 changes nothing.

    Returns:
        (slices, outputs).
    """
    if reach_mm == 0:
        return np.asarray(logits, dtype=np.float64)
    distance = np.abs(positions_mm[:, None] - positions_mm[None, :]) / reach_mm
    weight = np.where(distance <= FARTHEST, np.exp(-(distance**2) / 2), 0.0)
    return np.asarray((weight / weight.sum(axis=1, keepdims=True)) @ np.asarray(logits, dtype=np.float64))
