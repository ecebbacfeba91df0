"""The panel of one slice, in the layout of the paper's Figure 2: heatmap, windows, the three stacked."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from cruor.dicom.instances import Frame
from cruor.dicom.pixels import AIR_HU, read_hu
from cruor.preprocessing.crop import Box, take_square
from cruor.preprocessing.windows import WINDOWS_HU, apply_window
from cruor.reader.results import SliceResult, StudyResult
from cruor.report.colours import heat_alpha, heat_rgb
from cruor.report.text import NO_MAP_SENTENCE, RESEARCH_ONLY, band, map_sentence

SliceReader = Callable[[Frame], NDArray[np.int16]]

MAP_TITLES = {"grad-cam": "Grad-CAM", "blood": "taken for blood"}

TILE = 360
_GAP = 6
_MARGIN = 14
_HEAD = 34
_FOOT = 62
_RIM = 0.03
_SURE_SIDE = 0.7  # cosine of 45 degrees: beyond, rows run from front to back rather than from side to side
_GROUND = (14, 17, 22)
_TEXT = (214, 220, 229)
_MUTED = (146, 156, 170)
_ACCENT = (255, 138, 117)

Grey = NDArray[np.float32]
Colour = NDArray[np.float32]


def render_panel(
    result: StudyResult, one: SliceResult, read_slice: SliceReader = read_hu, tile: int = TILE
) -> Image.Image:
    """Draw the panel of one slice of a study: RGB, five square tiles of `tile` pixels in a row.

    The tiles show what the network saw, its box in the slice, with a narrow rim round it.

    Raises:
        UnreadableError: by `read_slice`, where the pixels cannot be read again.
    """
    hu = read_slice(one.frame)
    view = _grown(one.box)
    shown = take_square(hu.astype(np.float32), view, AIR_HU)
    windows = [resized(apply_window(shown, window), tile) for window in WINDOWS_HU]
    tiles = [
        _first_tile(result, one, view, windows[0], hu.shape),
        *(np.repeat(window[..., None], 3, axis=2) for window in windows),
        np.stack(windows, axis=-1),
    ]
    canvas = _canvas(tile)
    for index, pixels in enumerate(tiles):
        picture = Image.fromarray((np.clip(pixels, 0, 1) * 255).round().astype(np.uint8), "RGB")
        canvas.paste(picture, (_tile_left(index, tile), _HEAD))
    for side, letter in zip(("left", "right"), sides_of(one.frame), strict=True):
        _write_side(canvas, side, letter, tile)
    _write_titles(canvas, tile, "no map" if one.map is None else MAP_TITLES[result.map_kind])
    if one.map is not None:
        _draw_legend(canvas, tile)
    _write_caption(canvas, result, one, tile)
    return canvas


def sides_of(frame: Frame) -> tuple[str, str]:
    """Which side of the patient lies at the left and the right of a slice: R, L, or nothing where not known.

    By the direction of its rows: in patient coordinates x grows to the patient's left (PS3.3 C.7.6.2.1.1).
    """
    along = 0.0 if frame.row_direction is None else frame.row_direction[0]
    if abs(along) < _SURE_SIDE:
        return "", ""
    return ("R", "L") if along > 0 else ("L", "R")


def _first_tile(
    result: StudyResult, one: SliceResult, view: Box, window: Grey, shape: tuple[int, ...]
) -> Colour:
    """The brain window with the heat over it; dark without a map, so that it is not taken for cold."""
    if one.map is None:
        return np.full((*window.shape, 3), 0.08, dtype=np.float32)
    heat = take_square(slice_heat(one, shape, result.map_scale), view, 0.0)
    return overlay(window, resized(heat, window.shape[0]))


def slice_heat(one: SliceResult, shape: tuple[int, ...], scale: float) -> NDArray[np.float32]:
    """Lay a slice's map over the slice: float32, `shape`, 0 to 1, zero outside the map's box.

    The scale is the study's, not the slice's: a slice without heat stays cold.

    Raises:
        ValueError: the slice has no map, which must not be shown as a cold one.
    """
    if one.map is None:
        raise ValueError(f"slice {one.number} has no map")
    heat = np.nan_to_num(one.map.astype(np.float32), nan=0.0, posinf=0.0) / max(scale, 1e-12)
    picture = Image.fromarray(np.clip(heat, 0.0, 1.0))
    size = one.box.size
    grown = np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR))
    return _paste_box(grown, one.box, shape)


def overlay(grey: Grey, heat: NDArray[np.float32]) -> Colour:
    """Blend heat over a grey slice, both (h, w), 0 to 1: float32, (h, w, 3), 0 to 1."""
    alpha = heat_alpha(heat)[..., None]
    blended: Colour = grey[..., None] * (1.0 - alpha) + heat_rgb(heat) / 255.0 * alpha
    return blended


def _paste_box(values: NDArray[np.float32], box: Box, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Put a (box.size, box.size) array where the box lies; what reaches over the edge is dropped."""
    rows, columns = shape
    whole = np.zeros((rows, columns), dtype=np.float32)
    top, left = max(box.top, 0), max(box.left, 0)
    bottom, right = min(box.top + box.size, rows), min(box.left + box.size, columns)
    if top < bottom and left < right:
        whole[top:bottom, left:right] = values[
            top - box.top : bottom - box.top, left - box.left : right - box.left
        ]
    return whole


def _grown(box: Box) -> Box:
    rim = round(box.size * _RIM)
    return Box(box.top - rim, box.left - rim, box.size + 2 * rim)


def resized(values: NDArray[np.float32], tile: int) -> NDArray[np.float32]:
    """Resize a picture or map to (tile, tile), bilinear."""
    return np.asarray(Image.fromarray(values).resize((tile, tile), Image.Resampling.BILINEAR))


def _canvas(tile: int) -> Image.Image:
    width = 2 * _MARGIN + 5 * tile + 4 * _GAP
    return Image.new("RGB", (width, _HEAD + tile + _FOOT), _GROUND)


def _tile_left(index: int, tile: int) -> int:
    return _MARGIN + index * (tile + _GAP)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _write_side(canvas: Image.Image, side: str, letter: str, tile: int) -> None:
    """The letter at an edge of the window that has no heat over it."""
    left, middle = _tile_left(1, tile), _HEAD + tile // 2
    at, anchor = (left + 6, "lm") if side == "left" else (left + tile - 6, "rm")
    ImageDraw.Draw(canvas).text((at, middle), letter, font=_font(18), fill=_TEXT, anchor=anchor)


def _write_titles(canvas: Image.Image, tile: int, first: str) -> None:
    draw = ImageDraw.Draw(canvas)
    windows = [f"{low} to {high} HU" for low, high in WINDOWS_HU]
    for index, title in enumerate([first, *windows, "the three as red, green, blue"]):
        draw.text((_tile_left(index, tile), 9), title, font=_font(16), fill=_MUTED)


def _draw_legend(canvas: Image.Image, tile: int) -> None:
    """A colour bar in the heading of the first tile; its scale is the same for all slices."""
    draw = ImageDraw.Draw(canvas)
    width, height, top = 84, 8, 15
    right = _tile_left(0, tile) + tile - 36
    heat = np.tile(np.linspace(0.0, 1.0, width, dtype=np.float32), (height, 1))
    bar = overlay(np.full_like(heat, 0.12), heat)
    picture = Image.fromarray((np.clip(bar, 0, 1) * 255).astype(np.uint8), "RGB")
    canvas.paste(picture, (right - width, top))
    draw.text((right - width - 6, 10), "cold", font=_font(13), fill=_MUTED, anchor="ra")
    draw.text((right + 6, 10), "hot", font=_font(13), fill=_MUTED)


def _write_caption(canvas: Image.Image, result: StudyResult, one: SliceResult, tile: int) -> None:
    draw = ImageDraw.Draw(canvas)
    top, right = _HEAD + tile + 10, canvas.width - _MARGIN
    lead = f"Slice {one.number} of {result.slice_count}"
    draw.text((_MARGIN, top), lead, font=_font(20), fill=_TEXT)
    after = _MARGIN + draw.textlength(lead, font=_font(20)) + 18
    chance = f"probability of blood {one.probability:.3f} ({band(one.probability)})"
    draw.text((after, top), chance, font=_font(20), fill=_ACCENT)
    draw.text((right, top + 3), _findings_line(one), font=_font(16), fill=_MUTED, anchor="ra")
    sentence = NO_MAP_SENTENCE if one.map is None else map_sentence(result.map_kind)
    draw.text((_MARGIN, top + 28), sentence, font=_font(15), fill=_MUTED)
    draw.text((right, top + 28), RESEARCH_ONLY, font=_font(15), fill=_MUTED, anchor="ra")


def _findings_line(one: SliceResult) -> str:
    ranked = sorted(one.findings.items(), key=lambda item: -item[1])[:3]
    return "   ".join(f"{name} {value:.2f}" for name, value in ranked)
