"""Blood painted into heads that have none, where the network misses it most: thin, along skull and falx.

Machines draw large bleeds well and thin ones badly, so that the place of thin blood is seldom taught. Painted
blood has a place that is known to the pixel. Shapes are simple: a crescent (subdural) and a lens (epidural)
under the skull, a band along the falx (subdural), and filled sulci (subarachnoid).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from cruor.training.prepare.store import LABELS

Pixels = NDArray[np.bool_]

BONE_HU, BELOW_WHITE_HU, LEAST_BONE_HU = 77.0, 4.0, 60.0
"""Above the first it is bone; where a picture of a window ends lower, above its white less the second.
Nothing is painted there, and no painted blood is brighter. Below the third there is no bone."""

AIR_HU, BRAIN_HU = 10.0, (15.0, 60.0)
"""Below the first is no tissue; between the others is brain."""

LEAST_INSIDE, LEAST_TISSUE = 0.12, 0.6
"""Of a crop the share that must lie inside the skull, and of that the share of tissue: else the slice is of
the base of the skull or of its vertex, or not of a head, and nothing is painted."""

FEWEST_BRAIN = 200
"""Pixels of brain, of a crop of REFERENCE_SIDE, from which its HU and grain are taken."""

REFERENCE_SIDE = 144
"""Lengths and areas are in pixels of a crop of this side, on which a head is about 180 mm."""

FEWEST_PAINTED = 10
"""Pixels that a bleed has at least."""

BRIGHTER_HU = (9.0, 38.0)
"""So much brighter than the brain is blood."""

LEAST_CHANGE_HU = 4.0
"""By so much at least is the slice changed, in half of the painted pixels, unless the blood is old: under
the skull, the rim of bone may be as bright as blood."""

FLUID_DARKER_HU = 7.0
"""So much darker than the brain is fluid, at least."""

LONG, UPRIGHT_DEGREES = 1.2, 35.0
"""The spread of a head along its long axis is at least so many times that across it (a tenth longer), and the
axis no farther from up and down: else it is not the falx that lies along it."""

OLD_HU, OLD_SHARE, OLD_FROM = (-12.0, 9.0), 0.1, 3.0
"""HU beside the brain's of old blood, what share of crescents is old, and how thick these are at least."""


@dataclass(frozen=True, eq=False)
class Head:
    """What of a slice is needed to paint in it.

    Attributes:
        hu: (s, s) float32.
        bone_hu: above it is bone.
        inside: what lies within the skull, (s, s).
        depth: distance to the skull within it, pixels.
        brain: pixels of brain away from the skull.
        brain_hu: their median.
        centre: row and column of the middle of `inside`.
        unit: pixels for one of REFERENCE_SIDE.
    """

    hu: NDArray[np.float32]
    bone_hu: float
    inside: Pixels
    depth: NDArray[np.float64]
    brain: Pixels
    brain_hu: float
    centre: tuple[float, float]
    unit: float


@dataclass(frozen=True, eq=False)
class Bleed:
    """A form to be filled.

    Attributes:
        form: its pixels, (s, s).
        subtype: of LABELS.
        old: its HU are about the brain's, or below.
    """

    form: Pixels
    subtype: str
    old: bool = False


def paint_bleeds(hu: Tensor, labels: Tensor, blood: Tensor, share: float) -> tuple[Tensor, Tensor, Tensor]:
    """Paint a bleed into a share of the slices without hemorrhage of a batch.

    Args:
        hu: (n, 1, s, s).
        labels: (n, outputs), 1, 0 or NaN, in the order of LABELS.
        blood: (n, 1, s, s) in 0..1, below 0 where nothing is known.
        share: of the negative slices; those in which nothing can be painted stay as they are.

    Returns:
        The same three, changed copies: a painted slice has `any` and its subtype, no other, and the painted
        pixels as blood.
    """
    if share == 0:  # draws no chance: older experiments keep their numbers
        return hu, labels, blood
    hu, labels, blood = hu.clone(), labels.clone(), blood.clone()
    rng = np.random.default_rng(int(torch.randint(2**31, (1,))))
    for row in torch.nonzero(labels[:, 0] == 0)[:, 0].tolist():
        if rng.random() >= share:
            continue
        painted = paint(hu[row, 0].cpu().numpy(), rng)
        if painted is None:
            continue
        changed, form, subtype = painted
        hu[row, 0], blood[row, 0] = torch.from_numpy(changed).to(hu), torch.from_numpy(form).to(blood)
        labels[row] = 0
        labels[row, [0, LABELS.index(subtype)]] = 1
    return hu, labels, blood


def paint(
    hu: NDArray[np.float32], rng: np.random.Generator
) -> tuple[NDArray[np.float32], Pixels, str] | None:
    """Paint one bleed into a slice, (s, s) HU.

    Returns:
        The changed slice, the pixels of the bleed, and its subtype; None where there is no room for one.
    """
    head = find_head(hu)
    if head is None:
        return None
    bleed = SHAPES[int(rng.choice(len(SHAPES), p=SHAPE_SHARES))](head, rng)
    if bleed is None or bleed.form.sum() < FEWEST_PAINTED * head.unit**2:
        return None
    soft = ndimage.gaussian_filter(bleed.form.astype(np.float32), rng.uniform(0.4, 0.9) * head.unit)
    soft = soft * (ndimage.binary_dilation(head.inside) & (hu <= head.bone_hu))
    painted = hu * (1 - soft) + _filling(head, bleed, rng) * soft
    if not bleed.old:
        painted = np.maximum(painted, hu)  # fresh blood makes nothing darker
    lies = soft > 0.5
    if not lies.any() or (not bleed.old and np.median((painted - hu)[lies]) < LEAST_CHANGE_HU):
        return None
    return painted.astype(np.float32), lies, bleed.subtype


def find_head(hu: NDArray[np.float32]) -> Head | None:
    """What lies within the skull of a slice, (s, s) HU; None where that cannot be told, or is no brain."""
    unit = len(hu) / REFERENCE_SIDE
    bone_hu = min(BONE_HU, float(hu.max()) - BELOW_WHITE_HU)
    if bone_hu < LEAST_BONE_HU:
        return None
    bone = hu > bone_hu
    closing, opening = max(1, round(3 * unit)), max(1, round(2 * unit))
    rim = closing + 1  # closing would else take the border for bone
    closed = ndimage.binary_closing(np.pad(bone, rim), iterations=closing)[rim:-rim, rim:-rim]
    inside = ndimage.binary_opening(ndimage.binary_fill_holes(closed) & ~bone, iterations=opening)
    parts, count = ndimage.label(inside)
    if count == 0:
        return None
    inside = ndimage.binary_fill_holes(parts == 1 + np.bincount(parts.ravel())[1:].argmax())
    tissue = inside & (hu > AIR_HU) & ~bone
    if inside.mean() < LEAST_INSIDE or tissue.sum() < LEAST_TISSUE * inside.sum():
        return None
    depth = ndimage.distance_transform_edt(inside)
    brain = inside & (depth > 6 * unit) & (hu > BRAIN_HU[0]) & (hu < BRAIN_HU[1])
    if brain.sum() < FEWEST_BRAIN * unit**2:
        return None
    row, column = ndimage.center_of_mass(inside)
    return Head(
        hu, bone_hu, inside, depth, brain, float(np.median(hu[brain])), (float(row), float(column)), unit
    )


def crescent(head: Head, rng: np.random.Generator) -> Bleed:
    """Subdural blood: long and thin under the skull."""
    width, thickness = rng.uniform(20, 75), float(np.exp(rng.uniform(np.log(1.6), np.log(9))))
    share = np.clip(_degrees_from(head, rng) / width, 0, 1)
    form = _under_skull(head, thickness * np.cos(np.pi / 2 * share) ** 0.5)
    return Bleed(form, "subdural", old=thickness > OLD_FROM and rng.random() < OLD_SHARE)


def lens(head: Head, rng: np.random.Generator) -> Bleed:
    """Epidural blood: short and thick under the skull."""
    width, thickness = rng.uniform(8, 30), float(np.exp(rng.uniform(np.log(2), np.log(11))))
    share = np.clip(_degrees_from(head, rng) / width, 0, 1)
    return Bleed(_under_skull(head, thickness * (1 - share**2)), "epidural")


def beside_falx(head: Head, rng: np.random.Generator) -> Bleed | None:
    """Subdural blood along the falx; none where the head is round or its long axis is not upright."""
    rows, columns = np.indices(head.hu.shape) - np.array(head.centre)[:, None, None]
    places = np.stack([rows[head.inside], columns[head.inside]])
    spread, axes = np.linalg.eigh(places @ places.T)
    across, along = axes.T
    lying = np.degrees(np.arctan2(abs(along[1]), abs(along[0])))
    if spread[1] < LONG * spread[0] or lying > UPRIGHT_DEGREES:
        return None
    length = along[0] * rows + along[1] * columns
    ends = length[head.inside].min(), length[head.inside].max()
    middle, half = rng.uniform(*ends), rng.uniform(0.08, 0.3) * (ends[1] - ends[0])
    thickness = float(rng.uniform(1.2, 3.2))
    share = np.clip(np.abs(length - middle) / half, 0, 1)
    aside = across[0] * rows + across[1] * columns - rng.uniform(-1.5, 1.5) * head.unit
    band = np.abs(aside) <= thickness * head.unit * (1 - share**2) ** 0.5
    return Bleed(head.inside & band & (share < 1), "subdural")


def in_sulci(head: Head, rng: np.random.Generator) -> Bleed | None:
    """Subarachnoid blood: in place of fluid near the surface, within some distance of a point of it."""
    smooth = ndimage.gaussian_filter(head.hu, 0.7 * head.unit)  # noise alone is no fluid
    fluid = head.inside & (smooth > 0) & (smooth < head.brain_hu - FLUID_DARKER_HU)
    fluid &= head.depth < 25 * head.unit
    points = np.argwhere(fluid & (head.depth > head.unit))
    if len(points) < 2 * FEWEST_PAINTED * head.unit**2:
        return None
    rows, columns = np.indices(head.hu.shape) - points[rng.integers(len(points))][:, None, None]
    near = np.hypot(rows, columns) < rng.uniform(6, 24) * head.unit
    return Bleed(fluid & near, "subarachnoid")


SHAPES: tuple[Callable[[Head, np.random.Generator], Bleed | None], ...] = (
    crescent,
    lens,
    beside_falx,
    in_sulci,
)
SHAPE_SHARES = (0.35, 0.3, 0.2, 0.15)
"""How often each is painted."""


def _degrees_from(head: Head, rng: np.random.Generator) -> NDArray[np.float64]:
    """How far each pixel lies from a direction drawn at random, seen from the centre, degrees, (s, s)."""
    rows, columns = np.indices(head.hu.shape) - np.array(head.centre)[:, None, None]
    turned = np.degrees(np.arctan2(rows, columns)) - rng.uniform(-180, 180)
    return np.asarray(np.abs((turned + 180) % 360 - 180))


def _under_skull(head: Head, thickness: NDArray[np.float64]) -> Pixels:
    """Pixels within a thickness, (s, s) in pixels of REFERENCE_SIDE, of the skull."""
    return np.asarray(head.inside & (head.depth <= thickness * head.unit))


def _filling(head: Head, bleed: Bleed, rng: np.random.Generator) -> NDArray[np.float64]:
    """HU of blood, (s, s): a level that changes a little from place to place, with the grain of the brain."""
    level = head.brain_hu + rng.uniform(*(OLD_HU if bleed.old else BRIGHTER_HU))
    grain = np.clip(head.hu - ndimage.gaussian_filter(head.hu, 1.5 * head.unit), -15, 15)
    grain = np.where(head.brain, grain, rng.choice(grain[head.brain], head.hu.shape))
    place = np.array(ndimage.center_of_mass(bleed.form)) - head.centre
    grain = np.roll(grain, tuple(place.astype(int)), (0, 1))
    slope = ndimage.gaussian_filter(rng.normal(size=head.hu.shape), 8 * head.unit)
    return np.asarray(np.minimum(level + grain + 4 * slope / (slope.std() + 1e-6), head.bone_hu))
