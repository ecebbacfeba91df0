"""Where the head is in a slice, and cutting it out as a square of fixed size.

The head is found by pixels alone: pictures and RSNA files have no usable tags, and a
box made from each slice by itself is the same whether the slice comes alone or in a series.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cruor.dicom.head import TISSUE_HU, cell_size, head_mask
from cruor.dicom.pixels import AIR_HU

Value = TypeVar("Value", bound=np.generic)


@dataclass(frozen=True)
class Box:
    """A square in a slice, in its pixels. It may reach over the edge of the slice: outside is air.

    Attributes:
        top, left: row and column of the upper left corner.
        size: rows and columns.
    """

    top: int
    left: int
    size: int


@dataclass(frozen=True)
class CropSettings:
    """How the network input is cut out; stated by the bundle.

    Attributes:
        size: rows and columns of the network input, pixels.
        margin: air kept round the head, as a share of the head's longer side.
        least_share: the box is never smaller than this share of the slice's longer side, so that the
            small top of the skull is not blown up to a whole head.
        area: `head`: all that is brighter than air; `shown-head`: what the first window shows of it, skull,
            brain and muscle (`shown_mask`), the same within a cell of the grid for a slice and for a picture
            of it in that window; or `slice`: the whole slice, made square with air, as the paper resizes it.
    """

    size: int
    margin: float = 0.06
    least_share: float = 0.5
    area: Literal["head", "shown-head", "slice"] = "head"


SHOWN_SHARE = 1 / 8
"""A cell is shown where its mean is above this share of what the window spans, 10 of 80 HU: above the noise
that JPEG leaves in black, below the mean of brain."""


def head_above_hu(area: Literal["head", "shown-head", "slice"], window_hu: tuple[int, int]) -> float:
    """Mean HU above which a cell counts as head; infinite where none is looked for."""
    if area == "slice":
        return math.inf
    low, high = window_hu
    return TISSUE_HU if area == "head" else low + SHOWN_SHARE * (high - low)


def find_head(hu: NDArray[np.int16], settings: CropSettings, window_hu: tuple[int, int]) -> Box:
    """Find the square round the head.

    Args:
        hu: (rows, columns), HU, padding already set to air.
        settings: margin and least size.
        window_hu: what a picture would show, the first of the windows.

    Returns:
        The box; where no head is found the whole slice, padded to a square.
    """
    rows, columns = hu.shape
    longer, cell = max(rows, columns), cell_size(hu.shape)
    whole = Box((rows - longer) // 2, (columns - longer) // 2, longer)
    if settings.area == "slice":
        return whole
    mask = head_mask(hu) if settings.area == "head" else shown_mask(hu, window_hu)
    if not mask.any():
        return whole
    rows_in, columns_in = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, bottom = rows_in[0] * cell, min(rows, (rows_in[-1] + 1) * cell)
    left, right = columns_in[0] * cell, min(columns, (columns_in[-1] + 1) * cell)
    head = max(bottom - top, right - left)
    size = round(max(head * (1 + 2 * settings.margin), longer * settings.least_share))
    return Box(int(top + bottom - size) // 2, int(left + right - size) // 2, size)


def shown_mask(hu: NDArray[np.int16], window_hu: tuple[int, int]) -> NDArray[np.bool_]:
    """The head as a window shows it: skull, brain, and muscle outside; skin is too thin.

    Args:
        hu: int16, (rows, columns), HU, padding already set to air.
        window_hu: the lowest and the highest HU that the window shows.

    Returns:
        bool, the coarse grid of `dicom.head.cell_means`.
    """
    return head_mask(np.clip(hu, *window_hu), head_above_hu("shown-head", window_hu))


def cut_out(hu: NDArray[np.int16], box: Box, size: int, bounds_hu: tuple[int, int]) -> NDArray[np.float32]:
    """Cut the box out of a slice and resize it, by area-weighted bilinear interpolation.

    Args:
        hu: (rows, columns), HU.
        box: the square to take; outside the slice is air.
        size: rows and columns of the result.
        bounds_hu: HU are clipped to these first: no window looks further, and the bone of the skull
            would else smear into the blood beside it.

    Returns:
        float32, (size, size), HU within bounds_hu.
    """
    square = take_square(hu, box, AIR_HU)
    clipped = np.clip(square, *bounds_hu).astype(np.float32)
    return np.asarray(Image.fromarray(clipped).resize((size, size), Image.Resampling.BILINEAR))


def take_square(values: NDArray[Value], box: Box, outside: float) -> NDArray[Value]:
    """Cut a box out of an array of a slice's shape: (box.size, box.size); `outside` over the edge."""
    rows, columns = values.shape
    square = np.full((box.size, box.size), outside, dtype=values.dtype)
    top, left = max(box.top, 0), max(box.left, 0)
    bottom, right = min(box.top + box.size, rows), min(box.left + box.size, columns)
    if bottom > top and right > left:
        within = values[top:bottom, left:right]
        square[top - box.top : bottom - box.top, left - box.left : right - box.left] = within
    return square
