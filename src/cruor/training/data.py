"""Prepared slices as tensors in memory, drawn and changed for training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset

from cruor.preprocessing.channels import InputSettings, crop_head
from cruor.preprocessing.crop import Box, cut_out
from cruor.preprocessing.windows import Window
from cruor.training.experiment import AugmentationSettings, DataSettings
from cruor.training.prepare.store import LABELS, read_index, read_slices

UNKNOWN_BLOOD = -1.0
"""Stands everywhere in the blood of a positive slice without a drawing."""


@dataclass(frozen=True, eq=False)
class Heads:
    """All slices of an experiment, cropped.

    Attributes:
        index: one row a slice, as in `prepare.store`, numbered from 0.
        hu: int16, (slices, size, size), HU within the windows' bounds.
        drawn: by row of the index, probability of blood x 255, uint8, (size, size).
    """

    index: pd.DataFrame
    hu: NDArray[np.int16]
    drawn: dict[int, NDArray[np.uint8]]

    @property
    def labels(self) -> NDArray[np.float32]:
        """(slices, 6) float32: 1, 0 or NaN for unknown, in the order of LABELS."""
        # A copy: pandas hands out read-only memory, which torch warns of.
        return np.array(self.index[list(LABELS)], dtype=np.float32)


def load_heads(
    data: DataSettings, settings: InputSettings, progress: Callable[[int], None] = lambda done: None
) -> Heads:
    """Read every labelled slice of the prepared folders and crop it.

    Slices without a label for `any`, and patients that are left out, are not read.
    """
    parts: list[pd.DataFrame] = []
    crops: list[NDArray[np.int16]] = []
    drawings: dict[int, NDArray[np.uint8]] = {}
    for folder in map(Path, data.folders):
        index = read_index(folder)
        index = index[index["any"].notna() & ~index["patient_id"].isin(data.left_out_patients)]
        parts.append(index)
        for stored in read_slices(folder, index):
            head, box = crop_head(stored.hu, settings)
            if stored.drawn is not None:
                size = settings.crop.size
                drawings[len(crops)] = _crop_drawing(stored.drawn, stored.hu.shape, box, size)
            crops.append(np.round(head).astype(np.int16))
            progress(len(crops))
    return Heads(pd.concat(parts, ignore_index=True), np.stack(crops), drawings)


def _crop_drawing(drawn: NDArray[np.uint8], shape: tuple[int, ...], box: Box, size: int) -> NDArray[np.uint8]:
    """Lay a drawing over its slice and cut it out as the slice was."""
    rows, columns = shape
    over = Image.fromarray(drawn).resize((columns, rows), Image.Resampling.BILINEAR)
    return cut_out(np.asarray(over, dtype=np.int16), box, size, (0, 255)).astype(np.uint8)


def draw_epoch(
    any_label: NDArray[np.float32], rows: NDArray[np.int64], negatives_per_positive: float, seed: int
) -> NDArray[np.int64]:
    """Every positive slice and as many negatives as asked for, drawn anew by seed, shuffled.

    The paper draws negatives down to the positives once (section 2.3); drawing anew shows all of them.
    """
    rng = np.random.default_rng(seed)
    positives, negatives = rows[any_label[rows] == 1], rows[any_label[rows] == 0]
    wanted = min(len(negatives), round(len(positives) * negatives_per_positive))
    return rng.permutation(np.concatenate([positives, rng.choice(negatives, wanted, replace=False)]))


class SliceDataset(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Rows of `Heads` as HU (1, s, s), labels (6,) and blood (1, s, s), all float32.

    Blood is the drawing in 0..1, 0 everywhere in a negative slice, and -1 everywhere where nothing is
    known: a positive slice without a drawing must not teach that there is no blood.
    """

    def __init__(self, heads: Heads, rows: NDArray[np.int64]) -> None:
        self.heads, self.labels, self.rows = heads, heads.labels, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, item: int) -> tuple[Tensor, Tensor, Tensor]:
        row = int(self.rows[item])
        hu = torch.from_numpy(self.heads.hu[row].astype(np.float32))[None]
        labels = torch.from_numpy(self.labels[row])
        drawn = self.heads.drawn.get(row)
        if labels[0] == 0:
            return hu, labels, torch.zeros_like(hu)
        if drawn is None:
            return hu, labels, torch.full_like(hu, UNKNOWN_BLOOD)
        return hu, labels, torch.from_numpy(drawn.astype(np.float32) / 255)[None]


def augment(
    hu: Tensor, blood: Tensor, settings: AugmentationSettings, bounds_hu: Window
) -> tuple[Tensor, Tensor]:
    """Change each slice of a batch at random; blood moves with it.

    Args:
        hu: (n, 1, s, s), HU within bounds.
        blood: (n, 1, s, s), as `SliceDataset` gives it.
        settings: how much.
        bounds_hu: HU are kept within them.
    """
    moved_hu, moved_blood = _move(hu, blood, settings, bounds_hu[0])
    changed = _change_values(moved_hu, settings).clamp(*bounds_hu)
    return changed, torch.where(blood.amin((1, 2, 3), keepdim=True) < 0, UNKNOWN_BLOOD, moved_blood)


def _move(hu: Tensor, blood: Tensor, settings: AugmentationSettings, air_hu: float) -> tuple[Tensor, Tensor]:
    """Turn, scale, shift and mirror HU and blood alike; what comes in from outside is air."""
    angle = torch.deg2rad(_spread(hu, settings.rotation_degrees))
    scale = 1 + _spread(hu, settings.scale)
    mirror = torch.where(torch.rand(len(hu), device=hu.device) < settings.mirror, -1.0, 1.0)
    cosine, sine = torch.cos(angle) * scale, torch.sin(angle) * scale
    first = torch.stack([cosine * mirror, -sine, 2 * _spread(hu, settings.shift)], dim=1)
    second = torch.stack([sine * mirror, cosine, 2 * _spread(hu, settings.shift)], dim=1)
    if settings.upside_down:
        turned = torch.rand(len(hu), device=hu.device) < settings.upside_down
        first[:, 1] = torch.where(turned, -first[:, 1], first[:, 1])
        second[:, 1] = torch.where(turned, -second[:, 1], second[:, 1])
    # Outside the picture grid_sample gives 0, so air must be 0 while it works.
    both = torch.cat([hu - air_hu, blood], dim=1)
    transform = torch.stack([first, second], dim=1)
    grid = nn.functional.affine_grid(transform, list(both.shape), align_corners=False)
    moved = nn.functional.grid_sample(both, grid, align_corners=False)
    return moved[:, :1] + air_hu, moved[:, 1:]


def _change_values(hu: Tensor, settings: AugmentationSettings) -> Tensor:
    """Smooth some slices; change gain, offset and noise of all."""
    smooth = nn.functional.avg_pool2d(hu, 3, stride=1, padding=1, count_include_pad=False)
    blurred = torch.rand(len(hu), device=hu.device) < settings.blur
    hu = torch.where(_each(blurred), smooth, hu)
    gain, offset = 1 + _spread(hu, settings.gain), _spread(hu, settings.offset_hu)
    noise = torch.randn_like(hu) * _each(torch.rand(len(hu), device=hu.device) * settings.noise_hu)
    return hu * _each(gain) + _each(offset) + noise


def _spread(batch: Tensor, width: float) -> Tensor:
    """One random number in +- width for each slice of a batch, (n,)."""
    return (torch.rand(len(batch), device=batch.device) * 2 - 1) * width


def _each(values: Tensor) -> Tensor:
    """(n,) -> (n, 1, 1, 1): one value for all pixels of a slice."""
    return values[:, None, None, None]


def channels_of(hu: Tensor, settings: InputSettings) -> Tensor:
    """`preprocessing.to_channels` for tensors: (n, 1, s, s) HU -> (n, windows, s, s)."""
    stacked = [(hu.clamp(low, high) - low) / (high - low) for low, high in settings.windows_hu]
    return (torch.cat(stacked, dim=1) - settings.mean) / settings.std
