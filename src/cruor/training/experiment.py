"""An experiment: everything that decides what a run gives, read from YAML and checked."""

from __future__ import annotations

import dataclasses
import difflib
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from cruor.preprocessing.channels import InputSettings
from cruor.preprocessing.crop import CropSettings


class ExperimentError(ValueError):
    """An experiment file that cannot be used; the message names the key and what to do."""


@dataclass(frozen=True)
class DataSettings:
    """Which prepared folders are used, and which patients stay out of everything."""

    folders: tuple[str, ...]
    left_out_patients: tuple[str, ...] = ()
    folds: int = 5


@dataclass(frozen=True)
class NetworkSettings:
    """A network of `networks/` by name.

    Attributes:
        weights: `imagenet` or `random`.
        frozen_stages: that many first stages keep their first weights: the wide early layers cost most
            of a step on a CPU.
    """

    name: str = "lite0"
    weights: str = "imagenet"
    frozen_stages: int = 0
    dropout: float = 0.2


@dataclass(frozen=True)
class TrainingSettings:
    """AdamW under a one-cycle learning rate; an epoch is every positive slice and a draw of negatives."""

    epochs: int = 12
    batch_size: int = 32
    negatives_per_positive: float = 2.0
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    seed: int = 1


@dataclass(frozen=True)
class AugmentationSettings:
    """Ranges of the random changes made to each training slice, in HU before the windows are applied.

    Attributes:
        rotation_degrees, scale, shift: +- range; shift as a share of the side.
        gain, offset_hu: the slice's HU times 1 +- gain plus +- offset: scanners differ in calibration.
        noise_hu: upper end of the standard deviation of added noise.
        blur: share of slices that are smoothed, as thick slices and JPEG do.
    """

    rotation_degrees: float = 15.0
    scale: float = 0.12
    shift: float = 0.04
    gain: float = 0.05
    offset_hu: float = 4.0
    noise_hu: float = 6.0
    blur: float = 0.3


@dataclass(frozen=True)
class Experiment:
    """One YAML file. `code` names the run folder `runs/<code>/`."""

    code: str
    data: DataSettings
    input: InputSettings = field(default_factory=lambda: InputSettings(CropSettings(size=256)))
    network: NetworkSettings = field(default_factory=NetworkSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    augmentation: AugmentationSettings = field(default_factory=AugmentationSettings)


def load_experiment(path: Path) -> Experiment:
    """Read an experiment.

    Raises:
        ExperimentError: unreadable YAML, an unknown or missing key, or a value of the wrong type.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ExperimentError(f"{path}: cannot be read as YAML: {error}") from error
    return typing.cast(Experiment, _build(Experiment, content, where=str(path)))


def experiment_record(experiment: Experiment) -> dict[str, Any]:
    """The experiment as plain data, every default filled in."""
    return dataclasses.asdict(experiment)


def save_experiment(experiment: Experiment, path: Path) -> None:
    """Write the resolved experiment so that `load_experiment` gives it back."""
    path.write_text(yaml.safe_dump(_plain(experiment_record(experiment)), sort_keys=False))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _build(kind: Any, value: Any, where: str) -> Any:
    """Turn YAML data into the dataclass, tuple or plain value that the type hint asks for."""
    if dataclasses.is_dataclass(kind):
        return _build_dataclass(kind, value, where)
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise ExperimentError(f"{where}: a list is wanted, not {value!r}")
        parts = typing.get_args(kind)
        wanted = [parts[0]] * len(value) if parts[-1] is Ellipsis else list(parts)
        if len(wanted) != len(value):
            raise ExperimentError(f"{where}: {len(wanted)} values are wanted, not {len(value)}")
        return tuple(_build(part, item, f"{where}[{i}]") for i, (part, item) in enumerate(zip(wanted, value, strict=True)))
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or isinstance(value, bool) is not (kind is bool):
        raise ExperimentError(f"{where}: {kind.__name__} is wanted, not {value!r}")
    return value


def _build_dataclass(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise ExperimentError(f"{where}: a mapping is wanted, not {value!r}")
    hints = typing.get_type_hints(kind)
    for key in value:
        if key not in hints:
            near = difflib.get_close_matches(str(key), hints, n=1)
            advice = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(hints)}"
            raise ExperimentError(f"{where}: unknown key {key!r}; {advice}")
    missing = [
        f.name
        for f in dataclasses.fields(kind)
        if f.name not in value and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ExperimentError(f"{where}: {missing[0]!r} is missing")
    return kind(**{key: _build(hints[key], item, f"{where}: {key}") for key, item in value.items()})
