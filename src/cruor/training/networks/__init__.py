"""The networks that experiments name."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cruor.training.experiment import ExperimentError, NetworkSettings
from cruor.training.networks.base import SliceNetwork
from cruor.training.networks.blood_map import BloodMap
from cruor.training.networks.effclass import SIZE as EFFCLASS_SIZE
from cruor.training.networks.effclass import EffClass
from cruor.training.networks.effclass_variants import EffClassFc, EffClassMended
from cruor.training.networks.first_weights import load_file
from cruor.training.networks.lite0 import Lite0, load_imagenet, load_lite0_trunk
from cruor.training.networks.pooled import Pooled, timm_backbone
from cruor.training.networks.resnet import RGB, ResNet

WITH_MAP_OF_BLOOD = ("blood-map",)
"""Names of networks whose map is blood: tables of what they say keep it (`map_column`)."""

PRETRAINED, LITE0_TRUNK, RANDOM = "imagenet", "imagenet-lite0", "random"
"""First weights by name; any other is a file."""


@dataclass(frozen=True)
class Wanted:
    """What a network is built for.

    Attributes:
        settings: of the experiment.
        windows, size: channels, and rows and columns, of the input.
        pretrained: whether to fetch pretrained weights.
    """

    settings: NetworkSettings
    windows: int
    size: int
    pretrained: bool


ON_LITE0 = ("lite0", "blood-map")


def _on_lite0(wanted: Wanted) -> SliceNetwork:
    settings = wanted.settings
    arguments = (settings.frozen_stages, settings.dropout, wanted.windows)
    network = BloodMap(*arguments, settings.side) if settings.name in WITH_MAP_OF_BLOOD else Lite0(*arguments)
    if wanted.pretrained:
        load_imagenet(network)
    return network


def _timm(wanted: Wanted) -> SliceNetwork:
    name = wanted.settings.backbone
    return Pooled(
        timm_backbone(name, wanted.windows, wanted.size, wanted.pretrained), wanted.settings.dropout
    )


NETWORKS: dict[str, Callable[[Wanted], SliceNetwork]] = {
    **dict.fromkeys(ON_LITE0, _on_lite0),
    "timm": _timm,
    "effclass": lambda wanted: EffClass(wanted.pretrained),
    "effclass-mended": lambda wanted: EffClassMended(wanted.pretrained),
    "effclass-fc": lambda wanted: EffClassFc(wanted.pretrained),
    "resnet18": lambda wanted: ResNet(18, wanted.windows, wanted.pretrained),
    "resnet34": lambda wanted: ResNet(34, wanted.windows, wanted.pretrained),
    "resnet50": lambda wanted: ResNet(50, wanted.windows, wanted.pretrained),
}
"""Name in an experiment -> what builds it."""


def build_network(settings: NetworkSettings, windows: int, size: int) -> SliceNetwork:
    """The network that settings name, with its first weights.

    Args:
        settings: of the experiment.
        windows: channels of the input.
        size: rows and columns of the input.

    Raises:
        ExperimentError: an unknown network, settings that are not its own, an input that it cannot take, or
            weights that cannot be had.
    """
    _check(settings, windows, size)
    build = NETWORKS[settings.name]
    if settings.weights == PRETRAINED:
        return _build_pretrained(Wanted(settings, windows, size, pretrained=True))
    network = build(Wanted(settings, windows, size, pretrained=False))
    if settings.weights == LITE0_TRUNK:
        load_lite0_trunk(network.get_submodule("effdet.backbone"))
    elif settings.weights != RANDOM:
        load_file(network, Path(settings.weights))
    return network


def _build_pretrained(wanted: Wanted) -> SliceNetwork:
    name = wanted.settings.name
    try:
        return NETWORKS[name](wanted)
    except ExperimentError:
        raise
    except Exception as error:  # libraries that fetch weights raise what their way of fetching raises
        reason = str(error).partition("\n")[0]
        raise ExperimentError(
            f"weights {PRETRAINED!r} of {name!r} cannot be fetched ({type(error).__name__}: {reason}); "
            f"connect once, put the files where torch.hub looks for them, or give weights: FILE or {RANDOM}"
        ) from error


def _check(settings: NetworkSettings, windows: int, size: int) -> None:
    name = settings.name
    if name not in NETWORKS:
        near = difflib.get_close_matches(name, NETWORKS, n=1)
        advice = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(NETWORKS)}"
        raise ExperimentError(f"network {name!r} is not known; {advice}")
    if name.startswith("effclass") and (windows, size) != (RGB, EFFCLASS_SIZE):
        raise ExperimentError(
            f"network {name!r} takes {RGB} windows and a size of {EFFCLASS_SIZE}, not {windows} and {size}"
        )
    if settings.weights == LITE0_TRUNK and not name.startswith("effclass"):
        raise ExperimentError(f"weights {LITE0_TRUNK!r} are for the trunk of effclass; {name!r} has none")
    if settings.frozen_stages and name not in ON_LITE0:
        raise ExperimentError(f"frozen_stages is of {' and '.join(ON_LITE0)}; leave it out of {name!r}")
    if settings.side and name not in WITH_MAP_OF_BLOOD:
        raise ExperimentError(f"side is of {' and '.join(WITH_MAP_OF_BLOOD)}; leave it out of {name!r}")
    if bool(settings.backbone) != (name == "timm"):
        wanted = (
            "needs backbone: NAME, a name in timm" if name == "timm" else "takes no backbone; 'timm' does"
        )
        raise ExperimentError(f"network {name!r} {wanted}")
