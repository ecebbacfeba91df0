"""EffClass with its faults mended, and the alternative that appendix A.1 names and leaves."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from cruor.training.networks.base import SliceNetwork
from cruor.training.networks.effclass import headless_detector
from cruor.training.networks.resnet import PRETRAINED, resnet_features
from cruor.training.networks.two_units import one_logit, yes_map

LEVEL_SIDES = (64, 32, 16, 8, 4)
"""Rows and columns of the BiFPN's five feature maps for an input of 512 x 512."""

LEVEL_CHANNELS = 64
KEPT_CHANNELS = (16, 12, 8, 4, 2)
"""Channels of each level after upsampling, as in Figure A5."""


class EffClassMended(SliceNetwork):
    """The idea of EffClass without its faults (docs/reproduction.md).

    Each level goes up by transposed convolutions of kernel 4 and stride 2, which fill the map (a kernel of
    twice the stride writes every pixel equally often), with normalisation and a non-linearity behind each
    layer up to ResNet-18. All levels meet at 256 x 256, the power of two next to the paper's 224.
    """

    outputs = ("any",)
    SIDE = 256

    def __init__(self, pretrained: bool = False) -> None:
        super().__init__()
        self.effdet = headless_detector(pretrained)
        self.ups = nn.ModuleList(
            _up(side, self.SIDE, kept) for side, kept in zip(LEVEL_SIDES, KEPT_CHANNELS, strict=True)
        )
        joined = sum(KEPT_CHANNELS)
        self.conv0 = nn.Sequential(
            nn.Conv2d(joined, 16, kernel_size=5, padding=2, bias=False), nn.BatchNorm2d(16), nn.SiLU()
        )
        self.conv1 = nn.Sequential(
            nn.Conv2d(16, 3, kernel_size=3, padding=1, bias=False), nn.BatchNorm2d(3), nn.SiLU()
        )
        self.resnet = resnet18(weights=PRETRAINED if pretrained else None)
        self.resnet.fc = nn.Linear(self.resnet.fc.in_features, 2)

    @property
    def cam_layer(self) -> nn.Module:
        """The last block of ResNet-18's layer4."""
        block: nn.Module = self.resnet.layer4[-1]
        return block

    def logits_and_maps(self, channels: Tensor) -> tuple[Tensor, Tensor]:
        """(n, 3, 512, 512) -> (n, 1) logit z_yes - z_no, and the map of z_yes, (n, 1, 8, 8)."""
        levels, _ = self.effdet(channels)
        joined = torch.cat([up(level) for up, level in zip(self.ups, levels, strict=True)], dim=1)
        features = resnet_features(self.resnet, self.conv1(self.conv0(joined)))
        return one_logit(self.resnet.fc(features.mean((2, 3)))), yes_map(features, self.resnet.fc)


class EffClassFc(SliceNetwork):
    """EfficientDet-D0's feature maps, flattened, and one fully connected layer with two outputs (A.1).

    The paper leaves it since "this would probably not be enough processing for all these feature maps".
    The layer sees each place by itself, so Grad-CAM is not exact out of the forward pass: no maps.
    """

    outputs = ("any",)

    def __init__(self, pretrained: bool = False) -> None:
        super().__init__()
        self.effdet = headless_detector(pretrained)
        self.fc = nn.Linear(LEVEL_CHANNELS * sum(side * side for side in LEVEL_SIDES), 2)

    @property
    def cam_layer(self) -> nn.Module:
        """The last cell of the BiFPN's finest level."""
        layer: nn.Module = self.effdet.fpn.cell[-1].fnode[3]
        return layer

    def logits_and_maps(self, channels: Tensor) -> tuple[Tensor, None]:
        """(n, 3, 512, 512) -> (n, 1) logit z_yes - z_no, and no maps."""
        levels, _ = self.effdet(channels)
        return one_logit(self.fc(torch.cat([level.flatten(1) for level in levels], dim=1))), None


def _up(side: int, wanted: int, channels: int) -> nn.Sequential:
    """Transposed convolutions that double a level until it has the wanted side."""
    layers: list[nn.Module] = []
    entering = LEVEL_CHANNELS
    while side < wanted:
        layers += [
            nn.ConvTranspose2d(entering, channels, kernel_size=4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.SiLU(),
        ]
        side, entering = side * 2, channels
    return nn.Sequential(*layers)
