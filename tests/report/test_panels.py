from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cruor.preprocessing.crop import Box
from cruor.report.panels import overlay, render_panel, sides_of, slice_heat

from .samples import SIZE, frame, read_slice, slice_result, suspected


def test_a_slice_without_heat_keeps_its_grey() -> None:
    grey = np.linspace(0, 1, 16, dtype=np.float32).reshape(4, 4)
    assert np.allclose(overlay(grey, np.zeros((4, 4), np.float32)), grey[..., None])


def test_heat_is_not_stretched_per_slice() -> None:
    weak = slice_result(1, 0.1)
    assert slice_heat(weak, (SIZE, SIZE), 1.0).max() <= 0.1 + 1e-6


def test_heat_above_the_scale_is_shown_as_the_hottest() -> None:
    assert slice_heat(
        slice_result(1, 9.0, map=np.full((2, 2), 9.0, np.float32)), (SIZE, SIZE), 1.0
    ).max() == pytest.approx(1.0)


def test_heat_lies_in_the_box_and_nowhere_else() -> None:
    one = slice_result(1, 0.5, map=np.ones((2, 2), np.float32), box=Box(10, 20, 30))
    heat = slice_heat(one, (SIZE, SIZE), 1.0)
    assert heat[10:40, 20:50].min() == pytest.approx(1.0)
    assert heat.sum() == pytest.approx(900.0)


@pytest.mark.parametrize("box", [Box(-20, -30, 80), Box(40, 50, 60), Box(-100, 0, 50), Box(5, 5, 1)])
def test_a_box_over_the_edge_of_the_slice_is_drawn(box: Box) -> None:
    one = slice_result(1, 0.5, map=np.ones((3, 3), np.float32), box=box)
    heat = slice_heat(one, (SIZE, SIZE), 1.0)
    inside = np.zeros((SIZE, SIZE), bool)
    inside[max(box.top, 0) : max(box.top + box.size, 0), max(box.left, 0) : max(box.left + box.size, 0)] = (
        True
    )
    assert np.array_equal(heat > 0.5, inside)
    render_panel(suspected(), one, read_slice, tile=40)


def test_the_hottest_point_is_where_the_map_has_it() -> None:
    heat = np.zeros((4, 4), np.float32)
    heat[0, 3] = 1.0
    found = slice_heat(slice_result(1, 1.0, map=heat), (SIZE, SIZE), 1.0)
    row, column = np.unravel_index(found.argmax(), found.shape)
    assert row < SIZE / 4
    assert column >= SIZE * 3 / 4


def test_a_panel_is_five_tiles_in_a_row() -> None:
    picture = render_panel(suspected(), slice_result(4, 0.97), read_slice, tile=100)
    assert picture.mode == "RGB"
    assert picture.width > 500
    assert 100 < picture.height < 220


def test_the_window_tiles_show_the_windows() -> None:
    picture = np.asarray(render_panel(suspected(), slice_result(4, 0.0), read_slice, tile=100))
    row = picture[34 + 50]
    centres = [row[14 + index * 106 + 50] for index in range(5)]
    greys = [round(255 * share) for share in (40 / 80, 60 / 200, 190 / 380)]
    assert [int(value[0]) for value in centres[1:4]] == pytest.approx(greys, abs=1)
    assert centres[4].tolist() == pytest.approx(greys, abs=1)


@pytest.mark.parametrize(
    ("rows", "sides"),
    [
        ((1.0, 0.0, 0.0), ("R", "L")),
        ((0.95, 0.3, 0.0), ("R", "L")),
        ((-1.0, 0.0, 0.0), ("L", "R")),
        ((0.0, 1.0, 0.0), ("", "")),
        (None, ("", "")),
    ],
)
def test_the_sides_of_the_patient_are_those_of_the_rows(
    rows: tuple[float, float, float] | None, sides: tuple[str, str]
) -> None:
    assert sides_of(replace(frame(), row_direction=rows)) == sides


def test_the_sides_stand_at_the_edges_of_the_brain_window() -> None:
    black = slice_result(1, 0.5, frame=replace(frame(), row_direction=(1.0, 0.0, 0.0)))
    drawn = np.asarray(render_panel(suspected(), black, lambda one: np.full((SIZE, SIZE), -1000, np.int16)))
    plain = np.asarray(
        render_panel(suspected(), slice_result(1, 0.5), lambda one: np.full((SIZE, SIZE), -1000, np.int16))
    )
    columns = np.flatnonzero((drawn != plain).any(axis=(0, 2)))
    start, end = 14 + 360 + 6, 14 + 2 * 360 + 6
    assert start <= columns.min() < start + 30
    assert end - 30 < columns.max() < end
    assert not ((columns > start + 30) & (columns < end - 30)).any()


def test_a_map_without_a_number_is_cold() -> None:
    one = replace(slice_result(1, 0.5), map=np.full((2, 2), np.nan, np.float32))
    assert slice_heat(one, (SIZE, SIZE), 1.0).max() == 0.0


def test_a_slice_without_a_map_is_not_shown_as_a_cold_one() -> None:
    one = slice_result(1, 0.9, map=None)
    with pytest.raises(ValueError, match="no map"):
        slice_heat(one, (SIZE, SIZE), 1.0)
    with_map, without = (
        np.asarray(render_panel(suspected(), shown, read_slice, tile=100))
        for shown in (slice_result(1, 0.9), one)
    )
    first_tile = np.s_[40:130, 20:110]
    assert without[first_tile].std() < 2 < with_map[first_tile].std()
    assert np.array_equal(without[34:134, 130:], with_map[34:134, 130:])
