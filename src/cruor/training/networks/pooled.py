"""Any backbone of timm, global average pooling and one linear layer: maps come with the forward pass."""

from __future__ import annotations

import difflib
from functools import partial
from typing import Any

import timm
import torch
from torch import Tensor, nn

from cruor.training.experiment import ExperimentError
from cruor.training.networks.base import SliceNetwork
from cruor.training.prepare.store import LABELS

Backbone = Any
"""A model of timm, which has no types."""


class Pooled(SliceNetwork):
    """Slices to logits of `any` and the five subtypes, and exact Grad-CAM maps.

    With pooling by the mean and one linear layer, the logit of output c is mean_ij(M_c) + b_c, where
    M_c(i, j) = sum_k w_ck A_k(i, j) over the last features A. Grad-CAM's weights at A are w_ck up to
    the constant 1 / (h w), so Grad-CAM is ReLU(M_c) up to that constant (Selvaraju 2020; paper A.2).
    """

    outputs = LABELS

    def __init__(self, backbone: Backbone, dropout: float) -> None:
        """Build the network.

        Args:
            backbone: of timm, without its head; see `timm_backbone`.
            dropout: of the pooled features, in training.
        """
        super().__init__()
        self.backbone = backbone
        self.last_features = nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(backbone.num_features, len(LABELS))

    @property
    def cam_layer(self) -> nn.Module:
        """Hands on the last features: backbones name the layer that makes them each in its own way."""
        return self.last_features

    def features(self, channels: Tensor) -> Tensor:
        """(n, windows, s, s) -> last feature map A, (n, k, h, w)."""
        features: Tensor = self.last_features(self.backbone.forward_features(channels))
        return features

    def logits_and_maps(self, channels: Tensor) -> tuple[Tensor, Tensor]:
        """(n, windows, s, s) -> (n, 6) logits and (n, 6, h, w) maps M.

        In evaluation the logits are the mean of the maps: this form is exported. In training, dropout
        acts on the pooled features, not on the maps.
        """
        features = self.features(channels)
        maps = nn.functional.conv2d(features, self.linear.weight[:, :, None, None])
        return self.linear(self.dropout(features.mean((2, 3)))), maps


def timm_backbone(name: str, windows: int, size: int, pretrained: bool = False) -> Backbone:
    """A backbone of timm up to its last features; what stands behind them is left out.

    Args:
        name: in timm.
        windows: channels of the input.
        size: rows and columns of the input.
        pretrained: fetch timm's weights; random where False.

    Raises:
        ExperimentError: timm knows no such backbone, it cannot read this input, or its last features are
            no map.
    """
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=3)
        raise ExperimentError(f"backbone {name!r} is not known to timm; near: {', '.join(near) or 'none'}")
    backbone = timm.create_model(name, pretrained=pretrained, in_chans=windows, num_classes=0, global_pool="")
    try:
        shape, used = _try(backbone.eval(), torch.zeros(1, windows, size, size))
    except (AssertionError, RuntimeError, ValueError) as error:  # what backbones of one size raise
        raise ExperimentError(
            f"backbone {name!r} cannot read slices of {size} x {size} ({error}); take another one or size"
        ) from error
    if len(shape) != 4 or shape[1] != backbone.num_features:
        raise ExperimentError(
            f"backbone {name!r} gives last features of shape {shape}, not maps (1, {backbone.num_features}, "
            "rows, columns); take a convolutional one"
        )
    for child in {child for child, _ in backbone.named_children()} - used:
        setattr(backbone, child, nn.Identity())  # weights without gradients would stop several devices
    return backbone.train()


@torch.no_grad()
def _try(backbone: Backbone, channels: Tensor) -> tuple[tuple[int, ...], set[str]]:
    """Shape of the last features, and which children of the backbone ran to make them."""
    used: set[str] = set()
    hooks = [
        module.register_forward_hook(partial(_note, used, child))
        for child, top in backbone.named_children()
        for module in top.modules()
    ]
    features = backbone.forward_features(channels)
    for hook in hooks:
        hook.remove()
    return tuple(features.shape), used


def _note(used: set[str], child: str, *_: object) -> None:
    used.add(child)
