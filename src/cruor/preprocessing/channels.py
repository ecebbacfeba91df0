"""From a slice in HU to the channels a network reads: the one way, for training and for reading."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cruor.preprocessing.crop import Box, CropSettings, cut_out, find_head
from cruor.preprocessing.windows import WINDOWS_HU, Window, stack_windows

PREPROCESSING = "head crop by largest blob, clipped to the windows' bounds, antialiased bilinear resize (1)"
"""Name of what this room does to a slice. Change it whenever the same settings would give other channels:
a bundle trained on another name is refused."""


@dataclass(frozen=True)
class InputSettings:
    """What the network sees; stated by the bundle.

    Attributes:
        crop: how the head is cut out and resized.
        windows_hu: one channel each, (low, high) in HU.
        mean, std: the 0..1 channels are normalised as (x - mean) / std.
    """

    crop: CropSettings
    windows_hu: tuple[Window, ...] = WINDOWS_HU
    mean: float = 0.5
    std: float = 0.5

    @property
    def bounds_hu(self) -> tuple[int, int]:
        """The lowest and the highest HU that any window looks at."""
        return min(low for low, _ in self.windows_hu), max(high for _, high in self.windows_hu)


def crop_head(hu: NDArray[np.int16], settings: InputSettings) -> tuple[NDArray[np.float32], Box]:
    """Cut the head out of a slice.

    Args:
        hu: (rows, columns), HU, padding already set to air.
        settings: crop and windows.

    Returns:
        float32, (size, size), HU within the windows' bounds; and the box it was cut from.
    """
    box = find_head(hu, settings.crop, settings.windows_hu[0])
    return cut_out(hu, box, settings.crop.size, settings.bounds_hu), box


def to_channels(head_hu: NDArray[np.float32], settings: InputSettings) -> NDArray[np.float32]:
    """Window and normalise: (..., size, size) HU -> (..., windows, size, size) float32."""
    return (stack_windows(head_hu, settings.windows_hu) - np.float32(settings.mean)) / np.float32(
        settings.std
    )
