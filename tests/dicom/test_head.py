"""What a slice shows, by pixels alone."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from cruor.dicom import head
from tests.dicom import writing
from tests.dicom.writing import is_brain_slice

SPACINGS = [(250 / 128, 250 / 128), None]


def with_headrest(hu: NDArray[np.int16]) -> NDArray[np.int16]:
    """The same slice with the thin shell of a headrest behind it and a tube beside it."""
    size = hu.shape[0]
    shell = writing.ellipse(size, 0.49 * size, 0.47 * size) & ~writing.ellipse(size, 0.47 * size, 0.45 * size)
    shell[: size // 2] = False
    tube = writing.ellipse(size, 3, 3, -0.4 * size, 0.42 * size)
    return np.where((shell | tube) & (hu == -1000), 300, hu).astype(np.int16)


@pytest.mark.parametrize("size", [128, 256, 512])
def test_head_mask_holds_the_head_and_leaves_headrest_and_tubes_out(size: int) -> None:
    hu = with_headrest(writing.head_hu(size))
    mask = head.head_mask(hu)
    truth = head.head_mask(writing.head_hu(size))
    assert np.array_equal(mask, truth)
    share = mask.sum() * head.cell_size(hu.shape) ** 2 / (writing.head_hu(size) > -500).sum()
    assert 0.95 < share < 1.05


def test_head_mask_of_air_is_empty() -> None:
    assert not head.head_mask(np.full((64, 64), -1000, np.int16)).any()


def test_head_mask_of_a_slice_that_is_no_square_has_the_shape_of_the_grid() -> None:
    hu = np.full((500, 300), -1000, np.int16)
    assert head.head_mask(hu).shape == head.cell_means(hu).shape == (125, 75)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("share", [1.0, 0.8, 0.5])
def test_brain_inside_a_skull_is_a_brain_slice(share: float, spacing: tuple[float, float] | None) -> None:
    assert is_brain_slice(writing.head_hu(share=share), spacing)


@pytest.mark.parametrize("noise_hu", [3, 15, 60])
def test_noise_does_not_hide_the_brain(noise_hu: float) -> None:
    assert is_brain_slice(writing.head_hu(512, noise_hu=noise_hu), (0.49, 0.49))


def test_a_craniectomy_passes() -> None:
    hu = writing.head_hu()
    gap = np.zeros(hu.shape, dtype=np.bool_)
    gap[20:64, 64:] = True  # most of the upper right quarter of the skull
    assert is_brain_slice(np.where(gap & (hu > 300), 40, hu).astype(np.int16), SPACINGS[0])


def test_the_thin_skull_of_an_infant_passes() -> None:
    hu = writing.head_hu(share=0.6)
    thin = np.where(hu > 300, 450, hu).astype(np.int16)
    assert is_brain_slice(thin, SPACINGS[0])


def test_a_large_bleed_is_still_brain() -> None:
    hu = writing.head_hu()
    hu[writing.ellipse(128, 20, 14, 5, 10)] = 70
    assert is_brain_slice(hu, SPACINGS[0])


@pytest.mark.parametrize("spacing", [(420 / 128, 420 / 128), None])
@pytest.mark.parametrize("lungs", [True, False])
def test_chest_and_abdomen_are_no_brain(lungs: bool, spacing: tuple[float, float] | None) -> None:
    assert not is_brain_slice(writing.trunk_hu(lungs), spacing)


def test_a_neck_is_no_brain() -> None:
    hu = np.full((128, 128), -1000.0)
    hu[writing.ellipse(128, 35, 32)] = 50
    hu[writing.ellipse(128, 10, 11, 4)] = 500
    hu[writing.ellipse(128, 4, 5, -14)] = -950
    assert not is_brain_slice(hu.astype(np.int16), SPACINGS[0])


def test_air_and_bare_bone_are_no_brain() -> None:
    assert not is_brain_slice(np.full((128, 128), -1000, np.int16), None)
    assert not is_brain_slice(writing.hollow_head_hu(-1000), SPACINGS[0])


def test_a_skull_full_of_air_looks_like_a_phantom() -> None:
    found = [head.inside_skull(writing.hollow_head_hu(-1000), SPACINGS[0])] * 5
    assert "the skull holds air" in str(head.looks_like_phantom(found))
    assert "5 of 5 slices" in str(head.looks_like_phantom(found))


def test_a_skull_with_one_even_filling_looks_like_a_phantom() -> None:
    found = [head.inside_skull(writing.hollow_head_hu(35, size=512), (0.49, 0.49))] * 5
    assert "uniform" in str(head.looks_like_phantom(found))


def test_a_head_does_not_look_like_a_phantom() -> None:
    found = [head.inside_skull(hu, SPACINGS[0]) for hu in writing.head_slices()]
    assert head.looks_like_phantom(found) is None
    assert head.looks_like_phantom([]) is None


def test_noise_is_estimated_inside_soft_tissue() -> None:
    for noise_hu in (4, 20):
        hu = writing.head_hu(512, noise_hu=noise_hu)
        assert head.noise_hu(hu, head.soft_cells(hu)) == pytest.approx(noise_hu, rel=0.1)


def test_noise_of_nothing_is_not_a_number() -> None:
    hu = np.full((128, 128), -1000, np.int16)
    assert np.isnan(head.noise_hu(hu, head.soft_cells(hu)))
