"""Losses: of labels, some of them unknown, and of the place of blood, known in some slices."""

from __future__ import annotations

import torch
from torch import Tensor, nn


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


class PixelLoss(nn.Module):
    """Teaches a map of blood cell by cell, by the drawn blood.

    A cell is 1 from a twentieth of it drawn on, since most drawings fill less than two cells; for the same
    reason such cells weigh much. In a drawn slice, cells without any drawn blood near, faint blood included,
    are 0; those between are not asked. A positive slice without a cell that is 1 is not asked at all, be it
    that nothing was drawn, or that what was is too small: the drawings are a machine's and miss thin blood.
    Every cell of a negative slice is 0.
    """

    DRAWN, AWAY, CELL = 0.5, 0.1, 0.05
    WEIGHT_DRAWN, WEIGHT_AWAY = 20.0, 0.5

    def forward(self, maps: Tensor, blood: Tensor) -> Tensor:
        """Mean loss of the cells that are asked.

        Args:
            maps: (n, h, w) logits.
            blood: (n, 1, s, s) in 0..1; all 0 in negative slices, below 0 where nothing is known.
        """
        cells = (maps.shape[-2], maps.shape[-1])
        negative = (blood.abs().amax((1, 2, 3)) == 0)[:, None, None]
        share = nn.functional.adaptive_avg_pool2d((blood >= self.DRAWN).float(), cells)[:, 0]
        faint = nn.functional.adaptive_max_pool2d(blood, cells)
        near = nn.functional.max_pool2d(faint, 3, stride=1, padding=1)[:, 0]
        target = (share >= self.CELL).float()
        weight = target * self.WEIGHT_DRAWN + (near < self.AWAY).float() * self.WEIGHT_AWAY
        drawn = target.amax((1, 2), keepdim=True) > 0
        weight = torch.where(negative, 1.0, weight * drawn)
        losses = nn.functional.binary_cross_entropy_with_logits(maps, target, reduction="none")
        return (losses * weight).sum() / weight.sum().clamp(min=1)
