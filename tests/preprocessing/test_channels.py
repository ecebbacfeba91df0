import numpy as np

from cruor.preprocessing.channels import InputSettings, crop_head, to_channels
from cruor.preprocessing.crop import CropSettings
from tests.preprocessing.test_crop import head, in_skin

SETTINGS = InputSettings(CropSettings(size=48))


def test_channels_are_windows_normalised_by_mean_and_standard_deviation():
    hu = np.array([[0.0, 40.0, 80.0, 500.0]], dtype=np.float32)
    np.testing.assert_allclose(to_channels(hu, SETTINGS)[0], [[-1, 0, 1, 1]])


def test_the_bounds_are_those_of_the_widest_look():
    assert SETTINGS.bounds_hu == (-150, 230)


def test_a_batch_gives_what_each_slice_gives_alone():
    crops = np.stack([crop_head(head(radius=radius), SETTINGS)[0] for radius in (50, 70)])
    together = to_channels(crops, SETTINGS)
    assert together.shape == (2, 3, 48, 48)
    for crop, channels in zip(crops, together, strict=True):
        np.testing.assert_array_equal(to_channels(crop, SETTINGS), channels)


def test_a_further_window_does_not_change_where_the_head_is_shown():
    crop = CropSettings(size=48, area="shown-head")
    picture = np.clip(in_skin(), 0, 80)
    boxes = {
        crop_head(hu, InputSettings(crop, windows_hu=windows))[1]
        for windows in (((0, 80),), ((0, 80), (0, 140)), ((0, 80), (-150, 230)))
        for hu in (in_skin(), picture)
    }
    assert len(boxes) == 1
