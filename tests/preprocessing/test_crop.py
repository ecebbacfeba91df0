import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cruor.preprocessing.crop import Box, CropSettings, cut_out, find_head

SETTINGS = CropSettings(size=64)
WIDE = (-150, 230)


def head(rows: int = 256, middle: tuple[int, int] = (128, 128), radius: int = 70) -> np.ndarray:
    """A round head of 40 HU in a skull of 900 HU, in air."""
    y, x = np.indices((rows, rows))
    away = np.hypot(y - middle[0], x - middle[1])
    hu = np.full((rows, rows), -1000, dtype=np.int16)
    hu[away < radius] = 900
    hu[away < radius - 6] = 40
    return hu


def middle_of(box: Box) -> tuple[float, float]:
    return box.top + box.size / 2, box.left + box.size / 2


def test_the_box_is_centred_on_the_head_with_a_margin_of_air():
    box = find_head(head(middle=(120, 140)), SETTINGS, WIDE)
    assert middle_of(box) == pytest.approx((120, 140), abs=3)
    assert box.size == pytest.approx(140 * 1.12, abs=5)


@settings(max_examples=25)
@given(st.integers(-40, 40), st.integers(-40, 40))
def test_the_box_moves_with_the_head(down, right):
    box = find_head(head(middle=(128 + down, 128 + right)), SETTINGS, WIDE)
    assert middle_of(box) == pytest.approx((128 + down, 128 + right), abs=4)


def test_a_headrest_and_a_table_do_not_widen_the_box():
    hu = head()
    without = find_head(hu, SETTINGS, WIDE)
    hu[215:218, 20:236] = 100  # a thin shell under the head
    hu[240:246, :] = -700  # foam
    with_rest = find_head(hu, SETTINGS, WIDE)
    assert middle_of(with_rest) == pytest.approx(middle_of(without), abs=3)
    assert with_rest.size == pytest.approx(without.size, abs=5)


def test_the_small_top_of_the_skull_is_not_blown_up_to_a_whole_head():
    assert find_head(head(radius=20), SETTINGS, WIDE).size == 128


def test_without_tissue_the_middle_square_is_taken():
    assert find_head(np.full((200, 256), -1000, dtype=np.int16), SETTINGS, WIDE) == Box(-28, 0, 256)


def test_the_same_head_at_twice_the_resolution_gives_the_same_box_within_a_cell_of_the_grid():
    small, large = find_head(head(256), SETTINGS, WIDE), find_head(head(512, (256, 256), 140), SETTINGS, WIDE)
    assert middle_of(large) == pytest.approx([2 * at for at in middle_of(small)], abs=4)
    assert large.size == pytest.approx(2 * small.size, abs=8)


def test_air_around_the_picture_does_not_change_the_box_by_more_than_a_cell():
    wide = np.full((400, 400), -1000, dtype=np.int16)
    wide[72:328, 72:328] = head()
    narrow_box, wide_box = find_head(head(), SETTINGS, WIDE), find_head(wide, SETTINGS, WIDE)
    assert middle_of(wide_box) == pytest.approx([at + 72 for at in middle_of(narrow_box)], abs=4)
    assert wide_box.size == pytest.approx(max(narrow_box.size, 200), abs=8)


def test_what_lies_over_the_edge_of_the_slice_is_air():
    crop = cut_out(np.full((10, 10), 40, dtype=np.int16), Box(-10, -10, 20), 20, WIDE)
    assert (crop[:10] == -150).all()
    assert (crop[:, :10] == -150).all()
    assert (crop[10:, 10:] == 40).all()


def test_bone_is_clipped_before_resizing_so_that_it_does_not_smear_into_the_brain():
    hu = np.full((64, 64), 40, dtype=np.int16)
    hu[:, 31] = 2000  # half a pixel of the result is bone
    crop = cut_out(hu, Box(0, 0, 64), 32, WIDE)
    assert crop.max() < (40 + 230) / 2 + 1


def test_a_crop_stays_within_the_bounds_and_has_the_size_asked_for():
    crop = cut_out(head(), Box(3, 7, 201), 64, (0, 80))
    assert crop.shape == (64, 64)
    assert crop.dtype == np.float32
    assert crop.min() >= 0
    assert crop.max() <= 80


@pytest.mark.parametrize("shape", [(64, 64), (40, 64), (64, 40)])
def test_the_whole_slice_is_taken_where_the_bundle_asks_for_it(shape):
    hu = np.full(shape, -1000, dtype=np.int16)
    hu[5:15, 5:15] = 40
    box = find_head(hu, CropSettings(size=32, area="slice"), WIDE)
    assert box == Box((shape[0] - 64) // 2, (shape[1] - 64) // 2, 64)


SHOWN = CropSettings(size=64, area="shown-head")
BRAIN = (0, 80)


def in_skin(middle: tuple[int, int] = (128, 128)) -> np.ndarray:
    """A head with fat and skin outside the skull."""
    y, x = np.indices((256, 256))
    away = np.hypot(y - middle[0], x - middle[1])
    hu = head(middle=middle, radius=60)
    hu[(away >= 60) & (away < 68)] = -100
    hu[(away >= 68) & (away < 70)] = 30
    return hu


@settings(max_examples=25)
@given(st.integers(-30, 30), st.integers(-30, 30), st.integers(0, 100))
def test_what_the_window_shows_of_a_head_is_the_same_box_within_a_cell_in_a_picture_of_it(down, right, seed):
    hu = in_skin((128 + down, 128 + right))
    grey = np.clip(hu * 255.0 / 80, 0, 255)  # as 8-bit pictures of level 40, width 80 are
    noise = np.random.default_rng(seed).integers(0, 24, hu.shape)  # more than JPEG leaves in black: 4 HU
    picture = np.round(np.maximum(grey, noise) * 80 / 255).astype(np.int16)
    box, box_of_picture = find_head(hu, SHOWN, BRAIN), find_head(picture, SHOWN, BRAIN)
    assert middle_of(box_of_picture) == pytest.approx(middle_of(box), abs=2)
    assert box_of_picture.size == pytest.approx(box.size, abs=4)


def test_what_the_window_shows_of_a_head_ends_with_the_skull():
    assert find_head(in_skin(), SHOWN, BRAIN).size == pytest.approx(120 * 1.12, abs=5)
    assert find_head(in_skin(), SETTINGS, BRAIN).size == pytest.approx(140 * 1.12, abs=5)


@pytest.mark.parametrize("crop", [SETTINGS, SHOWN])
def test_a_shell_that_the_head_lies_in_does_not_widen_the_box(crop):
    hu = in_skin()
    without = find_head(hu, crop, BRAIN)
    y, x = np.indices(hu.shape)
    away = np.hypot(y - 128, x - 128)
    hu[(away >= 70) & (away < 73) & (y > 100)] = 100
    with_shell = find_head(hu, crop, BRAIN)
    assert middle_of(with_shell) == pytest.approx(middle_of(without), abs=3)
    assert with_shell.size == pytest.approx(without.size, abs=8)


def test_a_picture_that_shows_nothing_is_taken_whole():
    assert find_head(np.full((256, 256), -4, dtype=np.int16), SHOWN, BRAIN) == Box(0, 0, 256)
