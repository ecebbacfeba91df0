"""`training.explain.panel`: both maps, the brain window first, nothing shown twice."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cruor.preprocessing.crop import Box
from cruor.training.explain.cam import Cams
from cruor.training.explain.panel import TILE, maps_sentence, render_explanation
from tests.reader.fakes import manifest

BOX = Box(10, 20, 64)


def head(hu: int = 40) -> NDArray[np.int16]:
    return np.full((100, 100), hu, dtype=np.int16)


def maps(row: int = 8, column: int = 40, exact: bool = True) -> Cams:
    heat = np.zeros((64, 64), dtype=np.float32)
    heat[row - 3 : row + 4, column - 3 : column + 4] = 1
    return Cams(heat, heat * 5 if exact else None, np.zeros(6, np.float32), 1.0, 0.1)


def tile(picture: Image.Image, place: int) -> NDArray[np.uint8]:
    left, top = 14 + place * (TILE + 6), 34
    return np.asarray(picture.crop((left, top, left + TILE, top + TILE)))


def drawn(both: Cams, map_scale: float = 5.0) -> Image.Image:
    return render_explanation(head(), BOX, both, manifest(map_scale=map_scale), ("Slice 1 of 2", "how"))


def test_the_windows_are_shown_one_by_one_beginning_with_the_brains() -> None:
    picture = drawn(maps())
    for place, grey in ((2, 40 / 80), (3, 60 / 200), (4, 190 / 380)):
        assert tile(picture, place)[5, 5].tolist() == pytest.approx([grey * 255] * 3, abs=1)


def test_the_last_tile_has_the_three_windows_as_red_green_and_blue() -> None:
    colour = [255 * share for share in (40 / 80, 60 / 200, 190 / 380)]
    assert tile(drawn(maps()), 5)[5, 5].tolist() == pytest.approx(colour, abs=1)


def test_both_maps_lie_where_they_are_hot() -> None:
    picture = drawn(maps(row=8, column=40))
    for place in (0, 1):
        pixels = tile(picture, place).astype(int)
        assert np.ptp(pixels[round(8.5 * TILE / 64) + 9, round(40.5 * TILE / 64) + 9]) > 60
        assert np.ptp(pixels[-10, 10]) == 0


def test_a_cross_marks_the_hottest_point() -> None:
    pixels = tile(drawn(maps(row=8, column=40)), 0)
    assert pixels[round(8.5 * TILE / 64), round(40.5 * TILE / 64)].tolist() == [214, 220, 229]


def test_the_exact_map_is_on_the_bundles_scale_so_that_a_cold_slice_looks_cold() -> None:
    pixels = tile(drawn(maps(), map_scale=500.0), 1).astype(int)
    beside_the_cross = pixels[round(8.5 * TILE / 64) + 9, round(40.5 * TILE / 64) + 9]
    assert np.ptp(beside_the_cross) == 0


def test_without_an_exact_form_the_tile_says_so() -> None:
    with_map, without = drawn(maps()), drawn(maps(exact=False))
    assert (tile(with_map, 0) == tile(without, 0)).all()
    assert tile(without, 1)[0, 0].tolist() == [24, 28, 34]
    assert len(np.unique(tile(without, 1))) > 10


def test_a_box_over_the_edge_shows_air() -> None:
    picture = render_explanation(head(), Box(-20, -20, 64), maps(), manifest(map_scale=5.0), ("", ""))
    assert tile(picture, 4)[5, 5].tolist() == [0, 0, 0]


def test_each_kind_of_map_is_told_as_what_it_is() -> None:
    assert maps_sentence("grad-cam") == "The map shows what the network used, not where the bleed is."
    assert "takes pixels for blood" in maps_sentence("blood")
    assert "what the network used" in maps_sentence("blood")
