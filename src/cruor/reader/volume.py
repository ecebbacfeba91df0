"""Volume of blood in a study, estimated from the maps of its slices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cruor.bundle.manifest import VolumeFit
from cruor.dicom.geometry import SAME_LEVEL_MM

BLOOD = 0.5
"""A cell counts as blood from this probability on."""

MM3_PER_ML = 1000.0


@dataclass(frozen=True)
class BloodVolume:
    """An estimate of the blood in a study, ml, and the range that held in four of five studies measured."""

    ml: float
    low_ml: float
    high_ml: float


def estimate(raw_ml: float, fit: VolumeFit) -> BloodVolume:
    """What the maps' blood stands for, by what was measured (see `VolumeFit`)."""
    ml = fit.factor * raw_ml
    return BloodVolume(ml, fit.low * ml, fit.high * ml)


def blood_area_mm2(
    probability: NDArray[np.float32], box_size: int, pixel_spacing: tuple[float, float]
) -> float:
    """Area of the cells that show blood.

    Args:
        probability: of blood by cell, (h, w), 0 to 1; the map covers a box of the slice.
        box_size: rows and columns of that box, pixels of the slice.
        pixel_spacing: distance of rows and of columns, mm.
    """
    box_mm2 = box_size * pixel_spacing[0] * box_size * pixel_spacing[1]
    return float((probability >= BLOOD).mean() * box_mm2)


def slab_mm(positions_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """How much of the scan each slice stands for: half way to its neighbours.

    Slices at one position share it, gaps are filled from both sides, and the outermost slices reach out as
    far as they reach in. Along the slice normal, so that a tilted gantry needs no correction.

    Args:
        positions_mm: along the slice normal, ascending, (slices,).

    Returns:
        mm, (slices,); 0 where there is one position alone.
    """
    starts = np.concatenate([[True], np.diff(positions_mm) >= SAME_LEVEL_MM])
    level_of = np.cumsum(starts) - 1
    count = np.bincount(level_of)
    if len(count) < 2:
        return np.zeros(len(positions_mm))
    gaps = np.diff(positions_mm[starts])
    reach = (np.concatenate([gaps[:1], gaps]) + np.concatenate([gaps, gaps[-1:]])) / 2
    return np.asarray((reach / count)[level_of])


def volume_ml(areas_mm2: NDArray[np.float64], positions_mm: NDArray[np.float64]) -> float:
    """Sum of areas times what each slice stands for, ml."""
    return float((areas_mm2 * slab_mm(positions_mm)).sum() / MM3_PER_ML)
