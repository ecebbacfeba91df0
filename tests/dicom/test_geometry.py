"""Geometry on arrays alone, most of it as properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cruor.dicom import geometry
from cruor.dicom.instances import Vector

ANGLES = st.floats(-44, 44)


def tilted(degrees: float) -> tuple[Vector, Vector]:
    """An axial slice turned about the patient's left-right axis."""
    angle = math.radians(degrees)
    return (1.0, 0.0, 0.0), (0.0, math.cos(angle), math.sin(angle))


@given(ANGLES)
def test_tilt_of_a_turned_slice_is_the_angle_it_was_turned_by(degrees: float) -> None:
    assert geometry.tilt_degrees(*tilted(degrees)) == pytest.approx(abs(degrees), abs=1e-6)


@given(ANGLES)
def test_tilt_does_not_depend_on_which_way_the_normal_points(degrees: float) -> None:
    row, column = tilted(degrees)
    assert geometry.tilt_degrees(column, row) == pytest.approx(geometry.tilt_degrees(row, column), abs=1e-6)


@given(ANGLES)
def test_normal_of_an_axial_slice_points_to_the_head(degrees: float) -> None:
    row, column = tilted(degrees)
    for normal in (geometry.upward_normal(row, column), geometry.upward_normal(column, row)):
        assert normal[2] > 0
        assert np.linalg.norm(normal) == pytest.approx(1)


@given(st.lists(st.floats(-500, 500), min_size=1, max_size=40), ANGLES)
def test_projection_gives_back_how_far_a_slice_was_moved_along_the_normal(
    places: list[float], degrees: float
) -> None:
    normal = geometry.upward_normal(*tilted(degrees))
    moved = np.outer(places, normal)
    np.testing.assert_allclose(geometry.project(moved, normal), places, atol=1e-9)


@given(st.integers(1, 40), st.floats(0.3, 10), st.lists(st.integers(0, 39), max_size=10))
def test_doubled_levels_are_counted(count: int, spacing: float, again: list[int]) -> None:
    doubled = {level for level in again if level < count}
    along: NDArray[np.float64] = np.sort([level * spacing for level in [*range(count), *doubled]])
    found = geometry.levels(along)
    assert (found.count, found.doubled) == (count, len(doubled))
    assert found.most_repeats == (2 if doubled else 1)


@given(st.integers(12, 60), st.floats(0.3, 10), st.data())
def test_one_slice_taken_out_is_missing(count: int, spacing: float, data: st.DataObject) -> None:
    gone = data.draw(st.integers(1, count - 2))
    along = np.array([level * spacing for level in range(count) if level != gone], dtype=np.float64)
    found = geometry.levels(along)
    assert found.missing == 1
    assert found.spacing_mm == pytest.approx(spacing)


@given(st.integers(2, 60), st.floats(0.3, 10))
def test_even_spacing_is_even_and_complete(count: int, spacing: float) -> None:
    found = geometry.levels(np.arange(count, dtype=np.float64) * spacing)
    assert found.even
    assert not found.missing
    assert found.spacing_mm == pytest.approx(spacing)


def test_a_protocol_of_two_distances_misses_nothing() -> None:
    found = geometry.levels(np.concatenate([np.arange(12) * 2.5, 30 + np.arange(12) * 5.0]))
    assert not found.even
    assert found.missing == 0
    assert (found.least_mm, found.greatest_mm) == (2.5, 5.0)


def test_one_level_has_no_spacing() -> None:
    assert geometry.levels(np.array([3.0])).spacing_mm is None
    assert geometry.levels(np.array([3.0, 3.0])).doubled == 1


@pytest.mark.parametrize(
    "orientation", [(0, 0, 0, 0, 0, 0), (1, 0, 0, 1, 0, 0), (2, 0, 0, 0, 1, 0), (1, 0, 0, 0.5, 0.5, 0)]
)
def test_an_impossible_orientation_is_none(orientation: tuple[float, ...]) -> None:
    assert geometry.unit_axes(orientation) is None


def test_axes_are_brought_to_length_one() -> None:
    axes = geometry.unit_axes((1.02, 0, 0, 0, 0.99, 0))
    assert axes == ((1, 0, 0), (0, 1, 0))
