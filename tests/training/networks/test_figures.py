"""EffClass and its re-statement from the paper's figures (`figures.py`) are one network."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cruor.training.networks.effclass import SIZE, EffClass
from tests.training.networks.figures import Figures
from tests.training.networks.samples import lively

CLOSE = {"rtol": 1e-9, "atol": 1e-9}


@pytest.fixture(scope="module")
def network() -> EffClass:
    torch.manual_seed(4)
    return lively(EffClass(), SIZE).double()


@pytest.fixture(scope="module")
def channels() -> Tensor:
    return torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1)).double() * 2 - 1


@pytest.fixture(scope="module")
def weights(network: EffClass) -> dict[str, Tensor]:
    state = network.state_dict()
    return {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}


@pytest.fixture(scope="module")
def figures(weights: dict[str, Tensor]) -> Figures:
    return Figures(weights)


@torch.inference_mode()
def test_the_five_feature_maps_are_those_of_figure_a4(
    network: EffClass, figures: Figures, channels: Tensor
) -> None:
    levels, _ = network.effdet(channels)
    stated = figures.pyramid(channels)
    assert [tuple(level.shape) for level in stated] == [(1, 64, side, side) for side in (64, 32, 16, 8, 4)]
    for level, ours in zip(levels, stated, strict=True):
        assert ours.std() > 0.1
        torch.testing.assert_close(level, ours, **CLOSE)


@torch.inference_mode()
def test_the_upsampled_maps_are_those_of_figure_a5(
    network: EffClass, figures: Figures, channels: Tensor
) -> None:
    stated = figures.upsampled(figures.pyramid(channels))
    assert [tuple(one.shape) for one in stated] == [(1, out, 224, 224) for out in (16, 12, 8, 4, 2)]
    for upsampled, ours in zip(network.upsampled(channels), stated, strict=True):
        torch.testing.assert_close(upsampled, ours, **CLOSE)


@torch.inference_mode()
def test_the_two_logits_are_those_of_the_figures_which_use_every_weight(
    network: EffClass, weights: dict[str, Tensor], channels: Tensor
) -> None:
    figures = Figures(weights)
    stated = figures.logits(channels)
    torch.testing.assert_close(network.two_logits(network.last_features(channels)), stated, **CLOSE)
    torch.testing.assert_close(network(channels)[:, 0], stated[:, 1] - stated[:, 0], **CLOSE)
    assert figures.read == weights.keys()


def test_the_figures_have_16_03_million_parameters(weights: dict[str, Tensor]) -> None:
    trained = [one for name, one in weights.items() if "running_" not in name]
    assert sum(one.numel() for one in trained) == 16_027_268
