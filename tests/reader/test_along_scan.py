"""`reader.along_scan`: neighbours count by their distance."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cruor.bundle.manifest import MapContext, SliceCalibration
from cruor.reader.along_scan import (
    average_along_scan,
    context_of_maps,
    count_hottest,
    logits_along_scan,
)

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


CONTEXT = MapContext(reach_mm=4.0, hottest_share=0.02, logit_share=0.7)


def maps_with_blood(*where: tuple[int, int] | None) -> np.ndarray:
    """Maps of 10 x 10 cells, a slice each, cold but for a block of 2 x 2 cells; (slices, 10, 10)."""
    maps = np.full((len(where), 10, 10), 0.01)
    for one, place in zip(maps, where, strict=True):
        if place is not None:
            one[place[0] : place[0] + 2, place[1] : place[1] + 2] = 0.9
    return maps


def test_blood_that_goes_on_at_the_same_place_keeps_its_logit_and_elsewhere_it_loses() -> None:
    places = np.arange(3) * 5.0
    goes_on = context_of_maps(maps_with_blood((2, 2), (2, 2), (2, 2)), places, CONTEXT)
    jumps = context_of_maps(maps_with_blood((2, 2), (6, 6), (2, 2)), places, CONTEXT)
    np.testing.assert_allclose(goes_on, 0, atol=1e-9)
    assert (jumps < -1).all()


def test_a_slice_beside_blood_gains_by_its_share_of_the_pooled_logit() -> None:
    maps = maps_with_blood((2, 2), None)
    (_, gained) = context_of_maps(maps, np.array([0.0, 5.0]), CONTEXT)
    near = np.exp(-((5 / 4) ** 2) / 2)
    warm, cold = np.log(9), np.log(0.01 / 0.99)
    assert gained == pytest.approx(0.7 * ((cold + near * warm) / (1 + near) - cold))


def test_a_slice_without_neighbours_near_gets_nothing_from_maps() -> None:
    maps = maps_with_blood((2, 2), None, (5, 5))
    np.testing.assert_allclose(context_of_maps(maps, np.array([0.0, 100.0, 200.0]), CONTEXT), 0, atol=1e-9)


def test_cells_that_are_certain_leave_the_logits_numbers() -> None:
    maps = np.stack([np.zeros((4, 4)), np.ones((4, 4))])
    assert np.isfinite(context_of_maps(maps, np.array([0.0, 5.0]), CONTEXT)).all()


@given(PLACES)
def test_the_order_of_slices_does_not_matter_to_maps(places: np.ndarray) -> None:
    maps = np.random.default_rng(len(places)).uniform(0.01, 0.99, (len(places), 5, 5))
    order = np.random.default_rng(1).permutation(len(places))
    shuffled = context_of_maps(maps[order], places[order], CONTEXT)
    np.testing.assert_allclose(shuffled, context_of_maps(maps, places, CONTEXT)[order], atol=1e-9)


def test_the_hottest_cells_are_at_least_one() -> None:
    assert count_hottest(324, 0.02) == 6
    assert count_hottest(9, 0.02) == 1


def test_maps_change_the_logit_of_any_alone_and_before_logits_are_averaged() -> None:
    logits, places = np.zeros((3, 6)), np.arange(3) * 5.0
    maps = maps_with_blood(None, (2, 2), None)
    told = logits_along_scan(logits, maps, places, SliceCalibration((1.0,) * 6, (0.0,) * 6, 4.0, CONTEXT))
    wanted = average_along_scan(context_of_maps(maps, places, CONTEXT)[:, None], places, 4.0)
    np.testing.assert_allclose(told[:, :1], wanted)
    assert (told[:, 1:] == 0).all()


@pytest.mark.parametrize("maps", [None, maps_with_blood(None, (2, 2), None)])
def test_a_calibration_without_context_asks_no_map(maps: np.ndarray | None) -> None:
    logits, places = np.array([[0.0], [1.0], [0.0]]), np.arange(3) * 5.0
    told = logits_along_scan(logits, maps, places, SliceCalibration((1.0,), (0.0,), 4.0))
    np.testing.assert_array_equal(told, average_along_scan(logits, places, 4.0))
