"""`cruor explain PATH`: a study is read as `cruor triage` reads it, and its slices are explained."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from cruor.dicom.instances import Study, UnreadableError
from cruor.dicom.pixels import read_hu
from cruor.preprocessing.crop import Box
from cruor.reader.results import SliceResult, Status, StudyResult
from cruor.reader.study import read_study
from cruor.report.files import study_folder_name, write_atomically
from cruor.report.text import RESEARCH_ONLY, band
from cruor.training.explain.cam import Agreement, Cams, agreement, hottest_point
from cruor.training.explain.explainer import Explainer
from cruor.training.explain.panel import maps_sentence, render_explanation

JSON_NAME, CSV_NAME = "explain.json", "explain.csv"

MOST_BY_DEFAULT = 6
"""Slices explained of a study unless others are asked for: the library takes seconds for each."""

LEAST_BY_DEFAULT = 3
"""As many where the study has no suspicious slice."""

LIBRARY = "pytorch-grad-cam, aug_smooth, no eigen_smooth"


@dataclass(frozen=True)
class ExplainedSlice:
    """One line of explain.csv.

    Attributes:
        number: 1 is the lowest slice that was read.
        probability: of any hemorrhage, calibrated.
        correlation: of the two maps; None where there is no exact one, or a map is flat.
        apart_pixels, apart_mm: between the hottest points, in pixels of the slice and mm; None where unknown.
        library_row, library_column, exact_row, exact_column: hottest points, pixels of the slice.
        library_seconds, exact_seconds: time for the library's form and for the bundle's forward pass.
        panel: file name.
    """

    number: int
    probability: float
    correlation: float | None
    apart_pixels: float | None
    apart_mm: float | None
    library_row: float | None
    library_column: float | None
    exact_row: float | None
    exact_column: float | None
    library_seconds: float
    exact_seconds: float
    panel: str


@dataclass(frozen=True)
class Asked:
    """Which slices to explain: by number, or every one; where neither, the most suspicious."""

    numbers: tuple[int, ...] = ()
    every: bool = False


def explain_study(
    study: Study,
    explainer: Explainer,
    asked: Asked,
    out: Path,
    on_slice: Callable[[int, int], None] = lambda done, total: None,
) -> str:
    """Read one study, explain its slices, write panels, explain.json and explain.csv below `out`.

    Returns:
        One sentence: what became of it.

    Raises:
        ValueError: the study could not be read, or has no slice of an asked number; a sentence.
        BundleError: the rebuilt network differs from the graph on a slice.
    """
    result = read_study(study, explainer.bundle)
    name = study_folder_name(result.study_instance_uid)
    if result.status != Status.DECIDED:
        raise ValueError(f"{name}: {result.status}: {result.reason}")
    chosen = choose_slices(result, asked)
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    rows, unread = [], []
    for done, one in enumerate(chosen, start=1):
        try:
            rows.append(_explain_slice(one, result, explainer, folder))
        except UnreadableError as error:
            unread.append(f"slice {one.number} not explained: {error}")
        on_slice(done, len(chosen))
    write_atomically(folder / CSV_NAME, _table(rows).encode())
    write_atomically(
        folder / JSON_NAME, json.dumps(_record(result, explainer, rows, unread), indent=2).encode()
    )
    return f"{name}: {_in_words(rows)}; {folder}"


def choose_slices(result: StudyResult, asked: Asked) -> list[SliceResult]:
    """The slices to explain, those of default most suspicious first.

    Raises:
        ValueError: a number that the study does not have.
    """
    by_number = {one.number: one for one in result.slices}
    if asked.every:
        return list(result.slices)
    for number in asked.numbers:
        if number not in by_number:
            raise ValueError(f"no slice {number}: the study has slices 1 to {len(result.slices)}")
    if asked.numbers:
        return [by_number[number] for number in dict.fromkeys(asked.numbers)]
    if result.suspicious:
        return [by_number[number] for number in result.suspicious[:MOST_BY_DEFAULT]]
    return sorted(result.slices, key=lambda one: -one.probability)[:LEAST_BY_DEFAULT]


def _explain_slice(
    one: SliceResult, result: StudyResult, explainer: Explainer, folder: Path
) -> ExplainedSlice:
    hu = read_hu(one.frame)
    both, box = explainer.explain(hu)
    agree = Agreement(None, None) if both.exact is None else agreement(both.library, both.exact)
    spacing = one.frame.pixel_spacing
    library, exact = _in_slice(both.library, box), _in_slice(both.exact, box)
    panel = f"slice-{one.number:03d}.png"
    row = ExplainedSlice(
        number=one.number,
        probability=round(one.probability, 4),
        correlation=_rounded(agree.correlation, 3),
        apart_pixels=_rounded(_distance(agree, (box.size, box.size)), 1),
        apart_mm=None if spacing is None else _rounded(_distance(agree, np.multiply(spacing, box.size)), 1),
        library_row=library[0],
        library_column=library[1],
        exact_row=exact[0],
        exact_column=exact[1],
        library_seconds=round(both.library_seconds, 3),
        exact_seconds=round(both.exact_seconds, 3),
        panel=panel,
    )
    lead = f"Slice {one.number} of {result.slice_count}"
    chance = f"probability of blood {one.probability:.3f} ({band(one.probability)})"
    picture = render_explanation(
        hu,
        box,
        both,
        explainer.bundle.manifest,
        (f"{lead}   {chance}", _second_line(row, explainer, both)),
    )
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=2)
    write_atomically(folder / panel, buffer.getvalue())
    return row


def _second_line(row: ExplainedSlice, explainer: Explainer, both: Cams) -> str:
    parts = [f"{explainer.bundle.label}, layer: {explainer.layer_name}", LIBRARY]
    parts.append(f"{row.library_seconds:.2f} s, forward pass with its map {row.exact_seconds:.2f} s")
    if both.exact is None:
        parts[-1] = f"{row.library_seconds:.2f} s, forward pass {row.exact_seconds:.2f} s"
    if row.correlation is not None:
        parts.append(f"correlation {row.correlation:.2f}")
    if row.apart_pixels is not None:
        apart = f"{row.apart_mm:.0f} mm" if row.apart_mm is not None else f"{row.apart_pixels:.0f} pixels"
        parts.append(f"hottest points {apart} apart")
    return "; ".join(parts)


def _in_slice(heat: np.ndarray[Any, Any] | None, box: Box) -> tuple[float | None, float | None]:
    """Hottest point of a map over a box as row and column of the slice."""
    point = None if heat is None else hottest_point(heat)
    if heat is None or point is None:
        return None, None
    row, column = ((place + 0.5) * box.size / len(heat) - 0.5 for place in point)
    return round(box.top + row, 1), round(box.left + column, 1)


def _distance(agree: Agreement, side: Sequence[float] | np.ndarray[Any, Any]) -> float | None:
    return None if agree.apart is None else float(np.hypot(*np.multiply(agree.apart, side)))


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _table(rows: list[ExplainedSlice]) -> str:
    buffer = io.StringIO()
    table = csv.DictWriter(buffer, [field.name for field in fields(ExplainedSlice)], lineterminator="\n")
    table.writeheader()
    table.writerows(asdict(row) for row in rows)
    return buffer.getvalue()


def _record(
    result: StudyResult, explainer: Explainer, rows: list[ExplainedSlice], unread: list[str]
) -> dict[str, Any]:
    return {
        "study_instance_uid": result.study_instance_uid,
        "series_instance_uid": result.series_instance_uid,
        "bundle": explainer.bundle.label,
        "layer": explainer.layer_name,
        "library": LIBRARY,
        "target": "logit of any hemorrhage",
        "study_probability": result.probability,
        "slices": [asdict(row) for row in rows],
        "not_explained": unread,
        "note": f"{maps_sentence(explainer.bundle.manifest.map_kind)} {RESEARCH_ONLY}",
    }


def _in_words(rows: list[ExplainedSlice]) -> str:
    said = f"{len(rows)} slices explained"
    known = [row.correlation for row in rows if row.correlation is not None]
    if known:
        said += f", correlation of the two maps {np.median(known):.2f} (median)"
    if rows:
        library, exact = (
            sum(getattr(row, f"{form}_seconds") for row in rows) for form in ("library", "exact")
        )
        said += f", {library:.1f} s by the library, {exact:.1f} s by forward pass"
    return said
