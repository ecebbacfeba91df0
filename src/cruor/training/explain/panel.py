"""Figure 2's panels with both forms of Grad-CAM, the brain window [0, 80] first.

The published code never shows [0, 80]: it takes the third channel twice (facts in docs/explain.md).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from cruor.bundle.manifest import Manifest
from cruor.dicom.pixels import AIR_HU
from cruor.preprocessing.crop import Box, take_square
from cruor.preprocessing.windows import WINDOWS_HU, apply_window
from cruor.report.panels import overlay, resized
from cruor.report.text import BLOOD_MAP_SENTENCE, MAP_SENTENCE, RESEARCH_ONLY
from cruor.training.explain.cam import Cams, hottest_point

OWN_MAP_TITLES = {"grad-cam": "exact map (one scale)", "blood": "blood map (one scale)"}

TILE = 320
_GAP, _MARGIN, _HEAD, _FOOT, _CROSS = 6, 14, 34, 86, 7
_GROUND, _TEXT, _MUTED = (14, 17, 22), (214, 220, 229), (146, 156, 170)


def render_explanation(
    hu: NDArray[np.int16], box: Box, both: Cams, manifest: Manifest, caption: tuple[str, str]
) -> Image.Image:
    """Draw one slice: the library's Grad-CAM, the bundle's own map, three windows, the three stacked.

    Args:
        hu: (rows, columns), the slice.
        box: the part of it that the network saw; it is what the tiles show.
        both: the two maps over the box.
        manifest: the bundle's: what its map is, and the value shown as the hottest colour.
        caption: two lines below the tiles.

    Returns:
        RGB. A cross marks the hottest point of each map.
    """
    shown = take_square(hu.astype(np.float32), box, AIR_HU)
    windows = [resized(apply_window(shown, window), TILE) for window in WINDOWS_HU]
    exact = None if both.exact is None else np.clip(both.exact / manifest.map_scale, 0, 1)
    tiles = [
        _with_heat(windows[0], both.library),
        _no_map() if exact is None else _with_heat(windows[0], exact),
        *(_picture(np.repeat(window[..., None], 3, axis=2)) for window in windows),
        _picture(np.stack(windows, axis=-1)),
    ]
    titles = [
        "Grad-CAM, library (own scale)",
        OWN_MAP_TITLES[manifest.map_kind],
        *(f"{low} to {high} HU" for low, high in WINDOWS_HU),
        "the three as red, green, blue",
    ]
    width = 2 * _MARGIN + len(tiles) * TILE + (len(tiles) - 1) * _GAP
    canvas = Image.new("RGB", (width, _HEAD + TILE + _FOOT), _GROUND)
    draw = ImageDraw.Draw(canvas)
    for place, (tile, title) in enumerate(zip(tiles, titles, strict=True)):
        left = _MARGIN + place * (TILE + _GAP)
        canvas.paste(tile, (left, _HEAD))
        draw.text((left, 9), title, font=_font(16), fill=_MUTED)
    _write_caption(draw, canvas.width, (*caption, maps_sentence(manifest.map_kind)))
    return canvas


def own_map_sentence(map_kind: str) -> str:
    """What the map of the forward pass shows."""
    return BLOOD_MAP_SENTENCE if map_kind == "blood" else MAP_SENTENCE


def maps_sentence(map_kind: str) -> str:
    """What the maps of both forms show."""
    own = own_map_sentence(map_kind)
    return f"Grad-CAM: what the network used. {own}" if map_kind == "blood" else own


def _write_caption(draw: ImageDraw.ImageDraw, width: int, caption: tuple[str, str, str]) -> None:
    top = _HEAD + TILE + 8
    draw.text((_MARGIN, top), caption[0], font=_font(20), fill=_TEXT)
    draw.text((_MARGIN, top + 27), caption[1], font=_font(15), fill=_MUTED)
    draw.text((_MARGIN, top + 49), caption[2], font=_font(15), fill=_MUTED)
    draw.text((width - _MARGIN, top + 49), RESEARCH_ONLY, font=_font(15), fill=_MUTED, anchor="ra")


def _with_heat(grey: NDArray[np.float32], heat: NDArray[np.float32]) -> Image.Image:
    picture = _picture(overlay(grey, resized(heat, TILE)))
    point = hottest_point(heat)
    if point is not None:
        row, column = ((place + 0.5) * TILE / len(heat) for place in point)
        draw = ImageDraw.Draw(picture)
        for bar in (
            (column - _CROSS, row, column + _CROSS, row),
            (column, row - _CROSS, column, row + _CROSS),
        ):
            draw.line(bar, fill=_TEXT, width=1)
    return picture


def _no_map() -> Image.Image:
    picture = Image.new("RGB", (TILE, TILE), (24, 28, 34))
    said = "no exact form:\nthe head of this network\nis not global average\npooling and one linear layer"
    draw = ImageDraw.Draw(picture)
    draw.multiline_text((TILE / 2, TILE / 2), said, font=_font(16), fill=_MUTED, anchor="mm", align="center")
    return picture


def _picture(pixels: NDArray[np.float32]) -> Image.Image:
    return Image.fromarray((np.clip(pixels, 0, 1) * 255).round().astype(np.uint8), "RGB")


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
