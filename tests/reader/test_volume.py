"""`cruor.reader.volume`: areas of the map and the places of its slices make millilitres."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cruor.reader.volume import blood_area_mm2, slab_mm, volume_ml

fifths_of_mm = st.integers(0, 2000).map(lambda fifths: fifths / 5)
"""A tenth is where positions become one level: which side a difference of two falls on is rounding."""
positions = st.lists(fifths_of_mm, min_size=2, max_size=60).map(sorted)


def test_a_cell_counts_with_its_area_in_the_slice() -> None:
    probability = np.zeros((10, 10), dtype=np.float32)
    probability[4, 4:6] = 0.9
    # A box of 200 pixels of 0.5 x 0.4 mm is 100 x 80 mm: a cell of a tenth is 10 x 8 mm.
    assert blood_area_mm2(probability, 200, (0.5, 0.4)) == pytest.approx(2 * 80)


def test_a_cell_below_a_half_does_not_count() -> None:
    assert blood_area_mm2(np.full((4, 4), 0.49, dtype=np.float32), 100, (1.0, 1.0)) == 0


def test_evenly_spaced_slices_stand_for_their_spacing() -> None:
    assert slab_mm(np.array([0.0, 5.0, 10.0, 15.0])).tolist() == [5, 5, 5, 5]


def test_a_gap_is_filled_from_both_sides() -> None:
    assert slab_mm(np.array([0.0, 5.0, 15.0, 20.0])).tolist() == [5, 7.5, 7.5, 5]


def test_positions_that_differ_by_rounding_are_one_level() -> None:
    np.testing.assert_allclose(slab_mm(np.array([0.0, 0.05, 5.0, 10.0])).sum(), 15.0, atol=0.1)


def test_a_level_imaged_twice_counts_once() -> None:
    once = volume_ml(np.array([100.0, 100.0, 100.0]), np.array([0.0, 5.0, 10.0]))
    twice = volume_ml(np.array([100.0, 90.0, 110.0, 100.0]), np.array([0.0, 5.0, 5.0, 10.0]))
    assert twice == pytest.approx(once) == pytest.approx(1.5)


@given(positions)
def test_the_slabs_of_a_scan_are_its_length_and_half_a_step_at_each_end(places: list[float]) -> None:
    levels = sorted(set(places))
    slabs = slab_mm(np.array(places))
    if len(levels) == 1:
        assert slabs.sum() == 0
    else:
        ends = (levels[1] - levels[0] + levels[-1] - levels[-2]) / 2
        assert slabs.sum() == pytest.approx(levels[-1] - levels[0] + ends)


@given(st.floats(0.6, 10), st.floats(5, 30))
def test_a_ball_keeps_its_volume_at_any_slice_spacing(spacing: float, radius: float) -> None:
    places = np.arange(-60, 60, spacing)
    areas = np.pi * np.clip(radius**2 - places**2, 0, None)
    ball = 4 / 3 * np.pi * radius**3 / 1000
    assert volume_ml(areas, places) == pytest.approx(ball, rel=0.02 + (spacing / radius) ** 2)
