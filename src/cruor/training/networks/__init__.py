"""The networks that experiments name."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path

from cruor.training.experiment import ExperimentError, NetworkSettings
from cruor.training.networks.base import SliceNetwork
from cruor.training.networks.effclass import SIZE as EFFCLASS_SIZE
from cruor.training.networks.effclass import EffClass
from cruor.training.networks.effclass_variants import EffClassFc, EffClassMended
from cruor.training.networks.first_weights import load_file
from cruor.training.networks.lite0 import Lite0, load_imagenet, load_lite0_trunk
from cruor.training.networks.pooled import Pooled
from cruor.training.networks.resnet import ResNet

RGB = 3

LITE0 = "imagenet-lite0"
"""First weights of networks with EfficientDet-D0 in them, where its own cannot be had."""

Builder = Callable[[NetworkSettings, int, bool], SliceNetwork]
"""Settings, number of windows, whether to fetch pretrained weights -> the network."""


def _lite0(settings: NetworkSettings, windows: int, pretrained: bool) -> SliceNetwork:
    network = Lite0(settings.frozen_stages, settings.dropout, windows)
    if pretrained:
        load_imagenet(network)
    return network


NETWORKS: dict[str, Builder] = {
    "lite0": _lite0,
    "timm": lambda settings, windows, pretrained: Pooled(
        settings.backbone, windows, settings.dropout, pretrained
    ),
    "effclass": lambda settings, windows, pretrained: EffClass(pretrained),
    "effclass-mended": lambda settings, windows, pretrained: EffClassMended(pretrained),
    "effclass-fc": lambda settings, windows, pretrained: EffClassFc(pretrained),
    "resnet18": lambda settings, windows, pretrained: ResNet(18, windows, pretrained),
    "resnet34": lambda settings, windows, pretrained: ResNet(34, windows, pretrained),
    "resnet50": lambda settings, windows, pretrained: ResNet(50, windows, pretrained),
}
"""Name in an experiment -> what builds it."""


def build_network(settings: NetworkSettings, windows: int, size: int) -> SliceNetwork:
    """The network that settings name, with its first weights.

    Args:
        settings: of the experiment.
        windows: channels of the input.
        size: rows and columns of the input.

    Raises:
        ExperimentError: an unknown network, an input that it cannot take, or weights that cannot be had.
    """
    _check(settings, windows, size)
    try:
        network = NETWORKS[settings.name](settings, windows, settings.weights == "imagenet")
        if settings.weights == LITE0:
            load_lite0_trunk(network.effdet.backbone)  # type: ignore[union-attr, arg-type]
        elif settings.weights not in ("imagenet", "random"):
            load_file(network, Path(settings.weights))
    except ValueError as error:
        raise ExperimentError(str(error)) from error
    except Exception as error:  # libraries that fetch weights raise what their way of fetching raises
        raise ExperimentError(
            f"weights 'imagenet' of {settings.name!r} cannot be fetched ({type(error).__name__}); connect once, "
            "give weights: FILE, or weights: random"
        ) from error
    return network


def _check(settings: NetworkSettings, windows: int, size: int) -> None:
    if settings.name not in NETWORKS:
        near = difflib.get_close_matches(settings.name, NETWORKS, n=1)
        advice = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(NETWORKS)}"
        raise ExperimentError(f"network {settings.name!r} is not known; {advice}")
    if settings.name.startswith("effclass") and (windows, size) != (RGB, EFFCLASS_SIZE):
        raise ExperimentError(
            f"network {settings.name!r} takes {RGB} windows and a size of {EFFCLASS_SIZE}, "
            f"not {windows} and {size}"
        )
    if settings.weights == LITE0 and not settings.name.startswith("effclass"):
        raise ExperimentError(f"weights {LITE0!r} are for the trunk of effclass; {settings.name!r} has none")
    if settings.frozen_stages and settings.name != "lite0":
        raise ExperimentError(f"frozen_stages is of lite0 alone; leave it out of {settings.name!r}")
