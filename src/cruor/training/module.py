"""The Lightning module: a network, the masked loss, the optimizer. Kept thin."""

from __future__ import annotations

from typing import Any

import lightning
import torch
from torch import Tensor, nn
from torchmetrics.classification import BinaryAccuracy
from torchmetrics.functional.classification import binary_accuracy, binary_auroc

from cruor.training.data import augment, channels_of
from cruor.training.experiment import Experiment, ExperimentError, TrainingSettings
from cruor.training.losses import masked_loss
from cruor.training.networks import build_network
from cruor.training.networks.first_weights import BACKBONES
from cruor.training.painting import paint_bleeds
from cruor.training.pasting import paste_within_sources
from cruor.training.prepare.store import LABELS


def validation_figures(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Loss, and of the first output accuracy at 0.5 and ROC-AUC, which needs slices of both kinds.

    Args:
        logits: (n, outputs).
        labels: (n, outputs), 1, 0 or NaN; of the first output all are known.
    """
    chance, truth = logits[:, 0].sigmoid(), labels[:, 0].int()
    return {
        "loss": masked_loss(logits, labels),
        "accuracy": binary_accuracy(chance, truth),
        "roc_auc": binary_auroc(chance, truth),
    }


class SliceModule(lightning.LightningModule):
    """Trains a slice network on batches of HU, labels and blood; measures it on the validation side.

    Args:
        experiment: network, input, phases.
        steps_per_epoch: steps of the optimizer, which the schedules by step count.
    """

    def __init__(self, experiment: Experiment, steps_per_epoch: int) -> None:
        super().__init__()
        self.experiment = experiment
        self.steps = steps_per_epoch * experiment.training.epochs
        channels, size = len(experiment.input.windows_hu), experiment.input.crop.size
        network = build_network(experiment.network, channels, size)
        if experiment.training.norm_momentum:
            for part in network.modules():
                if isinstance(part, nn.BatchNorm2d):
                    part.momentum = experiment.training.norm_momentum
        self.network = network.to(memory_format=torch.channels_last)
        self.asked = [LABELS.index(output) for output in network.outputs]
        self.place_loss = network.place_loss() if experiment.training.place_weight else None
        self.train_accuracy = BinaryAccuracy()
        self.validated: list[tuple[Tensor, Tensor, Tensor]] = []

    def forward(self, hu: Tensor) -> tuple[Tensor, Tensor | None]:
        """(n, 1, s, s) HU -> (n, outputs) logits and (n, outputs, h, w) maps, where the network has them."""
        channels = channels_of(hu, self.experiment.input).contiguous(memory_format=torch.channels_last)
        logits, maps = self.network.logits_and_maps(channels)
        return logits, maps

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor, Tensor], batch_index: int) -> Tensor:
        """Loss of a batch, augmented: of the labels, and of the map where it is asked for."""
        hu, labels, blood, source = batch
        changes = self.experiment.augmentation
        hu, labels, blood = paste_within_sources(hu, labels, blood, source, changes.pasted)
        hu, labels, blood = paint_bleeds(hu, labels, blood, changes.painted)
        hu, blood = augment(hu, blood, changes, self.experiment.input)
        logits, maps = self(hu)
        loss = masked_loss(logits.float(), labels[:, self.asked])
        self._log("train_loss", loss, len(hu))
        self.train_accuracy(logits[:, 0].sigmoid(), labels[:, 0].int())
        self._log("train_accuracy", self.train_accuracy, len(hu))
        if not loss.isfinite():
            raise ExperimentError("the loss is no number: training went astray; lower learning_rate")
        if self.place_loss is not None and maps is not None:
            place_loss: Tensor = self.place_loss(maps[:, 0].float(), blood)
            self._log("train_place_loss", place_loss, len(hu))
            loss = loss + self.experiment.training.place_weight * place_loss
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_index: int) -> None:
        """Keep the logits of a batch, without augmentation, for the epoch's end."""
        hu, labels, balanced = batch
        self.validated.append((self(hu)[0].float(), labels[:, self.asked], balanced))

    def on_validation_epoch_end(self) -> None:
        """Measure the epoch: over all slices, and over the balanced ones."""
        logits, labels, balanced = map(torch.cat, zip(*self.validated, strict=True))
        self.validated.clear()
        for name, value in validation_figures(logits, labels).items():
            self._log(f"validation_{name}", value, len(logits))
        for name, value in validation_figures(logits[balanced], labels[balanced]).items():
            self._log(f"validation_balanced_{name}", value, len(logits))

    def _log(self, name: str, value: Any, batch_size: int) -> None:
        self.log(name, value, on_step=False, on_epoch=True, batch_size=batch_size, sync_dist=True)

    def configure_optimizers(self) -> Any:
        """The optimizer over what is not frozen, and its schedule (see `TrainingSettings`)."""
        settings = self.experiment.training
        optimizer = _optimizer(_groups(self, settings), settings)
        by_step = {"scheduler": _schedule(optimizer, settings, self.steps), "interval": "step"}
        if settings.scheduler in ("step", "constant"):
            by_step["interval"] = "epoch"
        return {"optimizer": optimizer, "lr_scheduler": by_step}


PRETRAINED_PREFIXES = tuple(f"network.{name}." for name in BACKBONES)


def _groups(module: nn.Module, settings: TrainingSettings) -> list[dict[str, Any]]:
    """What is not frozen: what is pretrained elsewhere, and the rest at its own rate."""
    learned = [(name, one) for name, one in module.named_parameters() if one.requires_grad]
    backbone = [one for name, one in learned if name.startswith(PRETRAINED_PREFIXES)]
    rest = [one for name, one in learned if not name.startswith(PRETRAINED_PREFIXES)]
    rate = settings.learning_rate
    if settings.head_rate == 1:  # one group, as runs from before this setting have it
        return [{"params": [one for _, one in learned], "lr": rate}]
    return [{"params": backbone, "lr": rate}, {"params": rest, "lr": rate * settings.head_rate}]


def _optimizer(parameters: list[dict[str, Any]], settings: TrainingSettings) -> torch.optim.Optimizer:
    rate, decay = settings.learning_rate, settings.weight_decay
    match settings.optimizer:
        case "sgd":
            return torch.optim.SGD(parameters, lr=rate, momentum=settings.momentum, weight_decay=decay)
        case "adam":
            return torch.optim.Adam(parameters, lr=rate, weight_decay=decay)
        case "adamw":
            return torch.optim.AdamW(parameters, lr=rate, weight_decay=decay)


def _schedule(
    optimizer: torch.optim.Optimizer, settings: TrainingSettings, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    schedules = torch.optim.lr_scheduler
    match settings.scheduler:
        case "step":
            return schedules.StepLR(optimizer, settings.step_epochs, settings.step_factor)
        case "cosine":
            return schedules.CosineAnnealingLR(optimizer, steps)
        case "one-cycle":
            rates = [group["lr"] for group in optimizer.param_groups]
            return schedules.OneCycleLR(optimizer, rates, total_steps=steps)
        case "constant":
            return schedules.ConstantLR(optimizer, factor=1.0, total_iters=0)
