"""ResNets on the windows, the baselines of the paper's framework (appendix A.3, figure A8)."""

from __future__ import annotations

import torchvision
from torch import Tensor, nn

from cruor.training.networks.base import SliceNetwork
from cruor.training.networks.two_units import one_logit, yes_map

PRETRAINED = "IMAGENET1K_V1"
RGB = 3


class ResNet(SliceNetwork):
    """ResNet-18, -34 or -50 of torchvision with two outputs."""

    outputs = ("any",)

    def __init__(self, depth: int, windows: int, pretrained: bool = False) -> None:
        """Build the network.

        Args:
            depth: 18, 34 or 50.
            windows: channels of the input; ImageNet's first convolution fits three alone.
            pretrained: fetch ImageNet weights; random where False.
        """
        super().__init__()
        self.resnet = getattr(torchvision.models, f"resnet{depth}")(
            weights=PRETRAINED if pretrained else None
        )
        if windows != RGB:
            self.resnet.conv1 = nn.Conv2d(windows, 64, kernel_size=7, stride=2, padding=3, bias=False)
        self.resnet.fc = nn.Linear(self.resnet.fc.in_features, 2)

    @property
    def cam_layer(self) -> nn.Module:
        """The last block of layer4."""
        block: nn.Module = self.resnet.layer4[-1]
        return block

    def logits_and_maps(self, channels: Tensor) -> tuple[Tensor, Tensor]:
        """(n, windows, s, s) -> (n, 1) logit z_yes - z_no, and the map of z_yes, (n, 1, s / 32, s / 32)."""
        features = resnet_features(self.resnet, channels)
        return one_logit(self.resnet.fc(features.mean((2, 3)))), yes_map(features, self.resnet.fc)


def resnet_features(resnet: nn.Module, images: Tensor) -> Tensor:
    """The last features of a torchvision ResNet: (n, c, s, s) -> (n, k, s / 32, s / 32)."""
    x = resnet.maxpool(resnet.relu(resnet.bn1(resnet.conv1(images))))  # type: ignore[operator]
    features: Tensor = resnet.layer4(resnet.layer3(resnet.layer2(resnet.layer1(x))))  # type: ignore[operator]
    return features
