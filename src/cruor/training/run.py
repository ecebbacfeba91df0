"""Training one network and keeping everything that made it in `runs/<code>/`."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import logging
import math
import pickle
import platform
import subprocess
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pandas as pd
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from numpy.typing import NDArray
from torch import Tensor

from cruor.reader.volume import BLOOD
from cruor.training.costs import count_flops, count_parameters, measure_energy
from cruor.training.curves import write_curves
from cruor.training.data import Heads, SliceDataset, load_heads, why_no_heads
from cruor.training.evaluation.figures import BALANCED, NATURAL, Settings, slice_cases, table_1
from cruor.training.evaluation.tables import slice_table, write_csv
from cruor.training.experiment import Experiment, ExperimentError, load_experiment, save_experiment
from cruor.training.loading import HeadsData, slice_loader
from cruor.training.locks import lock_of, taken
from cruor.training.map_column import MAP_COLUMN, pack_maps, unpack_maps
from cruor.training.module import SliceModule
from cruor.training.networks import build_network
from cruor.training.prepare.store import LABELS, write_table
from cruor.training.runs import (
    BEST_CHECKPOINT,
    EXPERIMENT_FILE,
    FINISHED_FILE,
    LAST_CHECKPOINT,
    MADE_BY_FILE,
    METRICS_FILE,
    PREDICTIONS_FILE,
    TEST,
    TRAIN,
    VALIDATION,
)
from cruor.training.splits import check_no_patient_on_two_sides, read_split, rows_of_some

LOGIT_COLUMNS = [f"logit_{label}" for label in LABELS]
"""A network of fewer outputs gives the first."""

TRAIN_LOCK = "train.lock"
"""Not the folder's `.lock`, for which a cross-validation of the same code would wait."""

PRECISIONS: dict[str, Any] = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}


class EpochTable(Callback):
    """Writes a row an epoch to metrics.csv; a resumed run goes on below what was finished."""

    def __init__(self, file: Path) -> None:
        self.file, self.rate = file, 0.0

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Remember the rate that the epoch begins with: at its end the schedule has moved on."""
        self.rate = trainer.optimizers[0].param_groups[0]["lr"]

    @rank_zero_only
    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Add the row of the epoch that ends."""
        epoch = trainer.current_epoch
        measured = {name: float(value) for name, value in trainer.callback_metrics.items()}
        row = pd.DataFrame([{"epoch": epoch, "learning_rate": self.rate, **measured}])
        if self.file.exists():
            before = pd.read_csv(self.file)
            row = pd.concat([before[before["epoch"] < epoch], row])
        unfinished = self.file.with_name(self.file.name + ".part")
        row.to_csv(unfinished, index=False)
        unfinished.replace(self.file)


def train(experiment_file: Path, runs: Path) -> Path:
    """Train, validate and test as an experiment says; go on where a killed run of the same code stopped.

    Returns:
        The run folder.

    Raises:
        ExperimentError: the code was used before, by a finished run or a different experiment, or is in the
            hands of another process; or the split does not fit the data.
    """
    experiment = load_experiment(experiment_file)
    check_code(experiment, runs)
    _check_unfinished(experiment, runs / experiment.code)
    check_network(experiment)
    heads = load_heads(experiment.data, experiment.input)
    check_heads(experiment, heads.index, experiment_file)
    if not (heads.index["any"] == 1).any():
        raise ExperimentError(f"{experiment_file}: no slice of the data has hemorrhage to learn")
    sides = experiment_sides(experiment, heads.index)
    folder = open_run(experiment, runs)
    with taken(lock_of(folder, TRAIN_LOCK), experiment) as is_ours:
        if not is_ours:
            raise ExperimentError(f"{folder}: another process trains it; wait for it, or stop it first")
        _check_unfinished(experiment, folder)  # by another process, while this one read the slices
        _train(experiment, heads, sides, folder)
    return folder


def _check_unfinished(experiment: Experiment, folder: Path) -> None:
    last_file = PREDICTIONS_FILE if experiment.data.split else FINISHED_FILE
    if (folder / last_file).exists():
        raise ExperimentError(f"{folder} is finished and never overwritten; give the experiment another code")


def _train(experiment: Experiment, heads: Heads, sides: NDArray[np.object_], folder: Path) -> None:
    rows = {side: np.flatnonzero(sides == side) for side in (TRAIN, VALIDATION)}
    learned = _learned(experiment, heads, rows[TRAIN])
    module = fit(experiment, heads, learned, folder, rows[VALIDATION] if len(rows[VALIDATION]) else None)
    if experiment.data.split and not getattr(rank_zero_only, "rank", 0):  # the first process alone
        write_predictions(module, heads, sides, folder)


def _learned(experiment: Experiment, heads: Heads, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of the rows that may be trained on those that are (`data.learned_share`)."""
    return rows_of_some(heads.index, rows, experiment.data.learned_share, experiment.training.seed)


def experiment_sides(experiment: Experiment, index: pd.DataFrame) -> NDArray[np.object_]:
    """TRAIN, VALIDATION or TEST for each slice, by the experiment's split file; without one, all TRAIN.

    Raises:
        ExperimentError: a side has no patients, no slices with hemorrhage to train on, or of one kind only
            to validate on.
        SplitError: the split file cannot be used, or names not every patient.
    """
    data = experiment.data
    if not data.split:
        return np.full(len(index), TRAIN, dtype=object)
    side = read_split(Path(data.split), index)
    named = {
        name: phase for name, phase in ((data.validation_side, VALIDATION), (data.test_side, TEST)) if name
    }
    for name in named:
        if name not in side:
            raise ExperimentError(f"{data.split}: no patient of the data stands on side {name!r}")
    sides = np.array([named.get(name, TRAIN) for name in side], dtype=object)
    rows = {phase: np.flatnonzero(sides == phase) for phase in (TRAIN, VALIDATION, TEST)}
    check_no_patient_on_two_sides(index, rows[TRAIN], np.flatnonzero(sides != TRAIN))
    check_no_patient_on_two_sides(index, rows[VALIDATION], rows[TEST])
    positive = index["any"].to_numpy() == 1
    if not positive[rows[TRAIN]].any():
        raise ExperimentError(f"{data.split}: no slice with hemorrhage is left to train on")
    kinds = len(set(positive[rows[VALIDATION]].tolist()))
    if kinds == 1:
        raise ExperimentError(
            f"{data.split}: side {data.validation_side!r} needs slices with and without hemorrhage "
            "to validate on; give it more patients"
        )
    return sides


def check_code(experiment: Experiment, runs: Path) -> None:
    """Refuse a code that another experiment has.

    Raises:
        ExperimentError: the run folder holds another experiment.
    """
    folder = runs / experiment.code
    resolved = folder / EXPERIMENT_FILE
    if resolved.exists() and load_experiment(resolved) != experiment:
        raise ExperimentError(f"{folder} holds another experiment of this code; give yours another code")


def check_network(experiment: Experiment) -> None:
    """Build the network once before anything is read, and before its code is used up.

    Raises:
        ExperimentError: an unknown network, an input that it cannot take, or weights that cannot be had.
    """
    build_network(experiment.network, len(experiment.input.windows_hu), experiment.input.crop.size)


def check_heads(experiment: Experiment, index: pd.DataFrame, file: Path) -> None:
    """Refuse pictures of which the crop would take all for a head.

    Raises:
        ExperimentError: naming the source and what to do.
    """
    if reason := why_no_heads(index, experiment.input):
        wanted = "input: {windows_hu: [[0, 80]], crop: {area: shown-head}}"
        raise ExperimentError(f"{file}: {reason}; take {wanted}, or area: slice, under another code")


def open_run(experiment: Experiment, runs: Path) -> Path:
    """Make the run folder, or find it again if it holds the same experiment.

    Raises:
        ExperimentError: the folder holds another experiment.
    """
    check_code(experiment, runs)
    folder = runs / experiment.code
    resolved = folder / EXPERIMENT_FILE
    if resolved.exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    begun = {"date": datetime.datetime.now(datetime.UTC).date().isoformat(), **provenance()}
    (folder / MADE_BY_FILE).write_text(json.dumps(begun, indent=2), encoding="utf-8")
    unfinished = resolved.with_name(resolved.name + ".part")
    save_experiment(experiment, unfinished)
    unfinished.replace(resolved)  # last: a folder that holds it is complete
    return folder


def fit(
    experiment: Experiment,
    heads: Heads,
    rows: NDArray[np.int64],
    folder: Path,
    validation_rows: NDArray[np.int64] | None = None,
) -> SliceModule:
    """Train on the given rows, resuming from the folder's last checkpoint, and return the trained module.

    With rows to validate on, the weights are those that `testing.weights` asks for; else the last.
    """
    data = HeadsData(heads, rows, experiment, validation_rows)
    settings = experiment.training
    slices = len(data.epoch_rows(0)) // (settings.devices * settings.nodes)
    steps = math.ceil(math.ceil(slices / settings.batch_size) / settings.accumulate_batches)
    lightning.seed_everything(settings.seed, verbose=False)
    module = SliceModule(experiment, steps)
    checkpoint = folder / LAST_CHECKPOINT
    if not (folder / FINISHED_FILE).exists():
        trainer = _trainer(experiment, folder, validated=validation_rows is not None)
        with measure_energy(folder):
            trainer.fit(module, datamodule=data, ckpt_path=str(checkpoint) if checkpoint.exists() else None)
        if trainer.is_global_zero:
            write_curves(folder / METRICS_FILE, folder)
            finished = {"epochs": trainer.current_epoch, "slices": len(rows), **_size(module)}
            (folder / FINISHED_FILE).write_text(json.dumps(finished), encoding="utf-8")
    module.load_state_dict(load_weights(experiment, folder))
    return module.eval()


def _size(module: SliceModule) -> dict[str, int]:
    shown = module.experiment.input
    return {
        "parameters": count_parameters(module.network),
        "flops_per_slice": count_flops(module.network, len(shown.windows_hu), shown.crop.size),
    }


def load_weights(experiment: Experiment, folder: Path) -> dict[str, Tensor]:
    """State of the module that a finished run stands for: best or last, as `testing.weights` says.

    Raises:
        ExperimentError: the checkpoint is missing or damaged.
    """
    best = folder / BEST_CHECKPOINT
    chosen = best if experiment.testing.weights == "best" and best.exists() else folder / LAST_CHECKPOINT
    try:
        state: dict[str, Tensor] = torch.load(chosen, map_location="cpu", weights_only=True)["state_dict"]
    except (OSError, RuntimeError, EOFError, KeyError, pickle.UnpicklingError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ExperimentError(
            f"{chosen}: cannot be read as weights ({reason}); delete the folder's files and train it again"
        ) from error
    return state


@torch.inference_mode()
def predict_slices(module: SliceModule, heads: Heads, rows: NDArray[np.int64]) -> pd.DataFrame:
    """What a network says of slices, without augmentation: their index, `logit_<output>` of each output.

    A network whose map is blood adds `blood_share`, of the box that is blood by its map, and `drawn_share`,
    by the drawing: 0 in a negative slice, NaN where nothing is known; and the map itself (`map_column`).
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    module = module.to(device)
    settings = module.experiment
    slices = SliceDataset(heads, rows)
    batches = slice_loader(slices, settings.training.batch_size, settings.data.workers)
    said: list[dict[str, Tensor]] = []
    shown: list[bytes] = []
    for hu, _, blood in batches:
        logits, maps = module(hu.to(device))
        of_batch = dict(zip(LOGIT_COLUMNS, logits.float().cpu().T, strict=False))
        if module.network.map_kind == "blood":
            of_blood = module.network.shown(maps)[:, 0].float().cpu()
            of_batch["blood_share"] = (of_blood >= BLOOD).float().mean((1, 2))
            shown += pack_maps(of_blood.numpy())
            known = blood.amin((1, 2, 3)) >= 0
            of_batch["drawn_share"] = torch.where(known, (blood >= BLOOD).float().mean((1, 2, 3)), torch.nan)
        said.append(of_batch)
    module.cpu()
    columns = {name: torch.cat([batch[name] for batch in said]).numpy() for name in said[0]}
    told = [*(columns[name] for name in LOGIT_COLUMNS if name in columns), *unpack_maps(shown)]
    if not all(np.isfinite(one).all() for one in told):
        raise ExperimentError("the network gives no number for a slice: training went astray")
    scored = heads.index.iloc[rows].assign(**columns)
    return scored.assign(**{MAP_COLUMN: shown}) if shown else scored


def write_predictions(module: SliceModule, heads: Heads, sides: NDArray[np.object_], folder: Path) -> None:
    """Score the validation and test sides: index, `side` and `logit_<output>` of each slice.

    Beside them the paper's Table 1 of the test side, by the network's own probabilities: `cruor evaluate` has
    more, and calibrated ones.
    """
    rows = np.flatnonzero(sides != TRAIN)
    scored = predict_slices(module, heads, rows).assign(side=sides[rows])
    test = scored[scored["side"] == TEST]
    if len(test):
        cases = slice_cases(test.assign(probability_any=1 / (1 + np.exp(-test["logit_any"]))))
        measured = table_1(cases, Settings(module.experiment.testing.thresholds))
        for draw in (NATURAL, BALANCED):
            write_csv(slice_table(measured, draw), folder)
    write_table(scored, folder / PREDICTIONS_FILE)  # last: a run that has it is finished


def provenance() -> dict[str, Any]:
    """What made a run: git commit, package versions, machine."""
    packages = ("cruor", "torch", "torchvision", "timm", "effdet", "lightning", "numpy")
    changed = _git("status", "--porcelain", "--untracked-files=no", ".")
    return {
        "commit": _git("rev-parse", "HEAD"),
        "changed_since_commit": None if changed is None else bool(changed),
        "packages": {name: importlib.metadata.version(name) for name in packages},
        "python": platform.python_version(),
        "machine": platform.processor() or platform.machine(),
    }


def _git(*arguments: str) -> str | None:
    """What git says of the code; None without git, or where the code stands in no repository."""
    try:
        told = subprocess.run(
            ["git", *arguments], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1]
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return told.stdout.strip()


def _trainer(experiment: Experiment, folder: Path, *, validated: bool) -> lightning.Trainer:
    # What happens is said by the progress bar and kept in the run; the library's advice is not the user's.
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    settings = experiment.training
    several = settings.devices * settings.nodes > 1
    return lightning.Trainer(
        accelerator="auto",
        devices=settings.devices,
        num_nodes=settings.nodes,
        strategy="ddp" if several else "auto",
        use_distributed_sampler=False,  # `HeadsData` gives each device its part
        precision=PRECISIONS[settings.precision],
        accumulate_grad_batches=settings.accumulate_batches,
        max_epochs=settings.epochs,
        logger=TensorBoardLogger(str(folder), name="tensorboard"),
        callbacks=_callbacks(experiment, folder, validated=validated),
        log_every_n_steps=1,
        reload_dataloaders_every_n_epochs=1,
        num_sanity_val_steps=0,
        enable_model_summary=False,
        limit_val_batches=1.0 if validated else 0,
    )


def _callbacks(experiment: Experiment, folder: Path, *, validated: bool) -> list[Callback]:
    # Written as last.ckpt at the end of each epoch, by rename, so that a kill leaves the one before.
    last = ModelCheckpoint(folder, filename="last", save_top_k=1, enable_version_counter=False)
    callbacks: list[Callback] = [EpochTable(folder / METRICS_FILE), RichProgressBar()]
    if validated:
        settings = experiment.validation
        watched, mode = settings.watched, settings.better
        callbacks.append(
            ModelCheckpoint(folder, "best", monitor=watched, mode=mode, enable_version_counter=False)
        )
        if settings.patience:
            callbacks.append(EarlyStopping(watched, patience=settings.patience, mode=mode))
    return [*callbacks, last]
