"""Where slices lie: pure functions on arrays, positions in mm in the patient's axes.

Patient axes (PS3.3 C.7.6.2.1.1): x to the patient's left, y to the back, z to the head.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cruor.dicom.instances import Vector

SAME_ORIENTATION_DEGREES = 1.0
"""Slices whose axes differ by less are of one orientation: headers round direction cosines."""

SAME_LEVEL_MM = 0.1
"""Slices closer than this show the same level; no scanner reconstructs denser."""

UNEVEN_MM = 0.2
"""Distances of neighbours that differ by more (and by more than UNEVEN_SHARE) are uneven, not rounded."""

UNEVEN_SHARE = 0.05
"""See UNEVEN_MM: a share of the median distance."""

GAP_TOLERANCE_SHARE = 0.15
"""A gap this close to a whole multiple of the median distance is one of missing slices."""

MAX_GAPS_SHARE = 0.15
"""More wide gaps than this share of all are a protocol of two distances, not missing slices."""

AXIAL_WITHIN_DEGREES = 35.0
"""Slices tilted by less are axial: gantries tilt by up to 30 degrees, coronal slices by 60 to 90."""

TILT_NOTED_DEGREES = 0.5
"""A smaller tilt is not worth a note."""


@dataclass(frozen=True)
class Levels:
    """How the levels of a series follow one another.

    Attributes:
        count: different levels.
        doubled: levels imaged more than once.
        most_repeats: images of the level imaged most often.
        spacing_mm: median distance of neighbouring levels, None where there is one level.
        least_mm, greatest_mm: least and greatest distance, None where there is one level.
        even: whether all distances are the same within UNEVEN_MM or UNEVEN_SHARE.
        missing: slices that seem to be missing, by gaps of whole multiples of the median distance.
    """

    count: int
    doubled: int
    most_repeats: int
    spacing_mm: float | None
    least_mm: float | None
    greatest_mm: float | None
    even: bool
    missing: int


def unit_axes(orientation: tuple[float, ...]) -> tuple[Vector, Vector] | None:
    """Return the row and the column direction as unit vectors, None where they are no two perpendicular axes.

    Args:
        orientation: ImageOrientationPatient, 6 numbers (PS3.3 C.7.6.2.1.1).
    """
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if min(lengths) < 0.9 or max(lengths) > 1.1 or abs(row @ column) > 0.05:
        return None
    row, column = row / lengths[0], column / lengths[1]
    return (float(row[0]), float(row[1]), float(row[2])), (
        float(column[0]),
        float(column[1]),
        float(column[2]),
    )


def upward_normal(row: Vector, column: Vector) -> NDArray[np.float64]:
    """Return the unit normal of a slice, (3,), turned to the head (for upright slices to left or back)."""
    normal: NDArray[np.float64] = np.cross(np.array(row), np.array(column))
    normal = normal / np.linalg.norm(normal)
    # From the head down: a sagittal slice has rounding noise in z, which must not decide.
    axis = next((axis for axis in (2, 1, 0) if abs(normal[axis]) > 0.5), 2)
    return -normal if normal[axis] < 0 else normal


def angle_degrees(one: Vector, other: Vector) -> float:
    """Return the angle between two directions, 0 to 180 degrees."""
    a, b = np.array(one), np.array(other)
    # atan2, not acos: acos is blunt near 0, where tolerances lie.
    return math.degrees(math.atan2(float(np.linalg.norm(np.cross(a, b))), float(a @ b)))


def tilt_degrees(row: Vector, column: Vector) -> float:
    """Return the angle between slice normal and the patient's long axis, 0 to 90 degrees.

    From the orientation and not from GantryDetectorTilt (0018,1120), whose sign and presence vary.
    """
    normal = upward_normal(row, column)
    angle = angle_degrees((float(normal[0]), float(normal[1]), float(normal[2])), (0.0, 0.0, 1.0))
    return min(angle, 180 - angle)


def project(positions: NDArray[np.float64], normal: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far along the normal each position lies: (n, 3) mm, (3,) -> (n,) mm."""
    along: NDArray[np.float64] = positions @ normal
    return along


def levels(along_mm: NDArray[np.float64]) -> Levels:
    """Describe the levels of sorted positions along the normal, (n,) mm, n at least 1."""
    steps = np.diff(along_mm)
    starts = np.concatenate([[True], steps >= SAME_LEVEL_MM])
    repeats = np.bincount(np.cumsum(starts) - 1)
    distances = np.diff(along_mm[starts])
    count, doubled, most = len(repeats), int((repeats > 1).sum()), int(repeats.max())
    if not len(distances):
        return Levels(count, doubled, most, None, None, None, True, 0)
    median, least, greatest = float(np.median(distances)), float(distances.min()), float(distances.max())
    even = max(greatest - median, median - least) <= max(UNEVEN_MM, UNEVEN_SHARE * median)
    return Levels(count, doubled, most, median, least, greatest, even, _missing(distances, median))


def _missing(distances: NDArray[np.float64], median: float) -> int:
    """Count slices missing in gaps that are whole multiples of the median and stand alone among even ones."""
    multiples = np.rint(distances / median)
    wide = multiples >= 2
    fits = np.abs(distances - multiples * median) <= GAP_TOLERANCE_SHARE * median
    even = np.abs(distances - median) <= GAP_TOLERANCE_SHARE * median
    if (
        not wide.any()
        or not (even | (wide & fits)).all()
        or wide.sum() > max(1, MAX_GAPS_SHARE * len(distances))
    ):
        return 0
    return int((multiples[wide] - 1).sum())
