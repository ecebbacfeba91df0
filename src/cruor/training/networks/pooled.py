"""Any backbone of timm, global average pooling and one linear layer: maps come with the forward pass."""

from __future__ import annotations

import difflib

import timm
import torch
from torch import Tensor, nn

from cruor.training.networks.base import SliceNetwork
from cruor.training.prepare.store import LABELS


class Pooled(SliceNetwork):
    """Slices to logits of `any` and the five subtypes, and exact Grad-CAM maps.

    With pooling by the mean and one linear layer, the logit of output c is mean_ij(M_c) + b_c, where
    M_c(i, j) = sum_k w_ck A_k(i, j) over the last features A. Grad-CAM's weights at A are w_ck up to
    the constant 1 / (h w), so Grad-CAM is ReLU(M_c) up to that constant (Selvaraju 2020; paper A.2).
    """

    outputs = LABELS

    def __init__(self, backbone: str, windows: int, dropout: float, pretrained: bool = False) -> None:
        """Build the network.

        Args:
            backbone: its name in timm.
            windows: channels of the input.
            dropout: of the pooled features, in training.
            pretrained: fetch timm's weights; random where False.

        Raises:
            ValueError: timm knows no such backbone, or its last features are no map.
        """
        super().__init__()
        if not timm.is_model(backbone):
            near = difflib.get_close_matches(backbone, timm.list_models(), n=3)
            raise ValueError(f"backbone {backbone!r} is not known to timm; near: {', '.join(near) or 'none'}")
        self.backbone = timm.create_model(
            backbone, pretrained=pretrained, in_chans=windows, num_classes=0, global_pool=""
        )
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(self.backbone.num_features, len(LABELS))
        self._check_features(backbone, windows)

    def _check_features(self, backbone: str, windows: int) -> None:
        size = self.backbone.default_cfg["input_size"][-1]
        with torch.inference_mode():
            features = self.backbone.eval().forward_features(torch.zeros(1, windows, size, size))
        self.backbone.train()
        if features.ndim != 4 or features.shape[1] != self.linear.in_features:
            raise ValueError(
                f"backbone {backbone!r} gives features {tuple(features.shape)}, no map of "
                f"{self.linear.in_features} channels; take a convolutional one"
            )

    @property
    def cam_layer(self) -> nn.Module:
        """The last module of the backbone whose output is the last features."""
        last: nn.Module = [one for one in self.backbone.children() if list(one.parameters())][-1]
        return last

    def features(self, channels: Tensor) -> Tensor:
        """(n, windows, s, s) -> last feature map A, (n, k, h, w)."""
        features: Tensor = self.backbone.forward_features(channels)
        return features

    def logits_and_maps(self, channels: Tensor) -> tuple[Tensor, Tensor]:
        """(n, windows, s, s) -> (n, 6) logits and (n, 6, h, w) maps M.

        In evaluation the logits are the mean of the maps: this form is exported. In training, dropout
        acts on the pooled features, not on the maps.
        """
        features = self.features(channels)
        maps = nn.functional.conv2d(features, self.linear.weight[:, :, None, None])
        return self.linear(self.dropout(features.mean((2, 3)))), maps
