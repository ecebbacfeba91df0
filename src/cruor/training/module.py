"""The Lightning module: a network, the masked loss, the optimizer. Kept thin."""

from __future__ import annotations

from typing import Any

import lightning
import torch
from torch import Tensor, nn

from cruor.training.data import augment, channels_of
from cruor.training.experiment import Experiment
from cruor.training.networks.lite0 import Lite0, load_imagenet


def build_network(experiment: Experiment) -> Lite0:
    """The network an experiment names, with its first weights.

    Raises:
        ValueError: an unknown name of network or weights.
    """
    settings = experiment.network
    if settings.name != "lite0":
        raise ValueError(f"network {settings.name!r} is not known; known: lite0")
    if settings.weights not in ("imagenet", "random"):
        raise ValueError(f"weights {settings.weights!r} are not known; known: imagenet, random")
    network = Lite0(settings.frozen_stages, settings.dropout)
    if settings.weights == "imagenet":
        load_imagenet(network)
    return network


def masked_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Binary cross-entropy over the labels that are known (not NaN); both (n, 6)."""
    known = ~labels.isnan()
    return nn.functional.binary_cross_entropy_with_logits(logits[known], labels[known])


class SliceModule(lightning.LightningModule):
    """Trains a slice network on batches of HU and labels."""

    def __init__(self, experiment: Experiment, steps_per_epoch: int) -> None:
        super().__init__()
        self.experiment = experiment
        self.steps = steps_per_epoch * experiment.training.epochs
        self.network = build_network(experiment).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, hu: Tensor) -> Tensor:
        """(n, 1, s, s) HU -> (n, 6) logits."""
        channels = channels_of(hu, self.experiment.input).contiguous(memory_format=torch.channels_last)
        logits: Tensor = self.network(channels)
        return logits

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        hu, labels = batch
        loss = masked_loss(self(augment(hu, self.experiment.augmentation, self.experiment.input.bounds_hu)), labels)
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> None:
        hu, labels = batch
        self.log("validation_loss", masked_loss(self(hu), labels), on_epoch=True)

    def configure_optimizers(self) -> Any:
        settings = self.experiment.training
        trained = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=settings.learning_rate, weight_decay=settings.weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.learning_rate, total_steps=self.steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
