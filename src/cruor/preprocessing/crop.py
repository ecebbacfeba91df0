"""Where the head is in a slice, and cutting it out as a square of fixed size.

The head is found on a coarse grid, by pixels alone: pictures and RSNA files have no usable tags, and a
box made from each slice by itself is the same whether the slice comes alone or in a series.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

AIR_HU = -1000
"""HU of air: what stands where a crop reaches over the edge of the slice."""

GRID = 64
"""Cells along the longer side of the coarse grid: about 4 mm a cell in a head CT."""

TISSUE_HU = -350
"""A cell whose mean HU is above this holds tissue. Foam and thin shells of headrests stay below."""


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
    """

    size: int
    margin: float = 0.06
    least_share: float = 0.5


def find_head(hu: NDArray[np.int16], settings: CropSettings) -> Box:
    """Find the square round the head.

    Args:
        hu: (rows, columns), HU, padding already set to air.
        settings: margin and least size.

    Returns:
        The box; the middle square of the slice where no tissue is found.
    """
    rows, columns = hu.shape
    longer = max(rows, columns)
    cell = -(-longer // GRID)
    mask = _largest_blob(_open(_cell_means(hu, cell) > TISSUE_HU))
    if not mask.any():
        return Box((rows - longer) // 2, (columns - longer) // 2, longer)
    rows_in, columns_in = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, bottom = rows_in[0] * cell, min(rows, (rows_in[-1] + 1) * cell)
    left, right = columns_in[0] * cell, min(columns, (columns_in[-1] + 1) * cell)
    head = max(bottom - top, right - left)
    size = int(round(max(head * (1 + 2 * settings.margin), longer * settings.least_share)))
    return Box(int(top + bottom - size) // 2, int(left + right - size) // 2, size)


def cut_out(
    hu: NDArray[np.int16], box: Box, size: int, bounds_hu: tuple[int, int]
) -> NDArray[np.float32]:
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
    rows, columns = hu.shape
    square = np.full((box.size, box.size), AIR_HU, dtype=np.int16)
    top, left = max(box.top, 0), max(box.left, 0)
    bottom, right = min(box.top + box.size, rows), min(box.left + box.size, columns)
    if bottom > top and right > left:
        square[top - box.top : bottom - box.top, left - box.left : right - box.left] = hu[top:bottom, left:right]
    clipped = np.clip(square, *bounds_hu).astype(np.float32)
    return np.asarray(Image.fromarray(clipped).resize((size, size), Image.Resampling.BILINEAR))


def _cell_means(hu: NDArray[np.int16], cell: int) -> NDArray[np.float32]:
    """Mean HU of square cells; the edge is filled up with air, metal and padding are clipped."""
    rows, columns = (-(-side // cell) * cell for side in hu.shape)
    whole = np.full((rows, columns), AIR_HU, dtype=np.float32)
    whole[: hu.shape[0], : hu.shape[1]] = np.clip(hu, AIR_HU, 1000)
    return whole.reshape(rows // cell, cell, columns // cell, cell).mean(axis=(1, 3))


def _neighbours(grid: NDArray[np.generic]) -> NDArray[np.generic]:
    """(h, w) -> (5, h, w): each cell and its four neighbours; outside the grid is 0."""
    padded = np.pad(grid, 1)
    return np.stack([grid, padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]])


def _open(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Morphological opening by a cross: what is thinner than three cells goes, headrests among it."""
    eroded = _neighbours(mask).all(axis=0)
    opened: NDArray[np.bool_] = _neighbours(eroded).any(axis=0) & mask
    return opened


def _largest_blob(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest connected part (four neighbours): labels spread until nothing changes."""
    labels = np.where(mask, np.arange(1, mask.size + 1).reshape(mask.shape), 0)
    while True:
        spread = np.where(mask, _neighbours(labels).max(axis=0), 0)
        if np.array_equal(spread, labels):
            break
        labels = spread
    counts = np.bincount(labels.ravel())
    counts[0] = 0
    return mask & (labels == counts.argmax())
