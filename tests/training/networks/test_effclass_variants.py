"""EffClass without its faults fills its maps and is not linear; the other has a weight for each place."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from cruor.training.networks.effclass import SIZE
from cruor.training.networks.effclass_variants import (
    LEVEL_CHANNELS,
    LEVEL_SIDES,
    MENDED_SIDE,
    EffClassFc,
    EffClassMended,
)
from tests.training.networks.samples import lively


@pytest.fixture(scope="module")
def mended() -> EffClassMended:
    torch.manual_seed(1)
    return lively(EffClassMended(), SIZE)


@pytest.fixture(scope="module")
def fully_connected() -> EffClassFc:
    torch.manual_seed(1)
    return lively(EffClassFc(), SIZE)


@pytest.fixture(scope="module")
def channels() -> Tensor:
    return torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1)) * 2 - 1


def writes(up: nn.Sequential, side: int) -> Tensor:
    """How often each pixel of the last layer is written: layers of ones, without normalisation."""
    reach = torch.ones(1, 1, side, side, dtype=torch.float64)
    for layer in up:
        if isinstance(layer, nn.ConvTranspose2d):
            kernel = torch.ones(1, 1, *layer.kernel_size, dtype=torch.float64)
            reach = nn.functional.conv_transpose2d(
                reach, kernel, stride=layer.stride, padding=layer.padding, dilation=layer.dilation
            )
    return reach[0, 0]


class TestMended:
    @torch.inference_mode()
    def test_all_levels_meet_at_256_and_make_an_image_of_three_channels(
        self, mended: EffClassMended, channels: Tensor
    ) -> None:
        shapes = [tuple(one.shape) for one in mended.upsampled(channels)]
        assert shapes == [(1, kept, MENDED_SIDE, MENDED_SIDE) for kept in (16, 12, 8, 4, 2)]
        assert mended.images(channels).shape == (1, 3, MENDED_SIDE, MENDED_SIDE)
        logits, maps = mended.logits_and_maps(channels)
        assert (tuple(logits.shape), tuple(maps.shape)) == ((1, 1), (1, 1, 8, 8))

    @pytest.mark.parametrize("level", range(5))
    def test_every_pixel_is_written_equally_often_but_at_the_rim(
        self, mended: EffClassMended, level: int
    ) -> None:
        written = writes(mended.ups[level], LEVEL_SIDES[level])
        steps = (MENDED_SIDE // LEVEL_SIDES[level]).bit_length() - 1
        rim = 2**steps
        assert (written > 0).all()
        assert (written[rim:-rim, rim:-rim] == 4**steps).all()

    @torch.inference_mode()
    def test_what_stands_before_the_resnet_is_not_linear(self, mended: EffClassMended) -> None:
        for layers, entering in ((mended.ups[0], 64), (mended.conv0, 42), (mended.conv1, 16)):
            first, second = torch.randn(2, 1, entering, 16, 16)
            straight = layers(first) + layers(second) - layers(torch.zeros_like(first))
            assert not torch.allclose(layers(first + second), straight, atol=1e-2)


class TestFullyConnected:
    def test_every_value_of_the_five_feature_maps_has_a_weight_for_each_output(
        self, fully_connected: EffClassFc
    ) -> None:
        places = 64 * 64 + 32 * 32 + 16 * 16 + 8 * 8 + 4 * 4
        assert tuple(fully_connected.fc.weight.shape) == (2, LEVEL_CHANNELS * places)

    @torch.inference_mode()
    def test_the_logit_is_the_difference_of_the_two_outputs_and_there_are_no_maps(
        self, fully_connected: EffClassFc, channels: Tensor
    ) -> None:
        logits, maps = fully_connected.logits_and_maps(channels)
        levels, _ = fully_connected.effdet(channels)
        flat = torch.cat([level.reshape(1, -1) for level in levels], dim=1)
        no, yes = (flat @ fully_connected.fc.weight.T + fully_connected.fc.bias)[0]
        assert maps is None
        torch.testing.assert_close(logits[0, 0], yes - no, rtol=1e-4, atol=1e-4)
