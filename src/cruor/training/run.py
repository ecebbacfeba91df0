"""Training one network and keeping everything that made it in `runs/<code>/`."""

from __future__ import annotations

import importlib.metadata
import json
import math
import platform
import subprocess
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import CSVLogger
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from cruor.training.data import Heads, SliceDataset, draw_epoch, load_heads
from cruor.training.experiment import Experiment, ExperimentError, load_experiment, save_experiment
from cruor.training.module import SliceModule

EXPERIMENT_FILE = "experiment.yaml"
MADE_BY_FILE = "made_by.json"
LAST_CHECKPOINT = "last.ckpt"
FINISHED_FILE = "finished.json"


class HeadsData(lightning.LightningDataModule):
    """Draws an epoch's slices anew by seed and epoch: a resumed run sees what an unbroken one sees."""

    def __init__(self, heads: Heads, rows: NDArray[np.int64], experiment: Experiment) -> None:
        super().__init__()
        self.heads, self.rows, self.settings = heads, rows, experiment.training

    def epoch_rows(self, epoch: int) -> NDArray[np.int64]:
        any_label = self.heads.labels[:, 0]
        seed = self.settings.seed * 1000 + epoch
        return draw_epoch(any_label, self.rows, self.settings.negatives_per_positive, seed)

    def train_dataloader(self) -> DataLoader[tuple[Tensor, Tensor, Tensor]]:
        epoch = self.trainer.current_epoch if self.trainer else 0
        slices = SliceDataset(self.heads, self.epoch_rows(epoch))
        return SeededLoader(slices, self.settings.seed * 1000 + epoch, self.settings.batch_size)


class SeededLoader(DataLoader[tuple[Tensor, Tensor, Tensor]]):
    """Seeds torch, which augmentation and dropout draw from, whenever it starts.

    Not when it is made: each start draws a number, and Lightning starts the loader of an unbroken run's
    later epochs twice, that of a resumed epoch once.
    """

    def __init__(self, slices: SliceDataset, seed: int, batch_size: int) -> None:
        super().__init__(slices, batch_size=batch_size)
        self.seed = seed

    def __iter__(self) -> Any:
        torch.manual_seed(self.seed)
        return super().__iter__()


def train(experiment_file: Path, runs: Path) -> Path:
    """Train on all slices of an experiment; go on where a killed run of the same code stopped.

    Returns:
        The run folder.

    Raises:
        ExperimentError: the code was used before, by a finished run or a different experiment.
    """
    experiment = load_experiment(experiment_file)
    folder = open_run(experiment, runs)
    if (folder / FINISHED_FILE).exists():
        raise ExperimentError(f"{folder} is finished and never overwritten; give the experiment another code")
    heads = load_heads(experiment.data, experiment.input)
    fit(experiment, heads, np.arange(len(heads.index)), folder)
    return folder


def open_run(experiment: Experiment, runs: Path) -> Path:
    """Make the run folder, or find it again if it holds the same experiment.

    Raises:
        ExperimentError: the folder holds another experiment.
    """
    folder = runs / experiment.code
    resolved = folder / EXPERIMENT_FILE
    if resolved.exists():
        if load_experiment(resolved) != experiment:
            raise ExperimentError(f"{folder} holds another experiment of this code; give yours another code")
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MADE_BY_FILE).write_text(json.dumps(provenance(), indent=2), encoding="utf-8")
    save_experiment(experiment, resolved)  # last: a folder that holds it is complete
    return folder


def fit(experiment: Experiment, heads: Heads, rows: NDArray[np.int64], folder: Path) -> SliceModule:
    """Train on the given rows, resuming from the folder's last checkpoint, and return the trained module."""
    data = HeadsData(heads, rows, experiment)
    steps = math.ceil(len(data.epoch_rows(0)) / experiment.training.batch_size)
    lightning.seed_everything(experiment.training.seed, verbose=False)
    module = SliceModule(experiment, steps)
    checkpoint = folder / LAST_CHECKPOINT
    if not (folder / FINISHED_FILE).exists():
        trainer = _trainer(experiment, folder)
        trainer.fit(module, datamodule=data, ckpt_path=str(checkpoint) if checkpoint.exists() else None)
        finished = {"epochs": experiment.training.epochs, "slices": len(rows)}
        (folder / FINISHED_FILE).write_text(json.dumps(finished), encoding="utf-8")
    module.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"])
    return module.eval()


@torch.inference_mode()
def predict_logits(module: SliceModule, heads: Heads, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """(len(rows), 6) logits, without augmentation."""
    batches = DataLoader(SliceDataset(heads, rows), batch_size=64)
    return torch.cat([module(hu)[0] for hu, _, _ in batches]).numpy()


def provenance() -> dict[str, Any]:
    """What made a run: git commit, package versions, machine."""
    packages = ("cruor", "torch", "timm", "lightning", "numpy")
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parent,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        commit = None
    return {
        "commit": commit,
        "packages": {name: importlib.metadata.version(name) for name in packages},
        "python": platform.python_version(),
        "machine": platform.processor() or platform.machine(),
    }


def _trainer(experiment: Experiment, folder: Path) -> lightning.Trainer:
    # Written as last.ckpt at the end of each epoch, by rename, so that a kill leaves the one before.
    last = ModelCheckpoint(folder, filename="last", save_top_k=1, enable_version_counter=False)
    callbacks: list[Callback] = [last, RichProgressBar()]
    return lightning.Trainer(
        accelerator="auto",
        devices=1,
        max_epochs=experiment.training.epochs,
        logger=CSVLogger(str(folder), name="log"),  # a folder a start: a resumed run keeps what was logged
        callbacks=callbacks,
        log_every_n_steps=1,
        reload_dataloaders_every_n_epochs=1,
        num_sanity_val_steps=0,
        limit_val_batches=0,
    )
