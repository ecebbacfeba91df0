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
    """Give weights that are new ones or zeros values of their own, and normalisations statistics; in place.

    The statistics are those of a pass of training: they make the values of every layer about 1, so that
    none fades out, as in a network with new ones.
    """
    torch.manual_seed(4)
    for name, parameter in network.named_parameters():
        if name.endswith("edge_weights"):
            nn.init.uniform_(parameter, -0.2, 1.5)
        elif parameter.ndim == 1 and parameter.min() == parameter.max():
            nn.init.normal_(parameter, float(parameter[0] > 0), 0.3)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
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
