"""EfficientNet-Lite0 with a per-pixel head: most of the slice's logit is pooled from the map of blood."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from cruor.reader.along_scan import count_hottest
from cruor.training.losses import PixelLoss
from cruor.training.networks.lite0 import Lite0
from cruor.training.prepare.store import LABELS

STRIDES = (8, 16, 32)
"""Of the features that are joined; the map has the finest of them."""

WIDTH = 64
"""Channels of the joined features."""

HOTTEST_SHARE = 0.02
"""Share of the map's cells whose mean makes the slice's logit: 6 of 18 x 18 at 144 px."""

TAUGHT_SHARE, MAP_SHARE = 0.5, 0.7
"""Of the map in the logit of `any`: in training, where both parts must learn, and in reading: of the two the
map holds better (docs/reader.md)."""

FIRST_LOGIT = -3.0
"""Of every cell before training: blood is rare, and a small run has few steps to learn that (as in Lin 2017,
focal loss)."""


class BloodMap(Lite0):
    """Slices to a map of blood, and from it to the logits of `any` and the five subtypes.

    Features of three strides are projected and added at the finest (as in Lin 2017, feature pyramids); two
    convolutions make one logit a cell. The logit of `any` is the mean of the hottest cells (MAP_SHARE of it)
    and a linear layer on the pooled last features (the rest); that of a subtype is a linear layer on the
    pooled last features beside the joined features where the map says blood.
    """

    map_kind = "blood"

    def __init__(self, frozen_stages: int = 0, dropout: float = 0.2, windows: int = 3, side: int = 0) -> None:
        """Build the network on EfficientNet-Lite0 with random weights.

        Args:
            frozen_stages: so many first stages, and the stem, are not trained.
            dropout: of the pooled features, in training.
            windows: channels of the input.
            side: rows and columns at which it looks at its input; 0 is the input's own.
        """
        super().__init__(frozen_stages, dropout, windows)
        self.side = side
        levels = [
            (place, level["num_chs"])
            for place, level in enumerate(self.backbone.feature_info)
            if level["reduction"] in STRIDES
        ]
        self.levels = [place for place, _ in levels]
        self.lateral = nn.ModuleList(nn.Conv2d(channels, WIDTH, 1) for _, channels in levels)
        self.pixels = nn.Sequential(
            *(nn.BatchNorm2d(WIDTH), nn.ReLU6(), nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False)),
            *(nn.BatchNorm2d(WIDTH), nn.ReLU6(), nn.Conv2d(WIDTH, 1, 3, padding=1)),
        )
        nn.init.constant_(self.pixels[-1].bias, FIRST_LOGIT)  # type: ignore[arg-type]
        self.subtypes = nn.Linear(self.linear.in_features + WIDTH, len(LABELS) - 1)
        self.linear = nn.Linear(self.linear.in_features, 1)

    def logits_and_maps(self, channels: Tensor) -> tuple[Tensor, Tensor]:
        """(n, windows, s, s) -> (n, 6) logits and (n, 1, s / 8, s / 8) logits of blood by cell.

        A network that looks at the input at another side gives its own cells in training, and else as many
        as one that does not.
        """
        shown = channels.shape[-1]
        seen = _resized(channels, self.side or shown)
        last, levels = self.backbone.forward_intermediates(seen, indices=self.levels)
        last = self.last_features(last)
        joined = self._join(levels)
        maps = self.pixels(joined)
        cells = maps.flatten(1)
        hottest = cells.topk(count_hottest(cells.shape[1], HOTTEST_SHARE)).values.mean(1, keepdim=True)
        pooled = self.dropout(last.mean((2, 3)))
        there = maps.sigmoid()
        at_blood = (joined * there).sum((2, 3)) / (there.sum((2, 3)) + 1)
        subtypes = self.subtypes(torch.cat([pooled, at_blood], dim=1))
        share = TAUGHT_SHARE if self.training else MAP_SHARE
        of_any = share * hottest + (1 - share) * self.linear(pooled)
        if not self.training:
            maps = _resized(maps, math.ceil(shown / STRIDES[0]))
        return torch.cat([of_any, subtypes], dim=1), maps

    def shown(self, maps: Tensor) -> Tensor:
        """Logits of blood by cell -> its probability.

        In training, cells with drawn blood weigh `PixelLoss.WEIGHT_DRAWN` times as much as those of slices
        without, so that the odds of the logits are about so many times too high.
        """
        return (maps - math.log(PixelLoss.WEIGHT_DRAWN)).sigmoid()

    def place_loss(self) -> nn.Module:
        """Cell by cell: the map is blood, not what a pooled logit is made of."""
        return PixelLoss()

    def _join(self, levels: list[Tensor]) -> Tensor:
        """Features of each stride, projected and added at the finest."""
        projected = [lateral(level) for lateral, level in zip(self.lateral, levels, strict=True)]
        side = projected[0].shape[-2:]
        coarse = [nn.functional.interpolate(one, size=side, mode="nearest") for one in projected[1:]]
        return torch.stack([projected[0], *coarse]).sum(0)


def _resized(pictures: Tensor, side: int) -> Tensor:
    """(n, k, s, s) -> (n, k, side, side), bilinear; made smaller, a pixel is the mean of those it covers."""
    own = pictures.shape[-1]
    if own == side:
        return pictures
    smaller = side < own
    # In single precision: made smaller in 16 bit is not implemented.
    return nn.functional.interpolate(pictures.float(), size=(side, side), mode="bilinear", antialias=smaller)
