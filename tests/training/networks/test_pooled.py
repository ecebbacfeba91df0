"""`networks.pooled`: backbones of timm that give maps, cut behind them; others are refused in words."""

from __future__ import annotations

import pytest
import torch

from cruor.training.experiment import ExperimentError
from cruor.training.networks.pooled import Pooled, timm_backbone
from tests.training.networks.samples import BACKBONES, lively

SIDE = 64


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("windows", [1, 2, 3])
def test_logits_are_the_means_of_the_maps_and_the_bias(name: str, windows: int) -> None:
    network = lively(Pooled(timm_backbone(name, windows, SIDE), 0.5), SIDE, windows)
    with torch.inference_mode():
        logits, maps = network.logits_and_maps(torch.randn(2, windows, SIDE, SIDE))
    assert tuple(maps.shape) == (2, 6, 2, 2)
    torch.testing.assert_close(maps.mean((2, 3)) + network.linear.bias, logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", BACKBONES)
def test_every_weight_is_trained(name: str) -> None:
    """One without a gradient would stop a run on several devices, and is in no graph."""
    network = Pooled(timm_backbone(name, 3, SIDE), 0.0).train()
    network(torch.randn(2, 3, SIDE, SIDE)).sum().backward()
    assert [one for one, parameter in network.named_parameters() if parameter.grad is None] == []


def test_a_transformer_is_refused_since_its_features_are_no_maps() -> None:
    with pytest.raises(ExperimentError, match=r"'vit_tiny_patch16_224'.*\(1, 197, 192\).*convolutional"):
        timm_backbone("vit_tiny_patch16_224", 3, 224)


def test_features_with_their_channels_last_are_refused() -> None:
    with pytest.raises(ExperimentError, match=r"\(1, 7, 7, 768\), not maps \(1, 768, rows, columns\)"):
        timm_backbone("swin_tiny_patch4_window7_224", 3, 224)


def test_a_backbone_of_one_size_is_refused_at_another() -> None:
    with pytest.raises(ExperimentError, match="'vit_tiny_patch16_224' cannot read slices of 96 x 96"):
        timm_backbone("vit_tiny_patch16_224", 3, 96)


def test_an_unknown_backbone_is_refused_with_the_nearest_names() -> None:
    with pytest.raises(ExperimentError, match=r"'efficientnet_b00' is not known.*near: .*efficientnet_b0"):
        timm_backbone("efficientnet_b00", 3, SIDE)
