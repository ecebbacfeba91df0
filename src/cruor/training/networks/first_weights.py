"""First weights from a file: of a whole network, or of its backbone alone."""

from __future__ import annotations

import pickle
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from timm.models import adapt_input_conv
from torch import Tensor, nn

from cruor.training.experiment import ExperimentError

COUNTER = "num_batches_tracked"
RUN_PREFIX = "network."
"""Of the network's tensors in a run's checkpoint; what stands beside them is of its losses."""

BACKBONES = ("backbone", "resnet", "effdet")
"""Names under which networks hold what is pretrained elsewhere."""

HEADS = frozenset(
    {"fc", "classifier", "head", "conv_head", "norm_head", "pre_logits", "box_net", "class_net"}
)
"""How files of other projects name what stands behind the features that are wanted here."""

LAST_LAYER = "fc"
"""Of a ResNet: pretrained for other outputs, it keeps its own weights."""


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Read a file of weights: a state dict, a checkpoint of a run of this project, or safetensors.

    Returns:
        Name -> tensor; counters of batches are left out.

    Raises:
        ExperimentError: missing, or no file of weights.
    """
    try:
        content = _content(file)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, SafetensorError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ExperimentError(f"{file}: cannot be read as weights ({reason})") from error
    tensors = content.get("state_dict", content) if isinstance(content, dict) else None
    if not tensors or not all(isinstance(one, Tensor) for one in tensors.values()):
        raise ExperimentError(
            f"{file}: holds no state dict; save one with torch.save(network.state_dict(), ...)"
        )
    if any(name.startswith(RUN_PREFIX) for name in tensors):
        cut = len(RUN_PREFIX)
        tensors = {name[cut:]: one for name, one in tensors.items() if name.startswith(RUN_PREFIX)}
    return _without_counters(tensors)


def load_file(network: nn.Module, file: Path) -> None:
    """Fill a network from a file of all its tensors, or the one backbone in it whose names the file has.

    A backbone's file may hold a head, which is left: the network has its own.

    Raises:
        ExperimentError: no part of the network has the file's names; a tensor is missing, of another
            shape, or has no place.
    """
    tensors = read_tensors(file)
    parts = [network, *(getattr(network, name) for name in BACKBONES if hasattr(network, name))]
    part = max(parts, key=lambda one: len(one.state_dict().keys() & tensors.keys()))
    own = _without_counters(part.state_dict())
    if not own.keys() & tensors.keys():
        raise ExperimentError(
            f"{file}: its tensors ({', '.join(list(tensors)[:3])}, ...) are not this network's "
            f"({', '.join(list(own)[:3])}, ...) nor its backbone's"
        )
    if part is not network:
        own = {name: one for name, one in own.items() if _first(name) != LAST_LAYER}
        tensors = {name: one for name, one in tensors.items() if name in own or _first(name) not in HEADS}
    _check_names(file, own, tensors)
    for name, tensor in tensors.items():
        _check_shape(file, name, tensor, own[name])
    part.load_state_dict(tensors, strict=False)  # lacks counters and the last layer alone


def fill_in_order(part: nn.Module, file: Path) -> None:
    """Fill a module from tensors that stand in its order under other names; further ones are left.

    A first convolution of other channels than the file's takes the file's summed or repeated, as timm does.

    Raises:
        ExperimentError: no file of weights, a tensor's shape differs, or there are too few.
    """
    own, tensors = _without_counters(part.state_dict()), read_tensors(file)
    if len(tensors) < len(own):
        raise ExperimentError(f"{file}: {len(tensors)} tensors where {len(own)} are wanted")
    given = dict(zip(own, tensors.values(), strict=False))
    first = next(iter(own))
    if given[first].ndim == own[first].ndim == 4:
        given[first] = adapt_input_conv(own[first].shape[1], given[first])
    for name, tensor in given.items():
        _check_shape(file, name, tensor, own[name])
    part.load_state_dict(given, strict=False)  # lacks counters alone


def _content(file: Path) -> object:
    if file.suffix == ".safetensors":
        return safetensors.torch.load_file(file)
    return torch.load(file, map_location="cpu", weights_only=True)


def _without_counters(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors.items() if not name.endswith(COUNTER)}


def _first(name: str) -> str:
    return name.partition(".")[0]


def _check_names(file: Path, own: dict[str, Tensor], tensors: dict[str, Tensor]) -> None:
    missing = [name for name in own if name not in tensors]
    surplus = [name for name in tensors if name not in own]
    if missing:
        raise ExperimentError(f"{file}: tensor {missing[0]!r} is missing ({len(missing)} of {len(own)} are)")
    if surplus:
        raise ExperimentError(
            f"{file}: tensor {surplus[0]!r} has no place in this network ({len(surplus)} have none); "
            "it holds another one's weights"
        )


def _check_shape(file: Path, name: str, given: Tensor, own: Tensor) -> None:
    if given.shape != own.shape:
        shapes = f"shape {tuple(given.shape)} where {tuple(own.shape)} is wanted"
        raise ExperimentError(f"{file}: {name}: {shapes}")
