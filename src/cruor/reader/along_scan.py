"""What a slice's neighbours say of it: blood reaches over more than one slice."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cruor.bundle.manifest import MapContext, SliceCalibration

NEARLY = 1e-6
"""Cells nearer to 0 or 1 count as so near: their logits stay numbers."""

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


def count_hottest(cells: int, share: float) -> int:
    """How many of a map's cells are its hottest: at least one."""
    return max(1, round(share * cells))


def logits_of_cells(maps: NDArray[np.floating]) -> NDArray[np.float64]:
    """Probabilities of cells as logits, of the same shape; certain ones as nearly certain (NEARLY)."""
    chance = np.clip(np.asarray(maps, dtype=np.float64), NEARLY, 1 - NEARLY)
    return np.asarray(np.log(chance / (1 - chance)))


def context_of_maps(
    maps: NDArray[np.floating], positions_mm: NDArray[np.float64], context: MapContext
) -> NDArray[np.float64]:
    """What neighbours' maps change in the part of each slice's logit that is pooled from its map.

    Blood goes on at the same place of the next slice, what is taken for it mostly does not. The head is cut
    out alike in each slice, so that cells of one place lie about on each other; nothing is moved to fit.
    Exact for one network; of several the mean map is taken, though each pools its logit from its own.

    Args:
        maps: probability of blood by cell, (slices, h, w), of one series.
        positions_mm: along the slice normal, (slices,), in any order.
        context: how far, and how the logit is pooled.

    Returns:
        What is to be added to the logit of `any`, (slices,); 0 for a slice without neighbours near.
    """
    cells = logits_of_cells(maps).reshape(len(maps), -1)
    averaged = average_along_scan(cells, positions_mm, context.reach_mm)
    change = _mean_hottest(averaged, context.hottest_share) - _mean_hottest(cells, context.hottest_share)
    return np.asarray(context.logit_share * change)


def logits_along_scan(
    logits: NDArray[np.floating],
    maps: NDArray[np.floating] | None,
    positions_mm: NDArray[np.float64],
    calibration: SliceCalibration,
) -> NDArray[np.float64]:
    """The logits of a series as they are calibrated: with the context of maps, and averaged.

    Args:
        logits: of the network, (slices, outputs), `any` first.
        maps: as `context_of_maps`; None where the network has none.
        positions_mm: along the slice normal, (slices,), in any order.
        calibration: how far neighbours are asked.

    Returns:
        (slices, outputs).
    """
    told = np.array(logits, dtype=np.float64)
    if maps is not None and calibration.maps is not None:
        told[:, 0] += context_of_maps(maps, positions_mm, calibration.maps)
    return average_along_scan(told, positions_mm, calibration.reach_mm)


def _mean_hottest(cells: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    count = count_hottest(cells.shape[1], share)
    return np.asarray(np.partition(cells, -count, axis=1)[:, -count:].mean(axis=1))
