"""EffClass with its faults mended, and the alternative that appendix A.1 names and leaves."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cruor.training.networks.base import SliceNetwork
from cruor.training.networks.effclass import headless_detector
from cruor.training.networks.resnet import EndsInResNet, one_logit, two_unit_resnet

LEVEL_SIDES = (64, 32, 16, 8, 4)
"""Rows and columns of the BiFPN's five feature maps for an input of 512 x 512."""

LEVEL_CHANNELS = 64
KEPT_CHANNELS = (16, 12, 8, 4, 2)
"""Channels of each level after upsampling, as in Figure A5."""

MENDED_SIDE = 256
"""Where the levels meet: the power of two next to the paper's 224."""


class EffClassMended(EndsInResNet):
    """The idea of EffClass without its faults (docs/reproduction.md).

    Each level goes up by transposed convolutions of kernel 4 and stride 2, which fill the map (a kernel of
    twice the stride writes every pixel equally often), with normalisation and a non-linearity behind each
    layer up to ResNet-18.
    """

    def __init__(self, pretrained: bool = False) -> None:
        """Build the network; `pretrained` as for `EffClass`."""
        super().__init__()
        self.effdet = headless_detector(pretrained)
        self.ups = nn.ModuleList(
            _up(side, kept) for side, kept in zip(LEVEL_SIDES, KEPT_CHANNELS, strict=True)
        )
        self.conv0 = _layer(nn.Conv2d(sum(KEPT_CHANNELS), 16, kernel_size=5, padding=2, bias=False))
        self.conv1 = _layer(nn.Conv2d(16, 3, kernel_size=3, padding=1, bias=False))
        self.resnet = two_unit_resnet(18, pretrained)

    def upsampled(self, channels: Tensor) -> list[Tensor]:
        """(n, 3, 512, 512) -> the five feature maps at (n, 16 | 12 | 8 | 4 | 2, 256, 256)."""
        levels, _ = self.effdet(channels)
        return [up(level) for up, level in zip(self.ups, levels, strict=True)]

    def images(self, channels: Tensor) -> Tensor:
        """(n, 3, 512, 512) -> (n, 3, 256, 256)."""
        images: Tensor = self.conv1(self.conv0(torch.cat(self.upsampled(channels), dim=1)))
        return images


class EffClassFc(SliceNetwork):
    """EfficientDet-D0's feature maps, flattened, and one fully connected layer with two outputs (A.1).

    The paper leaves it since "this would probably not be enough processing for all these feature maps".
    The layer has a weight for each place, so Grad-CAM is not exact out of the forward pass: no maps.
    """

    outputs = ("any",)

    def __init__(self, pretrained: bool = False) -> None:
        """Build the network; `pretrained` as for `EffClass`."""
        super().__init__()
        self.effdet = headless_detector(pretrained)
        self.fc = nn.Linear(LEVEL_CHANNELS * sum(side * side for side in LEVEL_SIDES), 2)

    @property
    def cam_layer(self) -> nn.Module:
        """The BiFPN's last node of the finest level, 64 x 64."""
        layer: nn.Module = self.effdet.fpn.cell[-1].fnode[3]
        return layer

    def logits_and_maps(self, channels: Tensor) -> tuple[Tensor, None]:
        """(n, 3, 512, 512) -> (n, 1) logit z_yes - z_no, and no maps."""
        levels, _ = self.effdet(channels)
        return one_logit(self.fc(torch.cat([level.flatten(1) for level in levels], dim=1))), None


def _layer(convolution: nn.Conv2d | nn.ConvTranspose2d) -> nn.Sequential:
    return nn.Sequential(convolution, nn.BatchNorm2d(convolution.out_channels), nn.SiLU())


def _up(side: int, channels: int) -> nn.Sequential:
    """Transposed convolutions that double a level until it has the side where all meet."""
    layers: list[nn.Module] = []
    entering = LEVEL_CHANNELS
    while side < MENDED_SIDE:
        layers += _layer(
            nn.ConvTranspose2d(entering, channels, kernel_size=4, stride=2, padding=1, bias=False)
        )
        side, entering = side * 2, channels
    return nn.Sequential(*layers)
