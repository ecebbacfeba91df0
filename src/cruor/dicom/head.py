"""What a slice shows, by its pixels alone: a head, a skull round a brain, a skull round nothing.

All of it works on a coarse grid of cell means: fast, and the noise of thin slices and sharp kernels averages
out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cruor.dicom.pixels import AIR_HU

GRID = 128
"""Cells along the longer side of the coarse grid: about 2 mm a cell in a head CT."""

TISSUE_HU = -350
"""A cell whose mean is above this holds tissue. Foam and thin shells of headrests stay below."""

BONE_HU = 200
"""A cell whose mean is above this holds bone: thin infant skulls included, fresh blood (below 100) not."""

BRAIN_HU = (-10, 90)
"""Means of cells of brain, cerebrospinal fluid and blood; a little wider than 0 to 80 for noise and shift."""

BONE_KERNEL_NOISE_HU = 10.0
"""Above this `noise_hu` a kernel is sharp: 0.6 to 3.6 HU were measured in soft kernels, 13 to 22 in sharp."""

SOFT_TOP_HU = 130
"""Soft tissue and the plastics that stand for it in phantoms are below this."""

RAYS = 72
"""Directions from the middle of the head in which the skull is looked for: every 5 degrees."""

LEAST_SKIN_SHARE = 0.7
"""Bone counts as skull where it lies this far out between the middle and the skin: spines lie further in."""

LEAST_RING = 0.6
"""Share of directions with skull. A craniectomy may lack a third; ribs and jaws close less."""

LEAST_BRAIN_SHARE = 0.5
"""Share of the skull's inside in the range of brain: skull base and face hold more air and bone."""

LEAST_INSIDE_MM2, GREATEST_INSIDE_MM2 = 1200.0, 32000.0
"""Area inside the skull: from a finger's breadth at the vertex to above the largest head."""

LEAST_INSIDE_CELLS = 60
"""The same lower bound where the pixel spacing is not known, in cells of the coarse grid."""

PHANTOM_AIR_SHARE = 0.5
"""More air than this inside a skull is no patient: an empty shell (air after surgery fills far less)."""

PHANTOM_SPREAD_HU = 3.0
"""Cell means of a brain spread by more (fluid, grey and white matter); those of water or gel do not."""


@dataclass(frozen=True)
class Inside:
    """What lies inside the skull of one slice.

    Attributes:
        ring: share of directions from the middle of the head in which there is skull near the skin, 0 to 1.
        cells: cells of the coarse grid inside the skull.
        area_mm2: their area, None where the pixel spacing is not known.
        brain_share: share of them whose mean lies in BRAIN_HU.
        air_share: share of them below -500 HU.
        spread_hu: half the distance between the 10th and the 90th percentile of the means in BRAIN_HU, HU.
        brain_hu: median of the means in BRAIN_HU, HU.
    """

    ring: float
    cells: int
    area_mm2: float | None
    brain_share: float
    air_share: float
    spread_hu: float
    brain_hu: float = 0.0


def cell_size(shape: tuple[int, ...]) -> int:
    """Pixels along one side of a cell of the coarse grid for a slice of this shape."""
    return -(-max(shape) // GRID)


def cell_means(hu: NDArray[np.int16]) -> NDArray[np.float32]:
    """Average a slice over square cells.

    Args:
        hu: int16, (rows, columns), HU, padding set to air.

    Returns:
        float32, (rows / cell, columns / cell) rounded up, mean HU; below air and above 1500 HU is clipped
        first, so that neither padding nor metal spreads.
    """
    cell = cell_size(hu.shape)
    rows, columns = (-(-side // cell) * cell for side in hu.shape)
    whole = np.full((rows, columns), AIR_HU, dtype=np.int16)
    np.clip(hu, AIR_HU, 1500, out=whole[: hu.shape[0], : hu.shape[1]])
    # Along rows first: numpy sums whole rows fast, and short last axes slowly.
    summed = whole.reshape(rows // cell, cell, columns).sum(axis=1, dtype=np.int32)
    means = summed.reshape(rows // cell, columns // cell, cell).sum(axis=2) / (cell * cell)
    result: NDArray[np.float32] = means.astype(np.float32)
    return result


def head_mask(hu: NDArray[np.int16], above_hu: float = TISSUE_HU) -> NDArray[np.bool_]:
    """Find the head: the largest connected blob of tissue and bone; headrest, table and tubes are left out.

    Args:
        hu: int16, (rows, columns), HU, padding set to air.
        above_hu: cells whose mean is above it are looked at. Where HU are known in a window only, air and fat
            are its lowest value, and this must be above that.

    Returns:
        bool, the coarse grid of `cell_means`; all False where there is no tissue.
    """
    return _mask_of(cell_means(hu), above_hu)


def inside_skull(hu: NDArray[np.int16], pixel_spacing: tuple[float, float] | None) -> Inside:
    """Measure what lies inside the skull of a slice.

    The skull is looked for along rays from the middle of the head: that bridges gaps (craniectomy, sutures,
    burr holes), which a filled ring would leak through.

    Args:
        hu: int16, (rows, columns), HU, padding set to air.
        pixel_spacing: (between rows, between columns) in mm, or None.

    Returns:
        Inside; all zero where there is no head.
    """
    means = cell_means(hu)
    mask = _mask_of(means)
    if not mask.any():
        return Inside(0.0, 0, None if pixel_spacing is None else 0.0, 0.0, 0.0, 0.0)
    ring, inside = _inside_cells(means, mask)
    values = means[inside]
    area = None
    if pixel_spacing is not None:
        area = len(values) * cell_size(hu.shape) ** 2 * pixel_spacing[0] * pixel_spacing[1]
    if not len(values):
        return Inside(ring, 0, area, 0.0, 0.0, 0.0)
    brain = values[(values >= BRAIN_HU[0]) & (values <= BRAIN_HU[1])]
    low, middle, high = np.percentile(brain, [10, 50, 90]) if len(brain) else (0.0, 0.0, 0.0)
    air = float((values < -500).mean())
    return Inside(
        ring, len(values), area, len(brain) / len(values), air, float(high - low) / 2, float(middle)
    )


def has_brain(found: Inside) -> bool:
    """Whether there is a skull, a ring of bone near the skin, with brain in most of its inside."""
    return has_skull(found) and found.brain_share >= LEAST_BRAIN_SHARE


def has_skull(found: Inside) -> bool:
    """Whether there is a skull, of the size of one where that is known, whatever it holds."""
    if found.ring < LEAST_RING:
        return False
    if found.area_mm2 is None:
        return found.cells >= LEAST_INSIDE_CELLS
    return LEAST_INSIDE_MM2 <= found.area_mm2 <= GREATEST_INSIDE_MM2


def _mask_of(means: NDArray[np.float32], above_hu: float = TISSUE_HU) -> NDArray[np.bool_]:
    opened = _open(means > above_hu)
    return _largest_blob(opened)


def _open(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Morphological opening by a square of three cells: what is thinner goes, headrest shells among it."""
    return _grown(~_grown(~mask, outside=True), outside=False)


def _grown(mask: NDArray[np.bool_], outside: bool) -> NDArray[np.bool_]:
    """Add the eight neighbours of each True cell; what lies beyond the edge is taken as `outside`."""
    padded = np.pad(mask, 1, constant_values=outside)
    tall = padded[:-2] | padded[1:-1] | padded[2:]
    return tall[:, :-2] | tall[:, 1:-1] | tall[:, 2:]


def _largest_blob(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest connected part (four neighbours), by joining the runs of neighbouring rows."""
    edges = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, starts = np.nonzero(edges == 1)
    stops = np.nonzero(edges == -1)[1]
    if not len(rows):
        return mask
    parents = list(range(len(rows)))

    def root(run: int) -> int:
        while parents[run] != run:
            parents[run] = parents[parents[run]]
            run = parents[run]
        return run

    first_of_row = np.searchsorted(rows, np.arange(mask.shape[0] + 1))
    for run, row in enumerate(rows.tolist()):
        for above in range(first_of_row[row - 1] if row else 0, first_of_row[row] if row else 0):
            if starts[above] < stops[run] and starts[run] < stops[above]:
                parents[root(above)] = root(run)
    roots = np.array([root(run) for run in range(len(rows))])
    largest = np.bincount(roots, weights=stops - starts).argmax()
    blob = np.zeros_like(mask)
    for run in np.flatnonzero(roots == largest).tolist():
        blob[rows[run], starts[run] : stops[run]] = True
    return blob


def _inside_cells(means: NDArray[np.float32], mask: NDArray[np.bool_]) -> tuple[float, NDArray[np.bool_]]:
    """Return the share of rays that meet skull, and the cells (coarse grid) inside it."""
    middle = _middle(mask)
    head, bone = _along_rays(mask, middle), _along_rays(mask & (means > BONE_HU), middle)
    steps = np.arange(head.shape[1])
    skin = (head * steps).max(axis=1)
    outer = (bone * steps).max(axis=1)
    skull = bone.any(axis=1) & (outer >= LEAST_SKIN_SHARE * skin)
    if not skull.any():
        return 0.0, np.zeros_like(mask)
    # The inner table: going inwards from the outermost bone, the first step without bone.
    hollow = ~bone & (steps[None] < outer[:, None])
    inner = np.where(hollow.any(axis=1), (hollow * steps).max(axis=1), 0)
    rays = np.arange(RAYS)
    inner = np.interp(rays, rays[skull], inner[skull], period=RAYS)
    rows, columns = np.indices(mask.shape)
    across, down = columns - middle[1], rows - middle[0]
    ray = np.rint(np.arctan2(down, across) * RAYS / (2 * np.pi)).astype(np.int64) % RAYS
    return float(skull.mean()), np.hypot(across, down) < inner[ray] - 0.5


def _middle(mask: NDArray[np.bool_]) -> tuple[float, float]:
    """The middle of the box round the head: a centroid would be drawn to where there is more tissue."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return float(rows[0] + rows[-1]) / 2, float(columns[0] + columns[-1]) / 2


def _along_rays(grid: NDArray[np.bool_], middle: tuple[float, float]) -> NDArray[np.bool_]:
    """Read a grid along rays from the middle outwards: (RAYS, steps), a step of one cell, False outside."""
    angles = np.arange(RAYS) * 2 * np.pi / RAYS
    steps = np.arange(int(np.hypot(*grid.shape)))
    rows = np.rint(middle[0] + np.outer(np.sin(angles), steps)).astype(np.int64)
    columns = np.rint(middle[1] + np.outer(np.cos(angles), steps)).astype(np.int64)
    within = (rows >= 0) & (rows < grid.shape[0]) & (columns >= 0) & (columns < grid.shape[1])
    read: NDArray[np.bool_] = np.zeros(rows.shape, dtype=np.bool_)
    read[within] = grid[rows[within], columns[within]]
    return read


def noise_hu(hu: NDArray[np.int16], mask: NDArray[np.bool_]) -> float:
    """Estimate the noise of single pixels in soft tissue, which is several times higher in a bone kernel.

    Second differences along rows drop anatomy and keep what changes from pixel to pixel; the median of their
    size ignores edges. Smooth kernels leave little there, sharp ones enhance just that.

    Args:
        hu: int16, (rows, columns), HU.
        mask: bool, the coarse grid of `cell_means`: cells of soft tissue.

    Returns:
        HU; nan where the mask is empty.
    """
    cell = cell_size(hu.shape)
    pixels = np.repeat(np.repeat(mask, cell, axis=0), cell, axis=1)[: hu.shape[0], : hu.shape[1]]
    wide = hu.astype(np.int32)
    second = np.abs(2 * wide[:, 1:-1] - wide[:, :-2] - wide[:, 2:])[pixels[:, 1:-1]]
    if not second.size:
        return float("nan")
    # 1.4826 turns a median deviation into a standard one; weights 1, -2, 1 make it sqrt(6) times as large.
    return float(np.median(second)) * 1.4826 / 6**0.5


def soft_cells(hu: NDArray[np.int16]) -> NDArray[np.bool_]:
    """Find cells of even soft tissue in the head (coarse grid): in the range of brain, and so around."""
    means = cell_means(hu)
    soft = (means >= BRAIN_HU[0]) & (means <= SOFT_TOP_HU) & _mask_of(means)
    return ~_grown(~soft, outside=True)


def looks_like_phantom(slices: Sequence[Inside]) -> str | None:
    """Say why a head is no patient's: its skull holds air, or one even filling, in most slices with a skull.

    Args:
        slices: what `inside_skull` measured in slices of one series.

    Returns:
        One clause with the numbers it rests on, None for a patient or where no slice has a skull.
    """
    skulls = [found for found in slices if has_skull(found)]
    if not skulls:
        return None
    hollow = [found.air_share for found in skulls if found.air_share > PHANTOM_AIR_SHARE]
    if 2 * len(hollow) > len(skulls):
        share = f"{min(hollow):.0%} to {max(hollow):.0%}"
        return f"the skull holds air ({share} in {len(hollow)} of {len(skulls)} slices)"
    filled = [found.spread_hu for found in skulls if found.brain_share >= LEAST_BRAIN_SHARE]
    even = [spread for spread in filled if spread < PHANTOM_SPREAD_HU]
    if 2 * len(even) > len(skulls):
        where = f"in {len(even)} of {len(skulls)} slices"
        return f"the inside of the skull is uniform (within {max(even):.1f} HU {where})"
    return None
