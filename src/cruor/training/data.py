"""Prepared slices as tensors in memory, drawn and changed for training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold
from torch import Tensor, nn
from torch.utils.data import Dataset

from cruor.preprocessing.channels import InputSettings, crop_head
from cruor.preprocessing.windows import Window
from cruor.training.experiment import AugmentationSettings, DataSettings
from cruor.training.prepare.store import LABELS, read_index, read_slices


@dataclass(frozen=True, eq=False)
class Heads:
    """All slices of an experiment, cropped.

    Attributes:
        index: one row a slice, as in `prepare.store`, numbered from 0.
        hu: int16, (slices, size, size), HU within the windows' bounds.
    """

    index: pd.DataFrame
    hu: NDArray[np.int16]

    @property
    def labels(self) -> NDArray[np.float32]:
        """(slices, 6) float32: 1, 0 or NaN for unknown, in the order of LABELS."""
        return self.index[list(LABELS)].to_numpy(dtype=np.float32)


def load_heads(
    data: DataSettings, settings: InputSettings, progress: Callable[[int], None] = lambda done: None
) -> Heads:
    """Read every labelled slice of the prepared folders and crop it.

    Slices without a label for `any`, and patients that are left out, are not read.
    """
    parts, crops = [], []
    for folder in map(Path, data.folders):
        index = read_index(folder)
        index = index[index["any"].notna() & ~index["patient_id"].isin(data.left_out_patients)]
        parts.append(index)
        for hu in read_slices(folder, index):
            head, _ = crop_head(hu, settings)
            crops.append(np.round(head).astype(np.int16))
            progress(len(crops))
    return Heads(pd.concat(parts, ignore_index=True), np.stack(crops))


def split_by_patient(index: pd.DataFrame, folds: int, seed: int) -> NDArray[np.int64]:
    """Number of the fold each slice is held out in: by patient, stratified by source and label."""
    strata = index["source"] + index["any"].astype(str)
    splitter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    fold = np.empty(len(index), dtype=np.int64)
    for number, (_, held_out) in enumerate(splitter.split(index, strata, groups=index["patient_id"])):
        fold[held_out] = number
    return fold


def check_no_patient_on_two_sides(index: pd.DataFrame, train: NDArray[np.int64], test: NDArray[np.int64]) -> None:
    """Refuse a split that lets a patient teach and test.

    Raises:
        ValueError: naming the patients.
    """
    both = set(index["patient_id"].iloc[train]) & set(index["patient_id"].iloc[test])
    if both:
        raise ValueError(f"patients on both sides of the split: {', '.join(sorted(both)[:5])}")


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


class SliceDataset(Dataset[tuple[Tensor, Tensor]]):
    """Rows of `Heads` as (1, size, size) float32 HU and (6,) labels."""

    def __init__(self, heads: Heads, rows: NDArray[np.int64]) -> None:
        self.hu, self.labels, self.rows = heads.hu, heads.labels, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, item: int) -> tuple[Tensor, Tensor]:
        row = self.rows[item]
        return torch.from_numpy(self.hu[row].astype(np.float32))[None], torch.from_numpy(self.labels[row])


def augment(hu: Tensor, settings: AugmentationSettings, bounds_hu: Window) -> Tensor:
    """Change each slice of a batch at random: (n, 1, s, s) HU -> the same shape, HU within bounds."""
    n = len(hu)

    def spread(width: float) -> Tensor:
        return (torch.rand(n, device=hu.device) * 2 - 1) * width

    low, high = bounds_hu
    angle = torch.deg2rad(spread(settings.rotation_degrees))
    scale = 1 + spread(settings.scale)
    mirror = torch.where(torch.rand(n, device=hu.device) < 0.5, -1.0, 1.0)
    cosine, sine = torch.cos(angle) * scale, torch.sin(angle) * scale
    first = torch.stack([cosine * mirror, -sine, 2 * spread(settings.shift)], dim=1)
    second = torch.stack([sine * mirror, cosine, 2 * spread(settings.shift)], dim=1)
    grid = nn.functional.affine_grid(torch.stack([first, second], dim=1), list(hu.shape), align_corners=False)
    # Outside the picture grid_sample gives 0, so air must be 0 while it works.
    moved = nn.functional.grid_sample(hu - low, grid, align_corners=False) + low
    smooth = nn.functional.avg_pool2d(moved, 3, stride=1, padding=1, count_include_pad=False)
    blurred = (torch.rand(n, device=hu.device) < settings.blur)[:, None, None, None]
    moved = torch.where(blurred, smooth, moved)
    gain, offset = 1 + spread(settings.gain), spread(settings.offset_hu)
    noise = torch.randn_like(moved) * (torch.rand(n, device=hu.device) * settings.noise_hu)[:, None, None, None]
    return (moved * gain[:, None, None, None] + offset[:, None, None, None] + noise).clamp(low, high)


def channels_of(hu: Tensor, settings: InputSettings) -> Tensor:
    """`preprocessing.to_channels` for tensors: (n, 1, s, s) HU -> (n, windows, s, s)."""
    stacked = [(hu.clamp(low, high) - low) / (high - low) for low, high in settings.windows_hu]
    return (torch.cat(stacked, dim=1) - settings.mean) / settings.std
