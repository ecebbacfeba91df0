"""An experiment: everything that decides what a run gives, read from YAML and checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import yaml

from cruor.preprocessing.channels import InputSettings
from cruor.preprocessing.crop import CropSettings
from cruor.records import RecordError, build_record, plain_record


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
    """AdamW under a one-cycle learning rate; an epoch is every positive slice and a draw of negatives.

    Attributes:
        place_weight: weight of the loss of the map against the drawn blood, beside that of the labels.
    """

    epochs: int = 12
    batch_size: int = 32
    negatives_per_positive: float = 2.0
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    place_weight: float = 0.0
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
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ExperimentError(f"{path}: cannot be read as YAML: {error}") from error
    try:
        return cast(Experiment, build_record(Experiment, content, str(path)))
    except RecordError as error:
        raise ExperimentError(str(error)) from error


def save_experiment(experiment: Experiment, path: Path) -> None:
    """Write the resolved experiment, every default filled in, so that `load_experiment` gives it back."""
    path.write_text(yaml.safe_dump(plain_record(experiment), sort_keys=False), encoding="utf-8")
