"""Networks whose weights and statistics are not those of a new one, so that nothing hides what it does."""

from __future__ import annotations

import functools
from typing import TypeVar

import torch
from torch import nn

from cruor.training.experiment import NetworkSettings
from cruor.training.networks import NETWORKS, build_network
from cruor.training.networks.base import SliceNetwork

Network = TypeVar("Network", bound=nn.Module)


def lively(network: Network, size: int, windows: int = 3) -> Network:
    """Give normalisations weights and the statistics of a pass of training, fusions weights; in place.

    The statistics make the values of every layer about 1: none fades out, as in a network with new ones.
    """
    torch.manual_seed(4)
    for name, parameter in network.named_parameters():
        if name.endswith("edge_weights"):
            nn.init.uniform_(parameter, -0.2, 1.5)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
    with torch.no_grad():
        network.train()(torch.randn(2, windows, size, size))
    return network.eval()


BACKBONES = ("efficientnet_b0", "resnet18", "mobilenetv3_large_100", "convnext_atto")
"""Of timm, each built in another way behind its features."""

EVERY_NETWORK = [
    *((name, "") for name in NETWORKS if name != "timm"),
    *(("timm", backbone) for backbone in BACKBONES),
]
"""Name and backbone, as an experiment gives them."""


def size_of(name: str) -> int:
    """The smallest rows and columns on which a network is worth looking at."""
    return 512 if name.startswith("effclass") else 96


@functools.cache
def lively_by_name(name: str, backbone: str) -> SliceNetwork:
    """One for all tests, none of which changes it."""
    torch.manual_seed(1)
    size = size_of(name)
    return lively(build_network(NetworkSettings(name, backbone, "random"), 3, size), size)
