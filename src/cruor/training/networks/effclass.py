"""EffClass, the network of Cortés-Ferre et al. 2023 (appendix A.1, figures A4 to A7), oddities included."""

from __future__ import annotations

import torch
from effdet import EfficientDet, create_model
from torch import Tensor, nn

from cruor.training.networks.resnet import EndsInResNet, two_unit_resnet

DETECTOR = "efficientdet_d0"
SIZE = 512
"""Rows and columns of the input (section 2.3); the BiFPN then gives 64, 32, 16, 8 and 4."""


class EffClass(EndsInResNet):
    """EfficientDet-D0 without its heads, transposed convolutions, convolutions, ResNet-18 (Figure A7).

    Nothing non-linear stands between the transposed convolutions and ResNet-18: by the figures
    conv1(conv0(.)) is one linear map. All five transposed convolutions give 224 x 224 (the text says
    "244 x 224"), but with holes: `deconv3` (stride 9, dilation 6) never writes more than one pixel in
    nine, `deconv4` (stride 8, dilation 7, 4 x 4 in) about one in four; the rest is bias.
    """

    def __init__(self, pretrained: bool = False) -> None:
        """Build the network.

        Args:
            pretrained: fetch the weights that the paper starts from (COCO for EfficientDet, ImageNet for
                ResNet-18); random where False.
        """
        super().__init__()
        self.effdet = headless_detector(pretrained)
        # Figure A5, from the finest feature map to the coarsest.
        self.deconv0 = nn.ConvTranspose2d(64, 16, kernel_size=19, stride=3, padding=1, dilation=2)
        self.deconv1 = nn.ConvTranspose2d(64, 12, kernel_size=9, stride=7, padding=1, dilation=1)
        self.deconv2 = nn.ConvTranspose2d(64, 8, kernel_size=24, stride=9, padding=2, dilation=4)
        self.deconv3 = nn.ConvTranspose2d(64, 4, kernel_size=28, stride=9, padding=1, dilation=6)
        self.deconv4 = nn.ConvTranspose2d(64, 2, kernel_size=30, stride=8, padding=2, dilation=7)
        # Figure A6.
        self.conv0 = nn.Conv2d(42, 16, kernel_size=5, padding=2)
        self.conv1 = nn.Conv2d(16, 3, kernel_size=3, padding=1)
        # Step 5: ResNet-18 with its last layer cut to two outputs.
        self.resnet = two_unit_resnet(18, pretrained)

    def upsampled(self, channels: Tensor) -> list[Tensor]:
        """(n, 3, 512, 512) -> the five feature maps at (n, 16 | 12 | 8 | 4 | 2, 224, 224)."""
        features, _ = self.effdet(channels)
        deconvs = (self.deconv0, self.deconv1, self.deconv2, self.deconv3, self.deconv4)
        return [deconv(feature) for deconv, feature in zip(deconvs, features, strict=True)]

    def images(self, channels: Tensor) -> Tensor:
        """(n, 3, 512, 512) windows normalised by mean 0.5 and deviation 0.5 -> (n, 3, 224, 224)."""
        images: Tensor = self.conv1(self.conv0(torch.cat(self.upsampled(channels), dim=1)))
        return images


def headless_detector(pretrained: bool) -> EfficientDet:
    """EfficientDet-D0 whose heads hand on the five feature maps of the BiFPN (Figure A4).

    Pretrained is the whole detector, as the text says. Figure A4's call, as it stands, would fetch
    ImageNet weights for the backbone alone and leave the BiFPN random.
    """
    detector = create_model(DETECTOR, pretrained=pretrained, pretrained_backbone=False)
    detector.box_net = nn.Identity()
    detector.class_net = nn.Identity()
    return detector
