"""`cruor explain --data`: how often the hottest point lies in the bleed, beside chance, for both forms."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import distance_transform_edt

from cruor.bundle.manifest import OperatingPoint
from cruor.dicom.head import cell_size
from cruor.preprocessing.crop import Box, shown_mask, take_square
from cruor.reader.study_head import study_probability
from cruor.report.files import write_atomically
from cruor.report.panels import resized
from cruor.report.text import RESEARCH_ONLY
from cruor.training.data import why_unreadable
from cruor.training.evaluation.metrics import Estimate, bootstrap, called_share
from cruor.training.explain.cam import Heat, agreement, hottest_point
from cruor.training.explain.explainer import Explainer
from cruor.training.explain.panel import maps_sentence, own_map_sentence
from cruor.training.explain.study import CSV_NAME, JSON_NAME, LIBRARY
from cruor.training.prepare.store import StoredSlice, read_index, read_slice

MASK, DRAWN, BOX = "mask by a human", "drawn by a machine", "box by a human"
"""What is known of where the bleed is; each is reported by itself."""

DRAWN_FROM = 128
"""A drawn pixel counts as blood from half of 255 on."""

BRAIN_WINDOW_HU = (0, 80)

HALF = 0.5
"""Of a map counts what is at least this share of its peak."""

Blood = NDArray[np.bool_]


@dataclass(frozen=True)
class PointedSlice:
    """One form of the map on one slice: a line of explain.csv.

    Attributes:
        truth: how the bleed's place is known: MASK, DRAWN or BOX.
        form: library or exact.
        hit: whether the hottest point lies in the bleed; a map that is cold everywhere does not hit.
        chance: share of the head's area in the box that is bleed: how often a point of the head, drawn
            blindly, hits.
        near, near_chance: the same for the bleed with a rim of half a cell of the map: a map of 8 x 8 cells
            cannot point more finely.
        inside: share of the map's area above half of its peak that lies in the bleed; 0 for a cold map.
        cold: the map is 0 everywhere.
        peak: the map's hottest value: of a map of blood below one half, nothing was taken for blood.
        probability: of hemorrhage, by the study head as if the slice were a study. (Reading would refuse it.)
        correlation: with the other form; NaN where there is none.
        seconds: for this form.
    """

    source: str
    patient_id: str
    sop_instance_uid: str
    truth: str
    form: str
    hit: bool
    chance: float
    near: bool
    near_chance: float
    inside: float
    cold: bool
    peak: float
    probability: float
    correlation: float
    seconds: float


@dataclass(frozen=True, eq=False)
class _Case:
    """A positive slice whose bleed's place is known: `blood`, (rows, columns), the shape of `hu`."""

    row: Any
    hu: NDArray[np.int16]
    blood: Blood
    truth: str


def _tell_nobody(done: int, total: int) -> None:
    pass


@dataclass(frozen=True)
class Places:
    """The positive slices that are asked for.

    Attributes:
        folders: prepared data.
        boxes: table with `file, x_min, y_min, x_max, y_max`; a slice is found by the file's stem: it is
            the slice's SOP instance UID, with or without an ending.
        most: at most as many slices, drawn by chance with a fixed seed; all where None.
    """

    folders: Sequence[Path]
    boxes: Path | None = None
    most: int | None = None


def point_at_blood(
    places: Places, explainer: Explainer, out: Path, on_slice: Callable[[int, int], None] = _tell_nobody
) -> dict[str, Any]:
    """Explain the positive slices of prepared data whose bleed is known; write explain.json, explain.csv.

    Args:
        places: the slices.
        explainer: the bundle.
        out: folder, made if missing.
        on_slice: told of progress.

    Returns:
        What explain.json holds.

    Raises:
        ValueError: no slice's bleed is known, or heads cannot be found in pictures; the sentence says what
            was looked for.
        BundleError: the rebuilt network differs from the graph on a slice.
    """
    lines = _lines(places, explainer, _point, on_slice)
    return _write(lines, places, explainer, maps_sentence(explainer.bundle.manifest.map_kind), out)


def point_own_map(
    places: Places, explainer: Explainer, out: Path, on_slice: Callable[[int, int], None] = _tell_nobody
) -> dict[str, Any]:
    """`point_at_blood` for the bundle's own map alone, without passes back: hundredths of a second a slice.

    Raises:
        ValueError: as `point_at_blood`, or the bundle has no map of its own.
    """
    bundle = explainer.bundle
    if not bundle.has_maps:
        raise ValueError(f"{bundle.label} has no map of its own; leave out --own-map")
    lines = _lines(places, explainer, _point_own_map, on_slice)
    return _write(lines, places, explainer, own_map_sentence(bundle.manifest.map_kind), out)


def _lines(
    places: Places,
    explainer: Explainer,
    point: Callable[[_Case, Explainer], Iterator[PointedSlice]],
    on_slice: Callable[[int, int], None],
) -> pd.DataFrame:
    """Lines of explain.csv."""
    known = None if places.boxes is None else read_boxes(places.boxes)
    positive = [_positive(folder, known is not None) for folder in places.folders]
    slices = pd.concat(positive, ignore_index=True)
    if reason := why_unreadable(slices, explainer.bundle):
        raise ValueError(reason)
    if places.most is not None and len(slices) > places.most:
        slices = slices.sample(places.most, random_state=1).sort_index()
    points: list[PointedSlice] = []
    for done, case in enumerate(_cases(slices, known), start=1):
        if case is not None:
            points.extend(point(case, explainer))
        on_slice(done, len(slices))
    if not points:
        raise ValueError(
            f"{', '.join(map(str, places.folders))}: no positive slice with a mask, a drawing or a box; "
            "prepare the data with masks or --drawings, or give --boxes"
        )
    return pd.DataFrame(map(asdict, points))


def _write(
    lines: pd.DataFrame, places: Places, explainer: Explainer, what_it_shows: str, out: Path
) -> dict[str, Any]:
    """Write explain.csv and explain.json; what the latter holds."""
    record = {
        "bundle": explainer.bundle.label,
        "layer": explainer.layer_name,
        "library": LIBRARY,
        "data": [folder.name for folder in places.folders],
        "slices": int(lines.groupby(["source", "sop_instance_uid"]).ngroups),
        "figures": [
            asdict(figure) for figure in figures_of(lines, explainer.bundle.manifest.rules.every_point)
        ],
        "intervals": "95 %, 1,000 bootstrap draws of patients",
        "note": f"{what_it_shows} {RESEARCH_ONLY}",
    }
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / CSV_NAME, lines.to_csv(index=False).encode())
    write_atomically(out / JSON_NAME, json.dumps(record, indent=2).encode())
    return record


@dataclass(frozen=True)
class PointingFigure:
    """What one form did on the slices of one source with one kind of truth.

    Attributes:
        hit, near, inside: see `PointedSlice`, with intervals over patients. By chance `inside` would be
            `chance`.
        chance, near_chance: mean over the slices.
        suspected: by operating point, share of the slices whose `probability` reaches it: all are positive,
            so that it is the sensitivity of the rule `probability` on single slices.
    """

    source: str
    truth: str
    form: str
    slices: int
    patients: int
    hit: Estimate
    chance: float
    near: Estimate
    near_chance: float
    inside: Estimate
    cold: int
    suspected: dict[str, Estimate]
    correlation: float | None
    seconds_per_slice: float


def figures_of(table: pd.DataFrame, points: Sequence[OperatingPoint]) -> Iterator[PointingFigure]:
    """Figures by source, kind of truth and form, of lines of `PointedSlice`.

    Args:
        table: of the lines.
        points: of the bundle.
    """
    for (source, truth, form), part in table.groupby(["source", "truth", "form"], sort=False):
        patients = part["patient_id"].to_numpy(dtype=object)
        correlation = float(part["correlation"].mean())
        yield PointingFigure(
            source=str(source),
            truth=str(truth),
            form=str(form),
            slices=len(part),
            patients=int(part["patient_id"].nunique()),
            hit=_mean(part["hit"], patients),
            chance=float(part["chance"].mean()),
            near=_mean(part["near"], patients),
            near_chance=float(part["near_chance"].mean()),
            inside=_mean(part["inside"], patients),
            cold=int(part["cold"].sum()),
            suspected={
                point.name: _mean(part["probability"] >= point.threshold, patients) for point in points
            },
            correlation=None if np.isnan(correlation) else correlation,
            seconds_per_slice=float(part["seconds"].mean()),
        )


def _mean(values: pd.Series[Any], patients: NDArray[np.object_]) -> Estimate:
    """Mean over slices, with its interval over patients."""
    return bootstrap(called_share, np.ones(len(values), dtype=bool), values.to_numpy(dtype=float), patients)


def read_boxes(file: Path) -> dict[str, list[tuple[int, int, int, int]]]:
    """Stem of the picture -> boxes as (x_min, y_min, x_max, y_max), pixels, x right, y down, ends included.

    Raises:
        ValueError: a column is missing.
    """
    table = pd.read_csv(file)
    wanted = ["file", "x_min", "y_min", "x_max", "y_max"]
    missing = [column for column in wanted if column not in table]
    if missing:
        raise ValueError(f"{file}: no column {', '.join(missing)}; wanted: {', '.join(wanted)}")
    boxes: dict[str, list[tuple[int, int, int, int]]] = {}
    for name, *corners in table[wanted].itertuples(index=False):
        left, top, right, bottom = map(int, corners)
        boxes.setdefault(Path(name).stem, []).append((left, top, right, bottom))
    return boxes


@dataclass(frozen=True)
class Score:
    """See `PointedSlice`."""

    hit: bool
    chance: float
    near: bool
    near_chance: float
    inside: float
    cold: bool


def score(heat: Heat, blood: Blood, head: Blood, reach: float) -> Score:
    """Compare a map with the bleed; all three (rows, columns).

    Args:
        heat: >= 0.
        blood: where the bleed is; not empty.
        head: what chance is counted over; the bleed belongs to it.
        reach: pixels: the width of the rim for `near`.
    """
    around = distance_transform_edt(~blood) <= reach
    area = int((head | blood).sum())
    chance, near_chance = float(blood.sum() / area), float((around & (head | blood)).sum() / area)
    point = hottest_point(heat)
    if point is None:
        return Score(False, chance, False, near_chance, 0.0, cold=True)
    hot = heat >= HALF * heat.max()
    inside = float((hot & blood).sum() / hot.sum())
    return Score(bool(blood[point]), chance, bool(around[point]), near_chance, inside, cold=False)


def _positive(folder: Path, with_boxes: bool) -> pd.DataFrame:
    index = read_index(folder)
    index = index[index["any"] == 1]
    if not with_boxes:
        placed = index["drawn"].astype(bool)
        if "masked" in index:
            placed |= index["masked"].astype(bool)
        index = index[placed]
    return index.assign(folder=str(folder))


def _cases(
    slices: pd.DataFrame, boxes: dict[str, list[tuple[int, int, int, int]]] | None
) -> Iterator[_Case | None]:
    """In the order of the table; None where no bleed can be placed."""
    for row in slices.itertuples(index=False):
        stored = read_slice(Path(row.folder), row.file, row.row)
        blood, truth = _blood(str(row.sop_instance_uid), stored, boxes)
        yield _Case(row, stored.hu, blood, truth) if blood.any() else None


def _blood(
    name: str, stored: StoredSlice, boxes: dict[str, list[tuple[int, int, int, int]]] | None
) -> tuple[Blood, str]:
    """Where the bleed is, (rows, columns): by a box where boxes are given, else by mask, else by drawing."""
    shape = stored.hu.shape
    blood = np.zeros(shape, dtype=bool)
    if boxes is not None:
        for left, top, right, bottom in boxes.get(name, boxes.get(Path(name).stem, [])):
            blood[top : bottom + 1, left : right + 1] = True
        return blood, BOX
    if stored.mask is not None:
        return _over(stored.mask, shape, Image.Resampling.NEAREST) > 0, MASK
    if stored.drawn is not None:
        blood = _over(stored.drawn, shape, Image.Resampling.BILINEAR) >= DRAWN_FROM
    return blood, DRAWN


def _over(picture: NDArray[np.uint8], shape: tuple[int, ...], how: Image.Resampling) -> NDArray[np.uint8]:
    """Lay a picture of a slice's field over its pixels."""
    rows, columns = shape
    return np.asarray(Image.fromarray(picture).resize((columns, rows), how))


def _point(case: _Case, explainer: Explainer) -> Iterator[PointedSlice]:
    both, box = explainer.explain(case.hu)
    correlation = None if both.exact is None else agreement(both.library, both.exact).correlation
    told = _told(case, explainer, box, both.logits, math.nan if correlation is None else correlation)
    yield told("library", both.library, both.library_seconds)
    if both.exact is not None:
        yield told("exact", both.exact, both.exact_seconds)


def _point_own_map(case: _Case, explainer: Explainer) -> Iterator[PointedSlice]:
    own, box = explainer.own_map(case.hu)
    if own.heat is not None:
        yield _told(case, explainer, box, own.logits, math.nan)("exact", own.heat, own.seconds)


def _told(
    case: _Case, explainer: Explainer, box: Box, logits: NDArray[np.float32], correlation: float
) -> Callable[[str, Heat, float], PointedSlice]:
    """Form, map and seconds of a slice to its line: what the forms share is worked out once."""
    probability = study_probability(
        explainer.bundle.slice_probabilities(logits[None])[:, 0], explainer.bundle.manifest.study_head
    )
    blood, head = take_square(case.blood, box, 0.0), take_square(_head(case.hu), box, 0.0)

    def line(form: str, heat: Heat, seconds: float) -> PointedSlice:
        return PointedSlice(
            source=case.row.source,
            patient_id=case.row.patient_id,
            sop_instance_uid=case.row.sop_instance_uid,
            truth=case.truth,
            form=form,
            **asdict(score(resized(heat, box.size), blood, head, box.size / explainer.cells / 2)),
            peak=float(heat.max()),
            probability=probability,
            correlation=correlation,
            seconds=seconds,
        )

    return line


def _head(hu: NDArray[np.int16]) -> Blood:
    """The head as a brain window shows it, (rows, columns): alike in slices and pictures, for any bundle."""
    cell = cell_size(hu.shape)
    fine = np.kron(shown_mask(hu, BRAIN_WINDOW_HU), np.ones((cell, cell), dtype=bool))
    return np.asarray(fine[: hu.shape[0], : hu.shape[1]], dtype=bool)
