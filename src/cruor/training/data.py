"""Prepared slices as tensors, from memory or from disk, drawn and changed for training."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset

from cruor.bundle.model import Bundle
from cruor.preprocessing.channels import InputSettings, crop_head
from cruor.preprocessing.crop import Box, cut_out, head_above_hu
from cruor.training.experiment import AugmentationSettings, DataSettings, ExperimentError
from cruor.training.prepare.store import LABELS, StoredSlice, read_index, read_slice, read_slices

_LOG = logging.getLogger(__name__)

MOSTLY = 0.5
"""A source is of pictures where more of its slices are than this share: of ct-ich, one slice is."""

UNKNOWN_BLOOD = -1.0
"""Stands everywhere in the blood of a positive slice without a drawing."""


@dataclass(frozen=True, eq=False)
class Crop:
    """One slice as a network is shown it.

    Attributes:
        hu: int16, (size, size), HU within the windows' bounds.
        drawn: probability of blood x 255, uint8, (size, size); None where not drawn.
    """

    hu: NDArray[np.int16]
    drawn: NDArray[np.uint8] | None


class Crops(Protocol):
    """The crops of an index, by row."""

    def __getitem__(self, row: int) -> Crop:
        """The crop of a row of the index."""


@dataclass(frozen=True, eq=False)
class CropsInMemory:
    """Read and cropped once.

    Attributes:
        hu: int16, (slices, size, size).
        drawn: by row, uint8, (size, size).
    """

    hu: NDArray[np.int16]
    drawn: dict[int, NDArray[np.uint8]]

    def __getitem__(self, row: int) -> Crop:
        """The crop of a row of the index."""
        return Crop(self.hu[row], self.drawn.get(row))


@dataclass(frozen=True, eq=False)
class CropsOnDisk:
    """Read and cropped each time they are asked for. Small, since each process of a loader gets a copy.

    Attributes:
        files: prepared folder and file in it, of each study.
        file: by row of the index, place in `files`.
        row: by row of the index, row in that file.
        settings: how slices are cropped.
    """

    files: tuple[tuple[Path, str], ...]
    file: NDArray[np.int32]
    row: NDArray[np.int32]
    settings: InputSettings

    def __getitem__(self, row: int) -> Crop:
        """The crop of a row of the index.

        Raises:
            OSError: the study's file cannot be read; the message names it.
        """
        folder, file = self.files[self.file[row]]
        return crop_slice(read_slice(folder, file, int(self.row[row])), self.settings)


@dataclass(frozen=True, eq=False)
class Heads:
    """All slices of an experiment, cropped.

    Attributes:
        index: one row a slice, as in `prepare.store`, numbered from 0.
        crops: by row of the index.
    """

    index: pd.DataFrame
    crops: Crops

    @property
    def labels(self) -> NDArray[np.float32]:
        """(slices, 6) float32: 1, 0 or NaN for unknown, in the order of LABELS."""
        # A copy: pandas hands out read-only memory, which torch warns of.
        return np.array(self.index[list(LABELS)], dtype=np.float32)


def load_heads(
    data: DataSettings, settings: InputSettings, progress: Callable[[int], None] = lambda done: None
) -> Heads:
    """Every labelled slice of the prepared folders, read and cropped now or when asked for (`in_memory`).

    Slices without a label for `any`, and patients that are left out, are not read.

    Raises:
        FileNotFoundError: a folder was not prepared, or a file of a study is missing.
        ExperimentError: some patients that are left out are in the data, others are not: a misspelt one would
            be learned from.
    """
    _check_left_out(data)
    parts = [(folder, _used_slices(data, folder)) for folder in map(Path, data.folders)]
    index = pd.concat([part for _, part in parts], ignore_index=True)
    if not data.in_memory:
        return Heads(index, _crops_on_disk(parts, settings))
    hu = np.empty((len(index), settings.crop.size, settings.crop.size), dtype=np.int16)
    drawn: dict[int, NDArray[np.uint8]] = {}
    stored = (one for folder, part in parts for one in read_slices(folder, part))
    for row, crop in enumerate(crop_slice(one, settings) for one in stored):
        hu[row] = crop.hu
        if crop.drawn is not None:
            drawn[row] = crop.drawn
        progress(row + 1)
    return Heads(index, CropsInMemory(hu, drawn))


def sources_of(data: DataSettings) -> set[str]:
    """Sources of the slices that `load_heads` reads, from their indexes alone.

    Raises:
        FileNotFoundError: a folder was not prepared.
    """
    return {source for folder in data.folders for source in _used_slices(data, Path(folder))["source"]}


def why_no_heads(index: pd.DataFrame, settings: InputSettings) -> str | None:
    """Why heads cannot be found in slices: a clause for the user, or None where they can be.

    In a picture of a window, all that is darker is black. Where black is brighter than what the crop takes
    for a head, all of the picture would be one, and its head come out smaller than those of other sources.
    """
    above = head_above_hu(settings.crop.area, settings.windows_hu[0])
    all_head = (index["known_low_hu"] > above).groupby(index["source"]).mean()
    pictures = [str(source) for source, share in all_head.items() if share > MOSTLY]
    if not pictures:
        return None
    black = index["known_low_hu"][index["source"] == pictures[0]].median()
    return (
        f"{pictures[0]}: pictures in which nothing is darker than {black:g} HU, and this crop takes all "
        f"above {above:g} HU for head"
    )


def why_unreadable(index: pd.DataFrame, bundle: Bundle) -> str | None:
    """Why a bundle cannot read slices: a sentence for the user with what to do, or None where it can."""
    if reason := why_no_heads(index, bundle.manifest.input):
        return (
            f"{reason}; {bundle.label} cannot read it: take a bundle whose crop area is shown-head, or slice"
        )
    return None


def _check_left_out(data: DataSettings) -> None:
    there = {str(patient) for folder in data.folders for patient in read_index(Path(folder))["patient_id"]}
    missing = [patient for patient in data.left_out_patients if patient not in there]
    if missing and len(missing) < len(data.left_out_patients):
        raise ExperimentError(
            f"left_out_patients: no patient {missing[0]!r} in the data, though others of them are there; "
            "a misspelt one would be learned from"
        )
    if missing:
        _LOG.warning("left_out_patients: none of them is in the data")


def _used_slices(data: DataSettings, folder: Path) -> pd.DataFrame:
    index = read_index(folder)
    return index[index["any"].notna() & ~index["patient_id"].isin(data.left_out_patients)]


def _crops_on_disk(parts: list[tuple[Path, pd.DataFrame]], settings: InputSettings) -> CropsOnDisk:
    files: list[tuple[Path, str]] = []
    codes = []
    for folder, part in parts:
        code, names = pd.factorize(part["file"])
        codes.append(code + len(files))
        files += [(folder, str(name)) for name in names]
    for folder, file in files:  # now, not hours later
        if not (folder / file).exists():
            raise FileNotFoundError(f"{folder / file}: is missing; run `cruor prepare` again")
    rows = np.concatenate([part["row"].to_numpy() for _, part in parts])
    return CropsOnDisk(tuple(files), np.concatenate(codes).astype(np.int32), rows.astype(np.int32), settings)


def crop_slice(stored: StoredSlice, settings: InputSettings) -> Crop:
    """Crop a slice as the reader does, and its drawing with it."""
    head, box = crop_head(stored.hu, settings)
    hu = np.round(head).astype(np.int16)
    if stored.drawn is None:
        return Crop(hu, None)
    return Crop(hu, _crop_drawing(stored.drawn, stored.hu.shape, box, settings.crop.size))


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
        # Without the index: each process of a loader gets a copy of what stands here.
        self.crops, self.labels, self.rows = heads.crops, heads.labels[rows], rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, item: int) -> tuple[Tensor, Tensor, Tensor]:
        crop = self.crops[int(self.rows[item])]
        hu = torch.from_numpy(crop.hu.astype(np.float32))[None]
        labels = torch.from_numpy(self.labels[item])
        if labels[0] == 0:
            return hu, labels, torch.zeros_like(hu)
        if crop.drawn is None:
            return hu, labels, torch.full_like(hu, UNKNOWN_BLOOD)
        return hu, labels, torch.from_numpy(crop.drawn.astype(np.float32) / 255)[None]


class TrainingDataset(Dataset[tuple[Tensor, Tensor, Tensor, Tensor]]):
    """Rows of `Heads` as HU, labels and blood (see `SliceDataset`), and the number of the slice's source."""

    def __init__(self, heads: Heads, rows: NDArray[np.int64]) -> None:
        self.slices, self.sources = SliceDataset(heads, rows), pd.factorize(heads.index["source"])[0][rows]

    def __len__(self) -> int:
        return len(self.slices)

    def __getitem__(self, item: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return *self.slices[item], torch.tensor(self.sources[item])


class ValidationDataset(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Rows of `Heads` as HU (1, s, s), labels (6,), and whether the row is of the balanced ones, bool."""

    def __init__(self, heads: Heads, rows: NDArray[np.int64], balanced_rows: NDArray[np.int64]) -> None:
        self.slices, self.balanced = SliceDataset(heads, rows), np.isin(rows, balanced_rows)

    def __len__(self) -> int:
        return len(self.slices)

    def __getitem__(self, item: int) -> tuple[Tensor, Tensor, Tensor]:
        hu, labels, _ = self.slices[item]
        return hu, labels, torch.tensor(bool(self.balanced[item]))


def augment(
    hu: Tensor, blood: Tensor, settings: AugmentationSettings, shown: InputSettings
) -> tuple[Tensor, Tensor]:
    """Change each slice of a batch at random; blood moves with it.

    Args:
        hu: (n, 1, s, s), HU within bounds.
        blood: (n, 1, s, s), as `SliceDataset` gives it.
        settings: how much.
        shown: windows; HU are kept within their bounds.
    """
    moved_hu, moved_blood = _move(hu, blood, settings, shown.bounds_hu[0])
    if settings.clipped:  # draws no chance else: older experiments keep their numbers
        as_picture = torch.rand(len(hu), device=hu.device) < settings.clipped
        moved_hu = torch.where(_each(as_picture), moved_hu.clamp(*shown.windows_hu[0]), moved_hu)
    changed = _change_values(moved_hu, settings).clamp(*shown.bounds_hu)
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
