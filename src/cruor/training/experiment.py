"""An experiment: everything that decides what a run gives, read from YAML and checked."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast

import yaml

from cruor.bundle.manifest import LEAST_SIZE
from cruor.preprocessing.channels import InputSettings
from cruor.preprocessing.crop import CropSettings
from cruor.records import RecordError, build_record, plain_record


class ExperimentError(ValueError):
    """An experiment file that cannot be used; the message names the key and what to do."""


@dataclass(frozen=True)
class DataSettings:
    """Which prepared folders are used, and which patients stay out of everything.

    Attributes:
        split: file of sides by patient (`cruor split`); without one, all patients are trained on.
        validation_side, test_side: names of sides in it; every other side is trained on. An empty name
            leaves that phase out.
        learned_share: only this share of the patients who are not held out teaches, drawn by source and
            hemorrhage: a point of a learning curve.
        folds: of `cruor crossval`, which makes its own split.
        leave_out: groups of sources; `cruor crossval` also trains a network without each and lets it score
            them.
        in_memory: every slice is read and cropped once, before training; else when a batch asks for it,
            which is slower and needs memory for the index alone.
        workers: processes that read and crop slices while the network works; 0 does it in turn.
    """

    folders: tuple[str, ...]
    left_out_patients: tuple[str, ...] = ()
    split: str = ""
    validation_side: str = "validation"
    test_side: str = "test"
    learned_share: float = 1.0
    folds: int = 5
    leave_out: tuple[tuple[str, ...], ...] = ()
    in_memory: bool = True
    workers: int = 0


@dataclass(frozen=True)
class NetworkSettings:
    """A network of `networks/` by name.

    Attributes:
        backbone: a backbone's name in timm, for `timm`.
        weights: `imagenet`, `random`, or a file of weights; for effclass also `imagenet-lite0`:
            EfficientNet-Lite0's, which come in a package, in the trunk, and random ones elsewhere.
        side: rows and columns at which `blood-map` looks at its input, made smaller in the network; 0 takes
            the input as it is. Networks of several sides can so be averaged on one input.
        frozen_stages: that many first stages keep their first weights: the wide early layers cost most
            of a step on a CPU.
    """

    name: str = "lite0"
    backbone: str = ""
    weights: str = "imagenet"
    side: int = 0
    frozen_stages: int = 0
    dropout: float = 0.2


@dataclass(frozen=True)
class TrainingSettings:
    """The phase of training.

    Attributes:
        negatives_per_positive: an epoch is every positive slice and so many negatives for each.
        draw: negatives are drawn anew for each epoch, or `once` as in the paper (section 2.3).
        batch_size: slices a forward pass, on each device.
        accumulate_batches: so many batches make one step of the optimizer.
        optimizer, learning_rate, momentum, weight_decay: momentum is SGD's.
        head_rate: what stands behind a network's pretrained part learns so many times as fast: it begins with
            random weights.
        scheduler: `step` multiplies the rate by `step_factor` every `step_epochs` epochs; `one-cycle` and
            `cosine` go by steps over the whole run; `constant` leaves it.
        place_weight: weight of the loss of the map against the drawn blood, beside that of the labels.
        norm_momentum: share of a batch in the running statistics of normalisation; 0 leaves each library's
            own. EfficientDet's 0.01 needs hundreds of steps, more than a small run has.
        precision: of the arithmetic; bf16 and 16 are mixed with 32.
        devices, nodes: GPUs (or processes without one) a machine, and machines.
    """

    epochs: int = 12
    batch_size: int = 32
    accumulate_batches: int = 1
    negatives_per_positive: float = 2.0
    draw: Literal["each-epoch", "once"] = "each-epoch"
    optimizer: Literal["sgd", "adam", "adamw"] = "adamw"
    learning_rate: float = 1e-3
    head_rate: float = 1.0
    momentum: float = 0.9
    weight_decay: float = 0.05
    scheduler: Literal["constant", "step", "cosine", "one-cycle"] = "one-cycle"
    step_epochs: int = 2
    step_factor: float = 0.6
    place_weight: float = 0.0
    norm_momentum: float = 0.0
    precision: Literal["32", "bf16", "16"] = "32"
    devices: int = 1
    nodes: int = 1
    seed: int = 1


@dataclass(frozen=True)
class ValidationSettings:
    """The phase of validation, after each epoch, on the split's validation side.

    Accuracy (at a probability of 0.5), loss and ROC-AUC are measured twice: `validation_<figure>` on all
    slices, at natural prevalence, and `validation_balanced_<figure>` on every positive and as many
    negatives, drawn once, as the paper does (section 2.3).

    Attributes:
        best_by: the checkpoint of the epoch with the best of this figure is kept as `best.ckpt`.
        balance: the balanced figure is meant, else that of all slices.
        patience: training stops after so many epochs without a better one; 0 never stops early.
    """

    balance: bool = False
    best_by: Literal["accuracy", "loss", "roc_auc"] = "loss"
    patience: int = 0

    @property
    def watched(self) -> str:
        """The column of metrics.csv that decides."""
        return f"validation_{'balanced_' if self.balance else ''}{self.best_by}"

    @property
    def better(self) -> Literal["min", "max"]:
        """Whether the lowest or the highest is the best."""
        return "min" if self.best_by == "loss" else "max"


@dataclass(frozen=True)
class TestingSettings:
    """The phase of testing, at the end, on the split's test side.

    Attributes:
        weights: of the best epoch by validation, or of the last.
        thresholds: of the slice probability, for Table 1 (`table1_natural.csv`, `table1_balanced.csv`).
    """

    weights: Literal["best", "last"] = "best"
    thresholds: tuple[float, ...] = (0.5, 0.7, 0.9)


@dataclass(frozen=True)
class AugmentationSettings:
    """Random changes made to each training slice, by name, in HU before the windows are applied; 0 is none.

    Attributes:
        rotation_degrees, scale, shift: +- range; shift as a share of the side.
        gain, offset_hu: the slice's HU times 1 +- gain plus +- offset: scanners differ in calibration.
        noise_hu: upper end of the standard deviation of added noise.
        blur: share of slices that are smoothed, as thick slices and JPEG do.
        mirror, upside_down: share of slices that are turned left to right, top to bottom.
        pasted: share of slices without hemorrhage that get blood drawn in another slice of their source, or a
            patch that is none (`pasting.paste_blood`).
        painted: share of slices without hemorrhage into which a thin bleed is painted where there is room for
            it, which two in five have (`painting.paint_bleeds`).
        clipped: share of slices that are shown as a picture of the first window shows them, so that nothing
            is known beyond it: a further window is then learned as one that may be missing.
    """

    rotation_degrees: float = 15.0
    scale: float = 0.12
    shift: float = 0.04
    gain: float = 0.05
    offset_hu: float = 4.0
    noise_hu: float = 6.0
    blur: float = 0.3
    mirror: float = 0.5
    upside_down: float = 0.0
    pasted: float = 0.0
    painted: float = 0.0
    clipped: float = 0.0


@dataclass(frozen=True)
class Experiment:
    """One YAML file, with the phases of the paper's appendix A.3. `code` names the folder `runs/<code>/`."""

    code: str
    data: DataSettings
    input: InputSettings = field(default_factory=lambda: InputSettings(CropSettings(size=256)))
    network: NetworkSettings = field(default_factory=NetworkSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    validation: ValidationSettings = field(default_factory=ValidationSettings)
    testing: TestingSettings = field(default_factory=TestingSettings)
    augmentation: AugmentationSettings = field(default_factory=AugmentationSettings)


CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""What a run may be called: its name is a folder's."""

LEAST: dict[str, dict[str, int]] = {
    "data": {"folds": 2, "workers": 0},
    "network": {"frozen_stages": 0, "dropout": 0},
    "training": {
        **dict.fromkeys(("epochs", "batch_size", "accumulate_batches", "step_epochs", "devices", "nodes"), 1),
        **dict.fromkeys(("negatives_per_positive", "learning_rate", "momentum", "weight_decay"), 0),
        **dict.fromkeys(("head_rate", "step_factor", "place_weight", "norm_momentum", "seed"), 0),
    },
    "validation": {"patience": 0},
}
"""Phase -> setting -> its lowest value."""


SHARES: dict[str, tuple[str, ...]] = {
    "network": ("dropout",),
    "training": ("momentum", "norm_momentum"),
    "augmentation": ("mirror", "upside_down", "blur", "pasted", "painted", "clipped"),
}
"""Phase -> settings that are shares."""


def load_experiment(path: Path) -> Experiment:
    """Read an experiment.

    Raises:
        ExperimentError: unreadable YAML, an unknown or missing key, or a value of the wrong type or without
            sense.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ExperimentError(
            f"{path}: cannot be read: {error.strerror}; is it an experiment, or of a run?"
        ) from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ExperimentError(f"{path}: cannot be read as YAML: {' '.join(str(error).split())}") from error
    try:
        experiment = cast(Experiment, build_record(Experiment, content, str(path)))
    except RecordError as error:
        raise ExperimentError(str(error)) from error
    _check_sense(experiment, path)
    return experiment


def _check_sense(experiment: Experiment, path: Path) -> None:
    """Refuse values that would fail, or do nothing, hours later."""
    if not CODE.fullmatch(experiment.code):
        wanted = "letters, digits, '.', '_' and '-' are wanted: it names a folder"
        raise ExperimentError(f"{path}: code: {wanted}, not {experiment.code!r}")
    if not experiment.data.folders:
        raise ExperimentError(f"{path}: data: folders: at least one prepared folder is wanted")
    _check_data(experiment, path)
    _check_input(experiment, path)
    for phase, shares in SHARES.items():
        for name in shares:
            value = getattr(getattr(experiment, phase), name)
            if not 0 <= value <= 1:
                raise ExperimentError(f"{path}: {phase}: {name}: a share from 0 to 1 is wanted, not {value}")
    if not all(0 < threshold < 1 for threshold in experiment.testing.thresholds):
        raise ExperimentError(f"{path}: testing: thresholds: probabilities between 0 and 1 are wanted")
    for phase, least in LEAST.items():
        for name, lowest in least.items():
            value = getattr(getattr(experiment, phase), name)
            if not value >= lowest:
                raise ExperimentError(f"{path}: {phase}: {name}: at least {lowest} is wanted, not {value}")


def _check_data(experiment: Experiment, path: Path) -> None:
    data = experiment.data
    if len(set(data.folders)) < len(data.folders):
        raise ExperimentError(f"{path}: data: folders: one stands there twice")
    left_out = [source for group in data.leave_out for source in group]
    if not all(data.leave_out) or len(set(left_out)) < len(left_out):
        wanted = "each group names sources, and no source stands twice"
        raise ExperimentError(f"{path}: data: leave_out: {wanted}")
    if not 0 < data.learned_share <= 1:
        wanted = "a share above 0 and up to 1 is wanted"
        raise ExperimentError(f"{path}: data: learned_share: {wanted}, not {data.learned_share:g}")
    if data.split and data.validation_side and data.validation_side == data.test_side:
        raise ExperimentError(f"{path}: data: validation_side and test_side are both {data.test_side!r}")


def _check_input(experiment: Experiment, path: Path) -> None:
    shown = experiment.input
    for wrong, said in (
        (not shown.windows_hu, "windows_hu: at least one window is wanted"),
        (
            any(low >= high for low, high in shown.windows_hu),
            "windows_hu: [low, high] is wanted",
        ),
        (not shown.std > 0, "std: more than 0 is wanted"),
        (shown.crop.size < LEAST_SIZE, f"crop: size: at least {LEAST_SIZE} is wanted"),
        (not 0 < shown.crop.least_share <= 1, "crop: least_share: a share above 0 is wanted"),
        (not 0 <= shown.crop.margin <= 1, "crop: margin: a share is wanted"),
    ):
        if wrong:
            raise ExperimentError(f"{path}: input: {said}")
    side = experiment.network.side
    if side and not LEAST_SIZE <= side <= shown.crop.size:
        said = f"from {LEAST_SIZE} to the input's size ({shown.crop.size}) is wanted, or 0, not {side}"
        raise ExperimentError(f"{path}: network: side: {said}")
    if experiment.augmentation.clipped and len(shown.windows_hu) == 1:
        said = "clipped hides what lies beyond the first window, and there is no other; leave it out"
        raise ExperimentError(f"{path}: augmentation: {said}")


def save_experiment(experiment: Experiment, path: Path) -> None:
    """Write the resolved experiment, every default filled in, so that `load_experiment` gives it back."""
    path.write_text(yaml.safe_dump(plain_record(experiment), sort_keys=False), encoding="utf-8")
