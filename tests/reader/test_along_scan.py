"""`reader.along_scan`: neighbours count by their distance."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cruor.reader.along_scan import average_along_scan

PLACES = st.lists(st.integers(0, 3000), min_size=1, max_size=40, unique=True).map(
    lambda tenths: np.array(tenths) / 10
)


def bleed(positions: np.ndarray) -> np.ndarray:
    """Logits of a bleed between 37.6 and 62.4 mm, (slices, 1)."""
    return np.where(np.abs(positions - 50) < 12.4, 3.0, -3.0)[:, None]


def test_without_reach_nothing_changes() -> None:
    logits = np.array([[1.0, -2.0], [0.5, 3.0]])
    assert np.array_equal(average_along_scan(logits, np.array([0.0, 1.0]), 0.0), logits)


def test_one_slice_that_disagrees_with_its_neighbours_is_drawn_to_them() -> None:
    logits = np.array([-3.0, -3.0, 3.0, -3.0, -3.0])[:, None]
    averaged = average_along_scan(logits, np.arange(5) * 5.0, 4.0)[:, 0]
    assert -3 < averaged[2] < 1 and averaged[1] > -3


def test_neighbours_five_mm_away_weigh_half_as_much_at_a_reach_of_four() -> None:
    averaged = average_along_scan(np.array([[0.0], [1.0], [0.0]]), np.array([0.0, 5.0, 10.0]), 4.0)[1, 0]
    near = np.exp(-((5 / 4) ** 2) / 2)
    assert averaged == pytest.approx(1 / (1 + 2 * near))


@pytest.mark.parametrize("spacing", [0.6, 1.25, 2.5])
def test_thin_and_thick_slices_say_nearly_the_same_of_the_same_place(spacing: float) -> None:
    thick, thin = np.arange(0, 100, 5.0), np.arange(0, 100, spacing)
    of_thick = average_along_scan(bleed(thick), thick, 4.0)[:, 0]
    of_thin = average_along_scan(bleed(thin), thin, 4.0)[:, 0]
    assert np.abs(np.interp(thick, thin, of_thin) - of_thick).max() < 0.9


def test_a_slice_beyond_a_gap_keeps_its_own() -> None:
    averaged = average_along_scan(np.array([[3.0], [3.0], [-3.0]]), np.array([0.0, 2.0, 40.0]), 4.0)
    assert averaged[2, 0] == -3.0


@given(PLACES)
def test_averages_stay_between_the_lowest_and_the_highest(places: np.ndarray) -> None:
    logits = np.sin(places)[:, None] * 4
    averaged = average_along_scan(logits, places, 4.0)
    assert (averaged >= logits.min() - 1e-9).all() and (averaged <= logits.max() + 1e-9).all()


@given(PLACES)
def test_the_direction_of_the_scan_does_not_matter(places: np.ndarray) -> None:
    logits = np.cos(places)[:, None]
    turned = average_along_scan(logits[::-1], -places[::-1], 4.0)[::-1]
    np.testing.assert_allclose(average_along_scan(logits, places, 4.0), turned, atol=1e-9)
