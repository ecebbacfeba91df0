"""ResNets with two outputs: baselines of the paper's framework, and the end of EffClass (appendix A.1)."""

from __future__ import annotations

from abc import abstractmethod

import torchvision
from torch import Tensor, nn

from cruor.training.networks.base import SliceNetwork

PRETRAINED = "IMAGENET1K_V1"
RGB = 3
NO, YES = 0, 1
"""Places of the two outputs, which the paper puts under softmax."""


class EndsInResNet(SliceNetwork):
    """A network that makes an image of the slice and gives it to a ResNet of two outputs.

    ResNet pools its last features by the mean and ends in one linear layer, so the map of hemorrhage is
    exact: Grad-CAM's weights at the last features are the linear layer's, up to a constant.

    Attributes:
        resnet: what `two_unit_resnet` gives.
    """

    outputs = ("any",)
    resnet: torchvision.models.ResNet

    @abstractmethod
    def images(self, channels: Tensor) -> Tensor:
        """(n, windows, s, s) -> what ResNet is given, (n, c, t, t)."""

    @property
    def cam_layer(self) -> nn.Module:
        """The last block of layer4: where the paper's Grad-CAM looks."""
        block: nn.Module = self.resnet.layer4[-1]
        return block

    def last_features(self, channels: Tensor) -> Tensor:
        """(n, windows, s, s) -> the output of layer4, (n, k, t / 32, t / 32)."""
        net = self.resnet
        x = net.maxpool(net.relu(net.bn1(net.conv1(self.images(channels)))))
        features: Tensor = net.layer4(net.layer3(net.layer2(net.layer1(x))))
        return features

    def two_logits(self, features: Tensor) -> Tensor:
        """(n, k, h, w) last features -> (n, 2): the paper's outputs before the softmax."""
        logits: Tensor = self.resnet.fc(features.mean((2, 3)))
        return logits

    def logits_and_maps(self, channels: Tensor) -> tuple[Tensor, Tensor]:
        """(n, windows, s, s) -> (n, 1) logit z_yes - z_no, and the map of z_yes, (n, 1, h, w).

        The sigmoid of that logit is the softmax over the two outputs. Grad-CAM's target is the output of
        hemorrhage, as in the paper.
        """
        features = self.last_features(channels)
        weight = self.resnet.fc.weight[YES : YES + 1, :, None, None]
        return one_logit(self.two_logits(features)), nn.functional.conv2d(features, weight)

    def probability(self, channels: Tensor) -> Tensor:
        """(n, windows, s, s) -> (n,) probability of hemorrhage."""
        return self.logits_and_maps(channels)[0][:, 0].sigmoid()


class ResNet(EndsInResNet):
    """ResNet-18, -34 or -50 on the windows."""

    def __init__(self, depth: int, windows: int, pretrained: bool = False) -> None:
        """Build the network.

        Args:
            depth: 18, 34 or 50.
            windows: channels of the input; ImageNet's first convolution fits three alone.
            pretrained: fetch ImageNet weights; random where False.
        """
        super().__init__()
        self.resnet = two_unit_resnet(depth, pretrained)
        if windows != RGB:
            self.resnet.conv1 = nn.Conv2d(windows, 64, kernel_size=7, stride=2, padding=3, bias=False)

    def images(self, channels: Tensor) -> Tensor:
        """The windows themselves."""
        return channels


def two_unit_resnet(depth: int, pretrained: bool) -> torchvision.models.ResNet:
    """A ResNet of torchvision whose last layer is cut to two outputs."""
    make = getattr(torchvision.models, f"resnet{depth}")
    resnet = make(weights=PRETRAINED if pretrained else None)
    resnet.fc = nn.Linear(resnet.fc.in_features, 2)
    return resnet


def one_logit(two_logits: Tensor) -> Tensor:
    """(n, 2) -> (n, 1) logit z_yes - z_no, whose sigmoid is the softmax over the two."""
    return (two_logits[:, YES] - two_logits[:, NO])[:, None]
