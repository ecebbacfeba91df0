"""The Lightning module: a network, the masked loss, the optimizer. Kept thin."""

from __future__ import annotations

from typing import Any

import lightning
import torch
from torch import Tensor, nn

from cruor.training.data import augment, channels_of
from cruor.training.experiment import Experiment, ExperimentError
from cruor.training.networks.lite0 import Lite0, load_imagenet


def build_network(experiment: Experiment) -> Lite0:
    """The network an experiment names, with its first weights.

    Raises:
        ExperimentError: an unknown name of network or weights.
    """
    settings = experiment.network
    if settings.name != "lite0":
        raise ExperimentError(f"network {settings.name!r} is not known; known: lite0")
    if settings.weights not in ("imagenet", "random"):
        raise ExperimentError(f"weights {settings.weights!r} are not known; known: imagenet, random")
    network = Lite0(settings.frozen_stages, settings.dropout)
    if settings.weights == "imagenet":
        load_imagenet(network)
    return network


def masked_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Binary cross-entropy over the labels that are known (not NaN); both (n, 6)."""
    known = ~labels.isnan()
    return nn.functional.binary_cross_entropy_with_logits(logits[known], labels[known])


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
    """Trains a slice network on batches of HU, labels and blood."""

    def __init__(self, experiment: Experiment, steps_per_epoch: int) -> None:
        super().__init__()
        self.experiment = experiment
        self.steps = steps_per_epoch * experiment.training.epochs
        self.network = build_network(experiment).to(memory_format=torch.channels_last)
        self.place_loss = PlaceLoss()

    def forward(self, hu: Tensor) -> tuple[Tensor, Tensor]:
        """(n, 1, s, s) HU -> (n, 6) logits and (n, 6, h, w) maps."""
        channels = channels_of(hu, self.experiment.input).contiguous(memory_format=torch.channels_last)
        return self.network.logits_and_maps(channels)

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_index: int) -> Tensor:
        hu, labels, blood = batch
        hu, blood = augment(hu, blood, self.experiment.augmentation, self.experiment.input.bounds_hu)
        logits, maps = self(hu)
        label_loss = masked_loss(logits, labels)
        place_loss: Tensor = self.place_loss(maps[:, 0], blood)
        self.log_dict({"label_loss": label_loss, "place_loss": place_loss}, on_step=False, on_epoch=True)
        return label_loss + self.experiment.training.place_weight * place_loss

    def configure_optimizers(self) -> Any:
        settings = self.experiment.training
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=settings.learning_rate, weight_decay=settings.weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, settings.learning_rate, total_steps=self.steps
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
