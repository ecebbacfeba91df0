"""The network with a per-pixel head: its logit comes from its map."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cruor.training.losses import PixelLoss
from cruor.training.networks.blood_map import BloodMap
from cruor.training.networks.lite0 import Lite0, load_imagenet
from tests.training.networks.samples import lively


@pytest.fixture(scope="module")
def network() -> BloodMap:
    torch.manual_seed(1)
    return lively(BloodMap(windows=1), 96, windows=1)


@torch.inference_mode()
def test_the_map_has_the_finest_of_the_joined_strides(network: BloodMap) -> None:
    logits, maps = network.logits_and_maps(torch.randn(2, 1, 96, 96))
    assert (tuple(logits.shape), tuple(maps.shape)) == ((2, 6), (2, 1, 12, 12))


@torch.inference_mode()
def test_in_reading_the_logit_of_any_is_seven_tenths_the_hottest_cells(network: BloodMap) -> None:
    channels = torch.randn(2, 1, 96, 96)
    logits, maps = network.logits_and_maps(channels)
    hottest = maps.flatten(1).sort(descending=True).values[:, :3].mean(1)  # 2 % of 144 cells
    pooled = network.linear(network.backbone.forward_features(channels).mean((2, 3)))[:, 0]
    torch.testing.assert_close(logits[:, 0], 0.7 * hottest + 0.3 * pooled, rtol=1e-4, atol=1e-4)


def test_in_training_both_parts_of_the_logit_weigh_the_same() -> None:
    torch.manual_seed(1)
    network, channels = BloodMap(windows=1, dropout=0.0).train(), torch.randn(4, 1, 96, 96)
    logits, _ = network.logits_and_maps(channels)
    with torch.no_grad():
        network.linear.bias += 1
    more, _ = network.logits_and_maps(channels)
    torch.testing.assert_close(more[:, 0], logits[:, 0] + 0.5, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        network.pixels[-1].bias += 1  # type: ignore[operator]
    most, _ = network.logits_and_maps(channels)
    torch.testing.assert_close(most[:, 0], logits[:, 0] + 1, rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_what_is_shown_is_the_probability_of_each_cell_without_the_weight_of_drawn_ones(
    network: BloodMap,
) -> None:
    _, maps = network.logits_and_maps(torch.randn(1, 1, 96, 96))
    odds = maps.exp() / PixelLoss.WEIGHT_DRAWN
    torch.testing.assert_close(network.shown(maps), odds / (1 + odds))


@pytest.fixture
def smaller() -> BloodMap:
    """Looks at its input at 64 pixels a side."""
    torch.manual_seed(1)
    return lively(BloodMap(windows=1, side=64), 96, windows=1)


class TestAnotherSide:
    @torch.inference_mode()
    def test_it_reads_what_is_made_smaller_as_a_network_of_that_input_reads_it(
        self, smaller: BloodMap
    ) -> None:
        own = BloodMap(windows=1).eval()
        own.load_state_dict(smaller.state_dict())
        channels = torch.randn(2, 1, 96, 96)
        made_smaller = nn.functional.interpolate(channels, size=(64, 64), mode="bilinear", antialias=True)
        torch.testing.assert_close(smaller(channels), own(made_smaller))
        assert not torch.allclose(smaller(channels), own(channels), atol=1e-3)

    @torch.inference_mode()
    def test_its_map_has_the_cells_of_a_network_that_takes_the_input_as_it_is(
        self, smaller: BloodMap, network: BloodMap
    ) -> None:
        channels = torch.randn(2, 1, 96, 96)
        _, maps = smaller.logits_and_maps(channels)
        assert maps.shape == network.logits_and_maps(channels)[1].shape
        own = smaller.train().logits_and_maps(channels)[1]
        assert own.shape[-1] == 8, "in training it is taught at its own cells"

    @torch.inference_mode()
    def test_it_reads_in_16_bit_as_validation_does(self, smaller: BloodMap) -> None:
        channels = torch.randn(2, 1, 96, 96)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            _, maps = smaller.logits_and_maps(channels)
        assert maps.shape[-1] == 12

    @torch.inference_mode()
    def test_an_input_of_its_own_side_is_taken_as_it_is(self, smaller: BloodMap) -> None:
        own = BloodMap(windows=1).eval()
        own.load_state_dict(smaller.state_dict())
        channels = torch.randn(2, 1, 64, 64)
        for ours, theirs in zip(
            smaller.logits_and_maps(channels), own.logits_and_maps(channels), strict=True
        ):
            assert torch.equal(ours, theirs)


def test_imagenet_weights_of_three_channels_serve_one_by_their_sum() -> None:
    three, one = Lite0(), BloodMap(windows=1)
    load_imagenet(three)
    load_imagenet(one)
    wanted = three.backbone.conv_stem.weight.sum(1, keepdim=True)
    torch.testing.assert_close(one.backbone.conv_stem.weight, wanted)
