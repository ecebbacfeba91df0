"""The colours of heat, for pixels of a map and for bars of the page."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Violet to yellow, lightness rising evenly: read in the right order in grey print and with colour blindness,
# where the paper's rainbow is not. It starts bright enough to be seen on a dark slice.
_STOPS = np.array(
    [
        (0.00, 76, 20, 140),
        (0.20, 126, 3, 168),
        (0.40, 191, 43, 137),
        (0.60, 230, 92, 92),
        (0.80, 252, 157, 52),
        (1.00, 250, 240, 80),
    ],
    dtype=np.float32,
)
_COLD, _WARM, _TOP_ALPHA = 0.12, 0.55, 0.72

# From slate, not from green: a slice without heat is not a slice that was cleared.
_BAR_STOPS = np.array(
    [(0.0, 68, 80, 97), (0.3, 92, 105, 124), (0.55, 186, 147, 84), (0.8, 240, 133, 82), (1.0, 255, 92, 87)],
    dtype=np.float32,
)


def heat_rgb(heat: NDArray[np.float32]) -> NDArray[np.float32]:
    """Colour heat (any shape, 0 to 1): float32, shape + (3,), 0 to 255."""
    return _between(_STOPS, heat)


def heat_alpha(heat: NDArray[np.float32]) -> NDArray[np.float32]:
    """Opacity of heat: nothing where cold, never so much that the slice beneath disappears."""
    ramp = np.clip((heat - _COLD) / (_WARM - _COLD), 0.0, 1.0)
    alpha: NDArray[np.float32] = (_TOP_ALPHA * ramp * ramp * (3.0 - 2.0 * ramp)).astype(np.float32)
    return alpha


def bar_colour(probability: float) -> str:
    """Return the colour of a bar as #rrggbb."""
    rgb = _between(_BAR_STOPS, np.array([probability], dtype=np.float32))[0]
    return "#" + "".join(f"{round(float(value)):02x}" for value in rgb)


def _between(stops: NDArray[np.float32], at: NDArray[np.float32]) -> NDArray[np.float32]:
    channels = [np.interp(at, stops[:, 0], stops[:, channel]) for channel in (1, 2, 3)]
    return np.stack(channels, axis=-1).astype(np.float32)
