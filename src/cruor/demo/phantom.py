"""A synthetic head: no person, no data, yet enough like a head CT to try every path of cruor with.

Coordinates are millimetres: x to the patient's left, y to the back, z upwards from the skull base. The
shapes are bent ellipsoids, the texture is smooth noise, the numbers are typical HU of a 5 mm unenhanced CT.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cruor.demo.ct import CtSeries, ct_slice, write_uncompressed

Grid = NDArray[np.floating[Any]]
"""float32, (size, size): HU, millimetres or a share, by name."""

SIZE = 512
PIXEL_MM = 0.46
SPACING_MM = 5.0
SLICE_COUNT = 28

_AIR, _FAT, _SKIN, _MUSCLE, _BONE, _MARROW = -1000.0, -90.0, 35.0, 55.0, 1150.0, 650.0
_WHITE, _GREY, _CSF, _BLOOD = 27.0, 37.0, 7.0, 66.0
_FALX = 50.0
_NOISE_HU = 3.6


class BleedKind(StrEnum):
    """How a bleed lies: free in the brain, or pressed between skull and brain as a lens."""

    BLOB = "blob"
    LENS = "lens"


@dataclass(frozen=True)
class Bleed:
    """A bleed to paint.

    Attributes:
        kind: its shape.
        centre_mm, radii_mm: x, y, z of the ellipsoid; for a lens it is cut off by the skull.
    """

    kind: BleedKind
    centre_mm: tuple[float, float, float]
    radii_mm: tuple[float, float, float]


@dataclass(frozen=True)
class Head:
    """What to paint.

    Attributes:
        seed: of texture, folds and noise.
        bleeds: in the brain or on it.
        ventricular_blood: the share of the ventricles, from the back forwards, that blood fills (0 to 1).
        turn_degrees: how far the head is turned in the holder.
    """

    seed: int = 0
    bleeds: tuple[Bleed, ...] = ()
    ventricular_blood: float = 0.0
    turn_degrees: float = 0.0


NORMAL = Head(seed=11, turn_degrees=2.0)
EPIDURAL = Head(
    seed=23, bleeds=(Bleed(BleedKind.LENS, (66.0, 2.0, 74.0), (23.0, 37.0, 30.0)),), turn_degrees=-3.0
)
INTRAPARENCHYMAL = Head(
    seed=37,
    bleeds=(Bleed(BleedKind.BLOB, (-27.0, -2.0, 70.0), (13.0, 21.0, 17.0)),),
    ventricular_blood=0.45,
    turn_degrees=1.0,
)


def head_slices(
    head: Head, count: int = SLICE_COUNT, spacing_mm: float = SPACING_MM, size: int = SIZE
) -> NDArray[np.int16]:
    """Paint a head from the skull base upwards: (count, size, size), HU, int16."""
    field = _TextureField(head.seed)
    painted = np.empty((count, size, size), dtype=np.int16)
    for index in range(count):
        painted[index] = _slice(head, field, (index + 0.5) * spacing_mm, index, size)
    return painted


def sharpened(slices: NDArray[np.int16], seed: int = 0) -> NDArray[np.int16]:
    """Turn soft-tissue slices into what a bone kernel makes of them: hard edges, much noise."""
    rng = np.random.default_rng(seed)
    hard = np.empty_like(slices)
    for index, hu in enumerate(slices):
        values = hu.astype(np.float32)
        edges = values - _blurred(values, 1.2)
        noise = rng.normal(0.0, 38.0, hu.shape).astype(np.float32) * (values > -600)
        hard[index] = np.clip(values + 1.6 * edges + noise, -1024, 3071)
    return hard


def localizer(slices: NDArray[np.int16]) -> NDArray[np.int16]:
    """Look through the head from the side: (SIZE, SIZE), values as in a scout view."""
    density = (slices.astype(np.float32) + 1000.0).mean(axis=2)[::-1]
    picture = Image.fromarray(density / 1000.0).resize((384, 320), Image.Resampling.BILINEAR)
    view = np.full((SIZE, SIZE), -1000.0, dtype=np.float32)
    view[96:416, 64:448] = np.asarray(picture) * 900.0 - 1000.0
    return np.clip(view, -1024, 3071).astype(np.int16)


def write_phantom_studies(folder: Path) -> list[Path]:
    """Write the three demo studies, a folder each; return the folders. Every call writes the same bytes.

    PHANTOM-1 is normal, PHANTOM-2 has an epidural and PHANTOM-3 an intraparenchymal bleed that broke into the
    ventricles. PHANTOM-2 comes with a localizer and a bone-kernel series, as a scanner would send it.
    """
    return [
        write_phantom_study(folder, "1", NORMAL),
        write_phantom_study(folder, "2", EPIDURAL, with_other_series=True),
        write_phantom_study(folder, "3", INTRAPARENCHYMAL),
    ]


def write_phantom_study(
    folder: Path, name: str, head: Head, *, count: int = SLICE_COUNT, with_other_series: bool = False
) -> Path:
    """Write one phantom as the study PHANTOM-`name`; return its folder.

    Args:
        folder: where the study's own folder goes.
        name: tells the study and the patient from others; equal names give equal UIDs.
        head: what to paint.
        count: slices, 5 mm apart, from the skull base upwards.
        with_other_series: add a localizer and a bone-kernel series of the same head.
    """
    target = folder / f"phantom-{name}"
    target.mkdir(parents=True, exist_ok=True)
    slices = head_slices(head, count)
    series = _phantom_series(name)
    if with_other_series:
        _write_localizer(slices, replace(series, series_number=1), target)
        bone = replace(series, series_number=3, description="Head 5.0 bone", kernel="BONE")
        _write_stack(sharpened(slices, head.seed), bone, target)
    _write_stack(slices, series, target)
    return target


def _phantom_series(name: str) -> CtSeries:
    return CtSeries(
        study=f"phantom-{name}",
        series_number=2,
        description="Head 5.0 brain",
        patient_id=f"PHANTOM-{name}",
        pixel_spacing_mm=PIXEL_MM,
        thickness_mm=SPACING_MM,
        extra={
            "ManufacturerModelName": "synthetic head phantom",
            "ImageComments": "Synthetic phantom, made by a program. Not a patient.",
        },
    )


def _write_stack(slices: NDArray[np.int16], series: CtSeries, folder: Path) -> None:
    """Write a series under names that tell nothing of its order, as an export often does."""
    corner = -PIXEL_MM * (slices.shape[1] - 1) / 2
    order = np.random.default_rng(series.series_number).permutation(len(slices))
    for index, hu in enumerate(slices):
        image = ct_slice(hu, series, index + 1, (corner, corner, index * SPACING_MM))
        name = f"IM{series.series_number:02d}{order[index]:04d}"
        write_uncompressed(image, folder / (name if index % 3 else f"{name}.dcm"))


def _write_localizer(slices: NDArray[np.int16], series: CtSeries, folder: Path) -> None:
    scout = replace(
        series,
        description="Localizer",
        image_type=("ORIGINAL", "PRIMARY", "LOCALIZER"),
        orientation=(0.0, 1.0, 0.0, 0.0, 0.0, -1.0),
        pixel_spacing_mm=0.6,
    )
    image = ct_slice(localizer(slices), scout, 1, (0.0, -150.0, 230.0))
    write_uncompressed(image, folder / "IM010000")


class _TextureField:
    """Smooth noise in three dimensions: looked up by slice, the same for neighbours but for a slow change."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def smooth(self, name: int, z: float, cell_mm: float, size: int) -> Grid:
        """Noise of about unit deviation whose humps are `cell_mm` wide and as high: (size, size)."""
        level, part = divmod(z / cell_mm, 1.0)
        below, above = (self._layer(name, int(level) + step, cell_mm, size) for step in (0, 1))
        weight = 0.5 - 0.5 * math.cos(math.pi * part)
        return (below * (1 - weight) + above * weight) / math.sqrt((1 - weight) ** 2 + weight**2)

    def _layer(self, name: int, level: int, cell_mm: float, size: int) -> Grid:
        rng = np.random.default_rng((self._seed, name, level))
        cells = max(3, round(SIZE * PIXEL_MM / cell_mm))
        coarse = rng.normal(0.0, 1.4, (cells, cells)).astype(np.float32)
        return np.asarray(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC))


@dataclass(frozen=True, eq=False)
class _Level:
    """The plane that is being painted: coordinates of its pixels in mm, and its texture."""

    x: Grid
    y: Grid
    z: float
    field: _TextureField
    size: int

    def texture(self, name: int, cell_mm: float) -> Grid:
        return self.field.smooth(name, self.z, cell_mm, self.size)


def _slice(head: Head, field: _TextureField, z: float, index: int, size: int) -> NDArray[np.int16]:
    """Paint one slice, from the outside inwards, then blur and add noise as a scanner does."""
    level = _Level(*_coordinates(size, head.turn_degrees), z, field, size)
    scalp, skull, inner = (_shell(level.x, level.y, z, margin) for margin in (12.0, 6.5, 0.0))
    hu = np.full((size, size), _AIR, dtype=np.float32)
    _paint_holder(hu, size)
    _paint_scalp(hu, scalp, skull)
    _paint_skull(hu, skull, inner, level.texture(1, 9.0))
    brain = _brain(level, inner, head)
    _blend(hu, brain, _inside(inner))
    _paint_base(hu, level, skull)
    return _scanned(hu, head.seed, index)


def _coordinates(size: int, turn_degrees: float) -> tuple[Grid, Grid]:
    """x to the patient's left (right in the picture), y to the back (down in the picture), in mm."""
    line = ((np.arange(size, dtype=np.float32) - (size - 1) / 2) * (SIZE * PIXEL_MM / size)).astype(
        np.float32
    )
    across, down = np.meshgrid(line, line)
    cosine, sine = math.cos(math.radians(turn_degrees)), math.sin(math.radians(turn_degrees))
    return across * cosine + down * sine, down * cosine - across * sine


def _shell(x: Grid, y: Grid, z: float, margin_mm: float) -> Grid:
    """Signed distance, about mm, to a shell `margin_mm` outside the brain: positive inside."""
    half_width, half_length, top = 64.0 + margin_mm, 82.0 + margin_mm, 128.0 + margin_mm
    level = (z - 58.0) / (top - 58.0) if z > 58.0 else (58.0 - z) / 150.0
    if level >= 1.0:
        return np.full_like(x, -50.0)
    shrink = (1.0 - level**2.3) ** 0.5
    width = half_width * shrink * (1.0 + 0.10 * np.clip(y / half_length, -1.2, 1.2))
    length = half_length * shrink
    radius = (np.abs(x / width) ** 2.25 + np.abs(y / length) ** 2.25) ** (1 / 2.25)
    distance: Grid = (1.0 - radius) * (math.sqrt(half_width * half_length) * shrink)
    return distance


def _ellipse(
    x: Grid, y: Grid, centre: tuple[float, float], radii: tuple[float, float], turn: float = 0.0
) -> Grid:
    """Signed distance, about mm, to an ellipse turned by `turn` degrees: positive inside."""
    cosine, sine = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    right, down = x - centre[0], y - centre[1]
    along = right * (cosine / radii[0]) + down * (sine / radii[0])
    across = down * (cosine / radii[1]) - right * (sine / radii[1])
    distance: Grid = (1.0 - np.sqrt(along * along + across * across)) * min(radii)
    return distance


def _inside(distance: Grid, edge_mm: float = 0.9) -> Grid:
    """How much of a pixel lies inside, 0 to 1, from a signed distance."""
    share: Grid = np.clip(distance / edge_mm + 0.5, 0.0, 1.0)
    return share


def _blend(hu: Grid, value: Grid | float, share: Grid) -> None:
    """Mix a tissue into the slice, in place."""
    hu += (value - hu) * share


def _mirrored(x: Grid) -> Iterator[Grid]:
    """For what the head has twice: x as it is, then the other side."""
    yield x
    yield -x


def _paint_holder(hu: Grid, size: int) -> None:
    """The head holder: a thin shell under the head, lighter than water inside."""
    x, y = _coordinates(size, 0.0)
    outer = _ellipse(x, y, (0.0, 0.0), (103.0, 114.0))
    low = _inside(y - 38.0)
    _blend(hu, 120.0, np.minimum(_inside(1.4 - np.abs(outer)), low))
    _blend(hu, -850.0, np.minimum(_inside(np.minimum(4.0 - np.abs(outer + 5.4), 0.5)), low))


def _paint_scalp(hu: Grid, scalp: Grid, skull: Grid) -> None:
    _blend(hu, _SKIN, _inside(scalp))
    _blend(hu, _FAT, _inside(np.minimum(scalp - 1.6, -skull - 1.2)))


def _paint_skull(hu: Grid, skull: Grid, inner: Grid, texture: Grid) -> None:
    """Two hard tables and marrow between them."""
    _blend(hu, _BONE + 60.0 * texture, _inside(skull))
    _blend(hu, _MARROW + 90.0 * texture, _inside(np.minimum(skull - 2.0, -inner - 1.6)))


def _brain(level: _Level, inner: Grid, head: Head) -> Grid:
    """Everything inside the skull, as if it filled the slice."""
    x, y, z = level.x, level.y, level.z
    warp = 5.0 * level.texture(2, 26.0)
    cortex = _inside(6.0 + 0.3 * warp - inner, 5.0)
    brain = _WHITE + (_GREY - _WHITE) * cortex + 1.2 * level.texture(3, 14.0)
    _paint_deep_grey(brain, x, y, z)
    _paint_folds(brain, inner, level)
    _paint_midline(brain, x, y, z)
    ventricles = _ventricles(x + 0.25 * warp, y + 0.25 * warp, z, _push(head, z))
    fluid = _ventricle_fluid(y, head)
    _blend(brain, fluid, _inside(ventricles, 1.6))
    _paint_cisterns(brain, x, y, z)
    for bleed in head.bleeds:
        _paint_bleed(brain, level, bleed, inner)
    return brain


def _paint_deep_grey(brain: Grid, x: Grid, y: Grid, z: float) -> None:
    for side in _mirrored(x):
        if 52.0 < z < 84.0:
            _blend(brain, _GREY, 0.9 * _inside(_ellipse(side, y, (10.0, 6.0), (8.0, 13.0), -20.0), 3.0))
            _blend(
                brain, _GREY + 1.0, 0.9 * _inside(_ellipse(side, y, (25.0, -10.0), (7.0, 18.0), -14.0), 3.0)
            )
            _blend(brain, _GREY, 0.9 * _inside(_ellipse(side, y, (38.0, -4.0), (3.5, 24.0), -4.0), 3.0))
        if 56.0 < z < 92.0:
            _blend(brain, _GREY, 0.9 * _inside(_ellipse(side, y, (14.0, -28.0), (4.0, 9.0), -16.0), 2.5))


def _paint_folds(brain: Grid, inner: Grid, level: _Level) -> None:
    """Sulci: thin valleys between the humps of a noise, widest at the surface, and the fluid on the brain."""
    humps = np.abs(level.texture(4, 12.0))
    depth = np.clip(1.0 - inner / (24.0 if level.z < 95.0 else 55.0), 0.0, 1.0)
    valley = np.clip(1.0 - humps / (0.05 + 0.30 * depth), 0.0, 1.0) * np.sqrt(depth)
    _blend(
        brain, _GREY, np.clip(1.7 * np.clip(1.0 - humps / (0.1 + 0.7 * depth), 0.0, 1.0) * depth, 0.0, 1.0)
    )
    # Below the tentorium folds are too fine for 5 mm slices.
    clear = min(max((level.z - 46.0) / 20.0, 0.15), 1.0)
    _blend(brain, _CSF + 6.0, clear * np.clip(1.3 * valley - 0.2, 0.0, 0.85))
    _blend(brain, _CSF + 9.0, 0.6 * _inside(1.6 - inner, 1.6))


def _paint_midline(brain: Grid, x: Grid, y: Grid, z: float) -> None:
    """The falx, the fluid beside it, the sinus at its back, and the tentorium below."""
    if z > 44.0:
        reach = np.minimum(-y - 34.0, 90.0) if z < 88.0 else np.full_like(y, 90.0)
        both = np.maximum(reach, y - 36.0)
        fissure = np.minimum(2.0 - np.abs(x), both)
        _blend(brain, _CSF + 8.0, 0.6 * _inside(fissure, 1.4))
        _blend(brain, _FALX, 0.8 * _inside(np.minimum(0.7 - np.abs(x), both), 0.9))
        _blend(brain, _FALX + 6.0, _inside(_ellipse(x, y, (0.0, 79.0), (4.0, 6.0)), 1.5))
    if 40.0 < z < 58.0:
        leaf = 6.0 + (58.0 - z) * 2.0
        for side in _mirrored(x):
            line = np.abs(side - leaf - 0.55 * (y - 22.0))
            _blend(brain, _FALX - 4.0, 0.7 * _inside(np.minimum(0.8 - line, y - 20.0), 1.2))


def _push(head: Head, z: float) -> float:
    """How far the bleeds move the midline at this level, in mm, positive to the patient's left."""
    shift = 0.0
    for bleed in head.bleeds:
        height = 1.0 - ((z - bleed.centre_mm[2]) / (bleed.radii_mm[2] + 15.0)) ** 2
        shift -= math.copysign(0.2, bleed.centre_mm[0]) * bleed.radii_mm[0] * max(height, 0.0)
    return shift


def _ventricles(x: Grid, y: Grid, z: float, shift: float) -> Grid:
    """Signed distance to the ventricles at a level: positive inside."""
    distance = np.full_like(x, -20.0)

    def add(one: Grid) -> None:
        np.maximum(distance, one, out=distance)

    middle = x - shift
    if 24.0 < z < 42.0:
        add(_ellipse(x, y, (0.0, 34.0), (7.5 - 0.35 * abs(z - 33.0), 4.5)))
    if 50.0 < z < 70.0:
        add(_ellipse(middle, y, (0.0, -2.0), (2.6, 13.0)))
    for side in _mirrored(middle):
        if 60.0 < z < 84.0:
            add(_ellipse(side, y, (8.0 + 0.12 * (z - 60.0), -26.0), (3.6, 13.0), -20.0))
            add(_ellipse(side, y, (24.0 - 0.35 * (z - 60.0), 34.0), (5.0, 14.0), 24.0))
        if 80.0 < z < 97.0:
            add(_ellipse(side, y, (11.0, 2.0), (5.0 - 0.2 * abs(z - 86.0), 33.0), 8.0))
        if 44.0 < z < 58.0:
            add(_ellipse(side, y, (33.0, 12.0), (2.4, 11.0), -12.0))
    return distance


def _ventricle_fluid(y: Grid, head: Head) -> Grid:
    """Fluid, and blood that settles towards the back."""
    level = 55.0 - 100.0 * head.ventricular_blood
    share = _inside(y - level, 5.0) if head.ventricular_blood > 0.0 else np.zeros_like(y)
    return _CSF + (_BLOOD - 4.0 - _CSF) * share


def _paint_cisterns(brain: Grid, x: Grid, y: Grid, z: float) -> None:
    if 38.0 < z < 50.0:
        star = np.maximum(
            _ellipse(x, y, (0.0, -14.0), (12.0, 8.0)),
            np.maximum(
                _ellipse(x, y, (0.0, -22.0), (3.0, 13.0)),
                _ellipse(np.abs(x), y, (14.0, -16.0), (13.0, 2.6), -24.0),
            ),
        )
        _blend(brain, _CSF + 3.0, 0.9 * _inside(star, 2.0))
    if 46.0 < z < 62.0:
        smile = np.abs(_ellipse(x, y, (0.0, 8.0), (19.0, 18.0)))
        _blend(brain, _CSF + 4.0, 0.85 * _inside(np.minimum(1.6 - smile, y - 15.0), 1.5))
    if 52.0 < z < 80.0:
        for side in _mirrored(x):
            gap = np.abs(_ellipse(side, y, (60.0, -14.0), (18.0, 10.0), 10.0))
            _blend(brain, _CSF + 8.0, 0.7 * _inside(np.minimum(1.3 - gap, 58.0 - side), 1.3))


def _paint_bleed(brain: Grid, level: _Level, bleed: Bleed, inner: Grid) -> None:
    height = 1.0 - ((level.z - bleed.centre_mm[2]) / bleed.radii_mm[2]) ** 2
    if height <= 0.0:
        return
    radii = (bleed.radii_mm[0] * height**0.5, bleed.radii_mm[1] * height**0.5)
    distance = _ellipse(level.x, level.y, (bleed.centre_mm[0], bleed.centre_mm[1]), radii)
    fresh = _BLOOD + 2.5 * level.texture(5, 8.0)
    if bleed.kind is BleedKind.LENS:
        _blend(brain, fresh, _inside(np.minimum(distance, inner + 1.5), 1.4))
        return
    distance = distance + 2.2 * level.texture(6, 13.0)
    _blend(brain, _WHITE - 11.0, 0.8 * _inside(distance + 6.0, 7.0))
    _blend(brain, fresh, _inside(distance, 2.2))


def _paint_base(hu: Grid, level: _Level, skull: Grid) -> None:
    """The skull base: petrous bones, sphenoid, orbits, nose and sinuses, each at its levels."""
    x, y, z = level.x, level.y, level.z
    if z >= 41.0:
        if z < 62.0:
            sinus = np.minimum(_ellipse(x, y, (4.0, -84.0), (15.0, 3.2)), skull - 1.5)
            _blend(hu, _AIR + 20.0, 0.95 * _inside(sinus))
        return
    within = _inside(skull - 3.0)
    front = -56.0 + 0.55 * (46.0 - z)
    bone = _BONE + 80.0 * level.texture(7, 6.0)
    face = np.minimum(_inside(front - 0.07 * np.abs(x) - y, 1.5), within)
    _blend(hu, _MUSCLE + 2.0 * level.texture(8, 10.0), face)
    for side in _mirrored(x):
        _paint_petrous(hu, side, level, bone, within)
        _paint_wing(hu, side, level, bone, within)
        _paint_orbit(hu, side, y, face, within)
    _blend(hu, bone, np.minimum(_inside(_ellipse(x, y, (0.0, -24.0 + 0.5 * z), (13.0, 6.0)), 1.5), within))
    if z < 32.0:
        sphenoid = _inside(_ellipse(x, y, (0.0, -34.0), (11.0, 8.0)), 1.5)
        _blend(hu, _AIR + 30.0, 0.95 * np.minimum(sphenoid, within))
    _paint_nose(hu, x, y, face)


def _paint_petrous(hu: Grid, side: Grid, level: _Level, bone: Grid, within: Grid) -> None:
    """The pyramid of the inner ear, with air cells in its outer part."""
    if level.z >= 38.0:
        return
    petrous = _ellipse(side, level.y, (38.0, 4.0), (34.0, 8.0 - 0.12 * abs(level.z - 22.0)), 26.0)
    _blend(hu, bone, np.minimum(_inside(petrous, 1.6), within))
    cells = np.minimum(petrous - 1.5, 4.0 * level.texture(9, 5.0) - 1.0)
    _blend(hu, -700.0, 0.9 * np.minimum(_inside(np.minimum(cells, side - 42.0), 1.5), within))


def _paint_wing(hu: Grid, side: Grid, level: _Level, bone: Grid, within: Grid) -> None:
    """The wing of the sphenoid, between the frontal and the temporal lobe."""
    wing = 2.0 - np.abs(_ellipse(side, level.y, (34.0, -66.0), (40.0, 36.0 - 0.2 * level.z), 8.0))
    _blend(hu, bone, np.minimum(_inside(np.minimum(wing, level.y + 66.0), 1.2), within))


def _paint_orbit(hu: Grid, side: Grid, y: Grid, floor: Grid, within: Grid) -> None:
    """Fat in a bony cone, with the nerve and the globe."""
    orbit = _ellipse(side, y, (31.0, -64.0), (17.0, 23.0), 12.0)
    _blend(hu, _BONE - 200.0, np.minimum(_inside(orbit + 2.0, 1.2), floor))
    _blend(hu, _FAT, np.minimum(_inside(orbit, 1.2), floor))
    _blend(
        hu, 45.0, np.minimum(_inside(2.2 - np.abs(side - 24.0 - 0.25 * (y + 48.0)), 1.2), _inside(orbit - 2))
    )
    globe = _ellipse(side, y, (32.0, -74.0), (12.0, 12.0))
    _blend(hu, 55.0, np.minimum(_inside(globe + 1.2), within))
    _blend(hu, 12.0, np.minimum(_inside(globe), within))
    _blend(hu, 80.0, np.minimum(_inside(_ellipse(side, y, (32.0, -82.0), (5.0, 2.2))), within))


def _paint_nose(hu: Grid, x: Grid, y: Grid, floor: Grid) -> None:
    """Ethmoid cells: air between thin walls."""
    box = np.minimum(11.0 - np.abs(x), np.minimum(-44.0 - y, y + 84.0))
    walls = np.maximum(0.9 - np.abs(np.abs(x) - 5.5), 0.8 - np.abs(np.mod(y, 9.0) - 4.5))
    _blend(hu, _BONE - 350.0, np.minimum(_inside(box + 1.6, 1.2), floor))
    _blend(hu, _AIR + 30.0, np.minimum(np.minimum(_inside(box, 1.2), 1.0 - 0.7 * _inside(walls, 1.0)), floor))


def _scanned(hu: Grid, seed: int, index: int) -> NDArray[np.int16]:
    """What a scanner adds: a blur, and noise with the grain of a soft kernel, more of it through bone."""
    rng = np.random.default_rng((seed, 1000, index))
    grain = _blurred(rng.normal(0.0, 1.0, hu.shape).astype(np.float32), 0.9)
    grain *= _NOISE_HU / float(grain.std())
    image = _blurred(hu, 0.8)
    quiet = np.where(image < -900.0, 0.8, 1.0).astype(np.float32)
    return np.clip(np.rint(image + grain * quiet), -1024, 3071).astype(np.int16)


def _blurred(values: Grid, radius: float) -> Grid:
    """Gaussian blur by `radius` pixels, edges kept: separable, five taps."""
    weights = np.exp(-0.5 * (np.arange(-2, 3) / radius) ** 2)
    taps = [float(weight) for weight in weights / weights.sum()]
    for axis in (0, 1):
        padded = np.pad(values, [(2, 2) if one == axis else (0, 0) for one in (0, 1)], mode="edge")
        blurred = np.zeros_like(values)
        for start, tap in enumerate(taps):
            rows = slice(start, start + values.shape[0]) if axis == 0 else slice(None)
            columns = slice(start, start + values.shape[1]) if axis == 1 else slice(None)
            blurred += tap * padded[rows, columns]
        values = blurred
    return values
