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
from cruor.training.networks import build_network
from cruor.training.prepare.store import LABELS


def masked_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Binary cross-entropy over the labels that are known (not NaN); both (n, 6)."""
    known = ~labels.isnan()
    return nn.functional.binary_cross_entropy_with_logits(logits[known], labels[known])


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


class PlaceLoss(nn.Module):
    """Teaches the map of `any` where the blood is, cell by cell of the last feature map.

    A cell's logit is the map's value, scaled and shifted by two numbers that are learned with it, since
    the slice's logit is the mean of the same values. Every cell of a negative slice is 0. In a drawn
    slice, cells with drawn blood are 1, cells well away from it 0, those between are not asked. Positive
    slices without a drawing are not asked at all: a missing drawing does not mean that there is no blood.
    """

    DRAWN, AWAY = 0.5, 0.1
    WEIGHT_DRAWN, WEIGHT_AWAY = 4.0, 0.5

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(0.0))
        self.shift = nn.Parameter(torch.tensor(-2.0))

    def forward(self, maps: Tensor, blood: Tensor) -> Tensor:
        """Mean loss of the cells that are asked.

        Args:
            maps: (n, h, w), of `any`.
            blood: (n, 1, s, s) in 0..1; all 0 in negative slices, below 0 where nothing is known.
        """
        known = (blood.amin((1, 2, 3)) >= 0)[:, None, None]
        negative = (blood.amax((1, 2, 3)) == 0)[:, None, None]
        cells = nn.functional.adaptive_max_pool2d(blood, maps.shape[-2:])
        around = nn.functional.max_pool2d(cells, 3, stride=1, padding=1)[:, 0]
        target = (cells[:, 0] >= self.DRAWN).float()
        weight = target * self.WEIGHT_DRAWN + (around < self.AWAY).float() * self.WEIGHT_AWAY
        weight = torch.where(negative, 1.0, weight) * known
        logits = maps * self.log_scale.exp() + self.shift
        losses = nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
        return (losses * weight).sum() / weight.sum().clamp(min=1)


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
        self.place_loss = PlaceLoss() if experiment.training.place_weight else None
        self.train_accuracy = BinaryAccuracy()
        self.validated: list[tuple[Tensor, Tensor, Tensor]] = []

    def forward(self, hu: Tensor) -> tuple[Tensor, Tensor | None]:
        """(n, 1, s, s) HU -> (n, outputs) logits and (n, outputs, h, w) maps, where the network has them."""
        channels = channels_of(hu, self.experiment.input).contiguous(memory_format=torch.channels_last)
        logits, maps = self.network.logits_and_maps(channels)
        return logits, maps

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_index: int) -> Tensor:
        """Loss of a batch, augmented: of the labels, and of the map where it is asked for."""
        hu, labels, blood = batch
        hu, blood = augment(hu, blood, self.experiment.augmentation, self.experiment.input.bounds_hu)
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
        optimizer = _optimizer([one for one in self.parameters() if one.requires_grad], settings)
        by_step = {"scheduler": _schedule(optimizer, settings, self.steps), "interval": "step"}
        if settings.scheduler in ("step", "constant"):
            by_step["interval"] = "epoch"
        return {"optimizer": optimizer, "lr_scheduler": by_step}


def _optimizer(parameters: list[nn.Parameter], settings: TrainingSettings) -> torch.optim.Optimizer:
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
            return schedules.OneCycleLR(optimizer, settings.learning_rate, total_steps=steps)
        case "constant":
            return schedules.ConstantLR(optimizer, factor=1.0, total_iters=0)
