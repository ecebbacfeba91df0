"""First weights from a file: of a whole network, or of its backbone alone."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from torch import Tensor, nn

COUNTER = "num_batches_tracked"
LIGHTNING_PREFIX = "network."

BACKBONES = ("backbone", "resnet", "effdet")
"""Names under which networks hold what is pretrained elsewhere."""


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Read a file of weights: a state dict, or a checkpoint of a run of this project.

    Raises:
        ValueError: missing, or no file of weights.
    """
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{file}: cannot be read as weights ({reason})") from error
    tensors = content.get("state_dict", content) if isinstance(content, dict) else None
    if not tensors or not all(isinstance(one, Tensor) for one in tensors.values()):
        raise ValueError(f"{file}: holds no state dict; save one with torch.save(network.state_dict(), ...)")
    if any(name.startswith(LIGHTNING_PREFIX) for name in tensors):
        # What stands beside the network in a run's checkpoint is of its losses.
        cut = len(LIGHTNING_PREFIX)
        tensors = {name[cut:]: one for name, one in tensors.items() if name.startswith(LIGHTNING_PREFIX)}
    return dict(tensors)


def load_file(network: nn.Module, file: Path) -> None:
    """Fill a network, or the one backbone in it whose names fit, from a file.

    Raises:
        ValueError: no part of the network has the file's names, or a tensor has another shape.
    """
    tensors = read_tensors(file)
    for part in (network, *(getattr(network, name) for name in BACKBONES if hasattr(network, name))):
        own = {name: one for name, one in part.state_dict().items() if not name.endswith(COUNTER)}
        missing = [name for name in own if name not in tensors]
        if len(missing) > len(own) // 2:
            continue
        if missing and not _only_the_head(missing):
            raise ValueError(f"{file}: tensor {missing[0]!r} is missing, {len(missing)} in all")
        for name in own.keys() - set(missing):
            _check_shape(str(file), name, tensors[name], own[name], may_differ=_only_the_head([name]))
        fitting = {name: tensors[name] for name in own if _fits(name, own, tensors)}
        part.load_state_dict(fitting, strict=False)
        return
    raise ValueError(f"{file}: its tensors ({', '.join(list(tensors)[:3])}, ...) are not this network's")


def fill_in_order(part: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Fill a module from tensors that stand in its order under other names; further ones are left.

    Raises:
        ValueError: a tensor's shape differs, or there are too few.
    """
    own = part.state_dict()
    names = [name for name in own if not name.endswith(COUNTER)]
    given = [tensor for name, tensor in tensors.items() if not name.endswith(COUNTER)]
    if len(given) < len(names):
        raise ValueError(f"{len(given)} tensors where {len(names)} are wanted")
    for name, tensor in zip(names, given, strict=False):
        _check_shape("weights", name, tensor, own[name])
        own[name] = tensor
    part.load_state_dict(own)


def _only_the_head(names: list[str]) -> bool:
    """Whether all are of the last layer, which is pretrained for other outputs."""
    return all(name.rpartition(".")[0].split(".")[-1] in ("fc", "linear", "classifier") for name in names)


def _fits(name: str, own: dict[str, Tensor], tensors: dict[str, Tensor]) -> bool:
    return name in tensors and tensors[name].shape == own[name].shape


def _check_shape(file: str, name: str, given: Tensor, own: Tensor, *, may_differ: bool = False) -> None:
    if given.shape != own.shape and not may_differ:
        shapes = f"shape {tuple(given.shape)} where {tuple(own.shape)} is wanted"
        raise ValueError(f"{file}: {name}: {shapes}")
