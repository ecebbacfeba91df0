"""Which slices an epoch shows, on how many devices: drawn by seed and epoch."""

from __future__ import annotations

from typing import Any

import lightning
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from cruor.training.data import Heads, TrainingDataset, ValidationDataset, draw_epoch
from cruor.training.experiment import Experiment

Slices = Dataset[tuple[Tensor, Tensor, Tensor]]


class HeadsData(lightning.LightningDataModule):
    """Draws an epoch's slices by seed and epoch: a resumed run sees what an unbroken one sees.

    Several devices share an epoch: each takes every so-manieth of its slices, all as many.
    """

    def __init__(
        self,
        heads: Heads,
        rows: NDArray[np.int64],
        experiment: Experiment,
        validation_rows: NDArray[np.int64] | None = None,
    ) -> None:
        super().__init__()
        self.heads, self.rows, self.settings = heads, rows, experiment.training
        self.validation_rows, self.workers = validation_rows, experiment.data.workers
        if validation_rows is not None:
            self.balanced_rows = draw_epoch(heads.labels[:, 0], validation_rows, 1.0, self.settings.seed)

    def epoch_rows(self, epoch: int) -> NDArray[np.int64]:
        """Rows of an epoch over all devices, shuffled, in batches of which none is tiny."""
        seed = self.settings.seed * 1000 + epoch
        if self.settings.draw == "each-epoch":
            return self._drawn(seed)
        return np.random.default_rng(seed).permutation(self._drawn(self.settings.seed * 1000))

    def _drawn(self, seed: int) -> NDArray[np.int64]:
        any_label, ratio = self.heads.labels[:, 0], self.settings.negatives_per_positive
        of_all_devices = self.settings.batch_size * self.settings.devices * self.settings.nodes
        return without_tiny_batch(draw_epoch(any_label, self.rows, ratio, seed), of_all_devices)

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """This device's part of the epoch."""
        epoch, rank, devices = 0, 0, 1
        if self.trainer is not None:
            epoch, rank, devices = (
                self.trainer.current_epoch,
                self.trainer.global_rank,
                self.trainer.world_size,
            )
        rows = self.epoch_rows(epoch)
        mine = rows[: len(rows) // devices * devices][rank::devices]
        seed = (self.settings.seed * 1000 + epoch) * devices + rank
        return SeededLoader(TrainingDataset(self.heads, mine), seed, self.settings.batch_size, self.workers)

    def val_dataloader(self) -> Any:
        """The validation side in order; nothing where there is none."""
        if self.validation_rows is None:
            return []
        slices = ValidationDataset(self.heads, self.validation_rows, self.balanced_rows)
        return slice_loader(slices, self.settings.batch_size, self.workers)


def without_tiny_batch(rows: NDArray[np.int64], batch_size: int) -> NDArray[np.int64]:
    """Leave a last batch of under half the size out: one slice's statistics are no batch's.

    Measured: a step on the 513th slice alone raised the loss of an epoch from 0.31 to 0.59.
    """
    rest = len(rows) % batch_size
    return rows[: len(rows) - rest] if 0 < 2 * rest < batch_size < len(rows) else rows


def slice_loader(slices: Slices, batch_size: int, workers: int) -> DataLoader[tuple[Tensor, Tensor, Tensor]]:
    """Batches in order; `workers` processes read ahead, and change nothing of what is read."""
    return DataLoader(slices, batch_size=batch_size, num_workers=workers, pin_memory=_to_gpu(workers))


def _to_gpu(workers: int) -> bool:
    return workers > 0 and torch.cuda.is_available()


class SeededLoader(DataLoader[tuple[Tensor, ...]]):
    """Seeds torch, which augmentation and dropout draw from, whenever it starts.

    Not when it is made: each start draws a number, and Lightning starts the loader of an unbroken run's
    later epochs twice, that of a resumed epoch once.
    """

    def __init__(self, slices: TrainingDataset, seed: int, batch_size: int, workers: int) -> None:
        super().__init__(slices, batch_size, num_workers=workers, pin_memory=_to_gpu(workers))
        self.seed = seed

    def __iter__(self) -> Any:
        torch.manual_seed(self.seed)
        return super().__iter__()
