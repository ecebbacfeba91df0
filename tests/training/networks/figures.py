"""EffClass once more, from the figures alone and op by op, over the weights of a state dict.

The paper's figures A4 to A7 (the five transposed convolutions, the two convolutions, ResNet-18) and what
they stand on: EfficientNet-B0 (Tan and Le 2019, table 1, squeeze and excitation at a quarter of the
channels that enter a block), the BiFPN (Tan et al. 2020, figure 3 and section 3.3, fast normalised
fusion), ResNet-18 (He et al. 2016, table 1). No layer of a library, no code of cruor; only the names of the
weights are those of the libraries.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

BLOCKS = (
    # expansion, kernel, stride, channels, repeats
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
HANDED_ON = (2, 4, 6)
"""Groups of blocks whose output goes to the BiFPN: 1/8, 1/16 and 1/32 of the side."""

DECONVOLUTIONS = (
    # Figure A5: out channels, kernel, stride, padding, dilation
    (16, 19, 3, 1, 2),
    (12, 9, 7, 1, 1),
    (8, 24, 9, 2, 4),
    (4, 28, 9, 1, 6),
    (2, 30, 8, 2, 7),
)


class Figures:
    """Reads each weight by name and remembers which were read."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        self.weights = weights
        self.read: set[str] = set()

    def logits(self, channels: Tensor) -> Tensor:
        """(n, 3, 512, 512) -> (n, 2)."""
        joined = torch.cat(self.upsampled(self.pyramid(channels)), dim=1)
        image = self.convolution("conv1", self.convolution("conv0", joined))
        return self.resnet18(image)

    def upsampled(self, levels: list[Tensor]) -> list[Tensor]:
        """The five feature maps at 224 x 224."""
        maps = []
        for i, (out, kernel, stride, padding, dilation) in enumerate(DECONVOLUTIONS):
            weight = self.take(f"deconv{i}.weight")
            assert weight.shape == (64, out, kernel, kernel)
            maps.append(
                functional.conv_transpose2d(
                    levels[i],
                    weight,
                    self.take(f"deconv{i}.bias"),
                    stride=stride,
                    padding=padding,
                    dilation=dilation,
                )
            )
        return maps

    def pyramid(self, channels: Tensor) -> list[Tensor]:
        """The BiFPN's five feature maps, the finest first."""
        levels = self.efficientnet(channels)
        coarse = self.normed(
            "effdet.fpn.resample.3.conv.bn", self.plain("effdet.fpn.resample.3.conv.conv", levels[-1])
        )
        levels.append(halved(coarse))
        levels.append(halved(levels[-1]))
        for cell in range(3):
            levels = self.bifpn(f"effdet.fpn.cell.{cell}.fnode", levels)
        return levels

    def bifpn(self, name: str, levels: list[Tensor]) -> list[Tensor]:
        """Once from coarse to fine, once back; nodes are counted in that order."""
        node = 0
        down = {4: levels[4]}
        for level in (3, 2, 1, 0):
            own = self.entering(f"{name}.{node}", level, levels[level])
            down[level] = self.fused(f"{name}.{node}", [own, doubled(down[level + 1])])
            node += 1
        out = [down[0]]
        for level in (1, 2, 3):
            own = self.entering(f"{name}.{node}", level, levels[level])
            out.append(self.fused(f"{name}.{node}", [own, down[level], halved(out[-1])]))
            node += 1
        out.append(self.fused(f"{name}.{node}", [levels[4], halved(out[-1])]))
        return out

    def entering(self, node: str, level: int, features: Tensor) -> Tensor:
        """The backbone's features are brought to 64 channels, for each node that takes them by itself."""
        if features.shape[1] == 64:
            return features
        name = f"{node}.combine.resample.{level}.conv"
        return self.normed(f"{name}.bn", self.plain(f"{name}.conv", features))

    def fused(self, node: str, entering: list[Tensor]) -> Tensor:
        """Fast normalised fusion, a swish, a separable convolution."""
        weights = self.take(f"{node}.combine.edge_weights").clamp(min=0)
        assert len(weights) == len(entering)
        summed = torch.zeros_like(entering[0])
        for weight, features in zip(weights, entering, strict=True):
            summed = summed + weight * features / (0.0001 + weights.sum())
        x = self.plain(f"{node}.after_combine.conv.conv_dw", swish(summed), groups=64)
        return self.normed(
            f"{node}.after_combine.conv.bn", self.plain(f"{node}.after_combine.conv.conv_pw", x)
        )

    def normed(self, name: str, x: Tensor) -> Tensor:
        """As the BiFPN normalises: with 0.001 under the root."""
        return self.normalised(name, x, 0.001)

    def efficientnet(self, channels: Tensor) -> list[Tensor]:
        """The features of three depths, of 40, 112 and 320 channels."""
        stem = self.plain("effdet.backbone.conv_stem", channels, stride=2)
        x = swish(self.normalised("effdet.backbone.bn1", stem))
        kept = []
        for group, (expansion, kernel, stride, out, repeats) in enumerate(BLOCKS):
            for block in range(repeats):
                name = f"effdet.backbone.blocks.{group}.{block}"
                x = self.mbconv(name, x, expansion, kernel, stride if block == 0 else 1, out)
            if group in HANDED_ON:
                kept.append(x)
        return kept

    def mbconv(self, name: str, x: Tensor, expansion: int, kernel: int, stride: int, out: int) -> Tensor:
        """Widen, convolve each channel, squeeze and excite, narrow; add what entered where it fits."""
        entered = x.shape[1]
        number, narrow = 1, "conv_pw"
        inner = x
        if expansion > 1:
            inner = swish(self.normalised(f"{name}.bn1", self.plain(f"{name}.conv_pw", x)))
            number, narrow = 2, "conv_pwl"
        assert inner.shape[1] == entered * expansion
        weight = self.take(f"{name}.conv_dw.weight")
        assert weight.shape == (entered * expansion, 1, kernel, kernel)
        inner = functional.conv2d(inner, weight, stride=stride, padding=kernel // 2, groups=inner.shape[1])
        inner = swish(self.normalised(f"{name}.bn{number}", inner))
        squeezed = inner.mean((2, 3), keepdim=True)
        reduced = swish(self.convolution(f"{name}.se.conv_reduce", squeezed))
        assert reduced.shape[1] == max(1, entered // 4)
        inner = inner * torch.sigmoid(self.convolution(f"{name}.se.conv_expand", reduced))
        narrowed = self.normalised(f"{name}.bn{number + 1}", self.plain(f"{name}.{narrow}", inner))
        assert narrowed.shape[1] == out
        return narrowed + x if stride == 1 and entered == out else narrowed

    def resnet18(self, image: Tensor) -> Tensor:
        """Four times two residual blocks, the mean, two outputs."""
        x = relu(self.normalised("resnet.bn1", self.plain("resnet.conv1", image, stride=2)))
        x = functional.max_pool2d(x, 3, stride=2, padding=1)
        for layer in (1, 2, 3, 4):
            for block in (0, 1):
                x = self.residual(f"resnet.layer{layer}.{block}", x, 2 if layer > 1 and block == 0 else 1)
        return x.mean((2, 3)) @ self.take("resnet.fc.weight").T + self.take("resnet.fc.bias")

    def residual(self, name: str, x: Tensor, stride: int) -> Tensor:
        """Two convolutions beside a shortcut, which is a convolution of 1 x 1 where the shape changes."""
        inner = relu(self.normalised(f"{name}.bn1", self.plain(f"{name}.conv1", x, stride=stride)))
        inner = self.normalised(f"{name}.bn2", self.plain(f"{name}.conv2", inner))
        if stride > 1:
            x = self.normalised(f"{name}.downsample.1", self.plain(f"{name}.downsample.0", x, stride=stride))
        return relu(inner + x)

    def convolution(self, name: str, x: Tensor) -> Tensor:
        """With a bias."""
        return self.plain(name, x) + self.take(f"{name}.bias")[:, None, None]

    def plain(self, name: str, x: Tensor, stride: int = 1, groups: int = 1) -> Tensor:
        """Without a bias, padded to keep the side (over the stride)."""
        weight = self.take(f"{name}.weight")
        return functional.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2, groups=groups)

    def normalised(self, name: str, x: Tensor, under_the_root: float = 0.00001) -> Tensor:
        """By the statistics of training."""
        mean, variance, weight, bias = (
            self.take(f"{name}.{one}")[:, None, None]
            for one in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / torch.sqrt(variance + under_the_root) * weight + bias

    def take(self, name: str) -> Tensor:
        """A weight, by its name."""
        self.read.add(name)
        return self.weights[name]


def swish(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x)


def relu(x: Tensor) -> Tensor:
    return x.clamp(min=0)


def halved(x: Tensor) -> Tensor:
    return functional.max_pool2d(x, 3, stride=2, padding=1)


def doubled(x: Tensor) -> Tensor:
    return x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
