"""The networks that experiments name."""

from __future__ import annotations

from cruor.training.experiment import ExperimentError, NetworkSettings
from cruor.training.networks.base import SliceNetwork
from cruor.training.networks.effclass import EffClass
from cruor.training.networks.lite0 import Lite0, load_imagenet


def build_network(settings: NetworkSettings, windows: int, size: int) -> SliceNetwork:
    """The network that settings name, with its first weights.

    Args:
        settings: of the experiment.
        windows: channels of the input.
        size: rows and columns of the input.

    Raises:
        ExperimentError: an unknown name of network or weights.
    """
    if settings.weights not in ("imagenet", "random"):
        raise ExperimentError(f"weights {settings.weights!r} are not known; known: imagenet, random")
    pretrained = settings.weights == "imagenet"
    if settings.name == "effclass":
        return EffClass(pretrained)
    if settings.name != "lite0":
        raise ExperimentError(f"network {settings.name!r} is not known; known: effclass, lite0")
    network = Lite0(settings.frozen_stages, settings.dropout)
    if pretrained:
        load_imagenet(network)
    return network
