"""The ResNets are torchvision's with two outputs, on any number of windows."""

from __future__ import annotations

import pytest
import torch

from cruor.training.networks.resnet import ResNet
from tests.training.networks.samples import lively

CHANNELS = {18: 512, 34: 512, 50: 2048}


@pytest.mark.parametrize("depth, windows", [(18, 1), (18, 2), (18, 3), (34, 3), (50, 3)])
def test_the_logit_is_the_difference_of_the_two_outputs_of_the_whole_resnet(depth: int, windows: int) -> None:
    network = lively(ResNet(depth, windows), 64, windows)
    channels = torch.randn(2, windows, 64, 64)
    with torch.inference_mode():
        logits, maps = network.logits_and_maps(channels)
        whole = network.resnet(channels)
        features = network.last_features(channels)
    torch.testing.assert_close(logits[:, 0], whole[:, 1] - whole[:, 0])
    torch.testing.assert_close(network.probability(channels), whole.softmax(1)[:, 1])
    assert tuple(features.shape) == (2, CHANNELS[depth], 2, 2)
    assert tuple(maps.shape) == (2, 1, 2, 2)


@pytest.mark.parametrize("depth, millions", [(18, 11.18), (34, 21.29), (50, 23.51)])
def test_it_has_the_parameters_of_a_resnet_with_two_outputs(depth: int, millions: float) -> None:
    count = sum(parameter.numel() for parameter in ResNet(depth, 3).parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.005)
