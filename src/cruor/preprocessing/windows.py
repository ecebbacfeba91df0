"""The paper's three HU windows (section 2.3, Figure 1), one channel each."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Window = tuple[int, int]
"""Lower and upper bound in HU: what lies below or above takes the bound's value."""

WINDOWS_HU: tuple[Window, ...] = ((0, 80), (-20, 180), (-150, 230))


def apply_window(hu: NDArray[np.generic], window: Window) -> NDArray[np.float32]:
    """Clip HU to a window and scale it to 0..1.

    Args:
        hu: any shape, any real dtype, HU.
        window: (low, high) in HU.

    Returns:
        float32 of the same shape: 0 at or below low, 1 at or above high.
    """
    low, high = window
    shown: NDArray[np.float32] = (np.clip(hu, low, high).astype(np.float32) - low) / (high - low)
    return shown


def stack_windows(hu: NDArray[np.generic], windows: tuple[Window, ...] = WINDOWS_HU) -> NDArray[np.float32]:
    """Apply each window: (..., rows, columns) HU -> (..., windows, rows, columns) float32 in 0..1."""
    return np.stack([apply_window(hu, window) for window in windows], axis=-3)
