"""`cruor evaluate`: predictions in, a folder of figures, tables, curves and one page out."""

from __future__ import annotations

import dataclasses
import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cruor.bundle.model import open_bundle
from cruor.training.evaluation.comparison import compare
from cruor.training.evaluation.curves import (
    Line,
    draw_precision,
    draw_reliability,
    draw_roc,
    draw_table,
    precision_points,
    roc_points,
)
from cruor.training.evaluation.figures import Settings, area, precision_area, slice_cases, study_cases
from cruor.training.evaluation.measure import ancestry, measure, plain
from cruor.training.evaluation.metrics import Estimate
from cruor.training.evaluation.page import write_page
from cruor.training.evaluation.predictions import (
    STUDIES_FILE,
    EvaluationError,
    Predictions,
    Progress,
    load_index,
    read_predictions,
    run_bundle,
    studies_of,
    write_predictions,
)
from cruor.training.evaluation.tables import Table, all_tables, write_csv, write_latex
from cruor.training.splits import SplitError, read_sides

METRICS_FILE = "metrics.json"
TABLE_PICTURES = ("table1_natural", "table1_balanced", "table2", "comparison", "confusion")


@dataclass(frozen=True)
class Request:
    """What `cruor evaluate` was asked for, as typed.

    Attributes:
        bundle, data, split, side: a bundle on prepared folders, or on the patients of one side of a split.
        predictions: instead of them, what an evaluation or a cross-validation has kept.
        against: a second bundle, or a second file of predictions.
        thresholds: numbers with commas between.
    """

    out: Path
    bundle: str | None
    data: tuple[Path, ...]
    predictions: Path | None
    against: str | None
    split: Path | None
    side: str
    thresholds: str
    slice_threshold: float
    prevalence: float
    rounds: int


def evaluate_request(request: Request, progress: Progress = lambda done, total: None) -> Path:
    """Do what `cruor evaluate` was asked for; return the page.

    Raises:
        EvaluationError: the request does not fit together, or something named in it cannot be used.
        BundleError: a bundle cannot be used.
    """
    settings = _settings(request)
    if request.predictions is not None:
        if request.bundle or request.data or request.split:
            raise EvaluationError("--predictions stands alone: take --bundle, --data and --split away")
        opened = [open_predictions(request.predictions)]
        opened += [open_predictions(Path(request.against))] if request.against else []
    elif request.bundle and request.data:
        side = None if request.split is None else Side(request.split, request.side)
        names = [request.bundle, *([request.against] if request.against else [])]
        opened = [predict(name, request.data, side, progress) for name in names]
    else:
        raise EvaluationError("name --bundle and --data, or --predictions")
    second = opened[1] if len(opened) > 1 else None
    return write_evaluation(opened[0], second, request.out, settings, _command(request))


def _settings(request: Request) -> Settings:
    try:
        thresholds = tuple(float(part) for part in request.thresholds.split(","))
    except ValueError as error:
        raise EvaluationError(f"--thresholds {request.thresholds!r}: numbers with commas between") from error
    shares = {
        "--thresholds": thresholds,
        "--slice-threshold": (request.slice_threshold,),
        "--prevalence": (request.prevalence,),
    }
    for option, values in shares.items():
        if not all(0 < value < 1 for value in values):
            raise EvaluationError(f"{option}: numbers between 0 and 1, without the ends")
    if request.rounds < 1:
        raise EvaluationError("--rounds: at least 1")
    return Settings(thresholds, request.slice_threshold, request.prevalence, request.rounds)


def _command(request: Request) -> str:
    """The request as a command that makes the same again."""
    parts = ["cruor", "evaluate"]
    for field in dataclasses.fields(request):
        value = getattr(request, field.name)
        if field.name == "side" and request.split is None:
            continue
        for item in value if isinstance(value, tuple) else (value,):
            if item is not None:
                parts += [f"--{field.name.replace('_', '-')}", str(item)]
    return shlex.join(parts)


@dataclass(frozen=True)
class Side:
    """Part of the data by a split file: the patients of one side."""

    split: Path
    side: str


def predict(
    bundle_name: str,
    folders: tuple[Path, ...],
    side: Side | None = None,
    progress: Progress = lambda done, total: None,
) -> Predictions:
    """Read prepared folders with a bundle.

    Raises:
        EvaluationError: nothing to read, or a folder or split that cannot be used.
        BundleError: the bundle cannot be used.
    """
    bundle = open_bundle(bundle_name)
    index = load_index(folders)
    if side is not None:
        index = index[index["patient_id"].isin(_patients_of(side))]
    predictions = run_bundle(bundle, index, progress)
    chosen = None if side is None else {"file": str(side.split), "side": side.side}
    data = {"data": [str(folder) for folder in folders], "split": chosen}
    return dataclasses.replace(predictions, made_by=predictions.made_by | data)


def _patients_of(side: Side) -> set[str]:
    try:
        sides = read_sides(side.split)
    except SplitError as error:
        raise EvaluationError(str(error)) from error
    patients = set(sides.index[sides == side.side])
    if not patients:
        known = ", ".join(sorted(sides.dropna().unique()))
        raise EvaluationError(f"{side.split}: no patient on side {side.side!r}; its sides: {known}")
    return patients


def open_predictions(file: Path) -> Predictions:
    """Predictions kept by an evaluation or a cross-validation.

    Raises:
        EvaluationError: the file is neither.
    """
    predictions = read_predictions(file)
    return dataclasses.replace(predictions, made_by=predictions.made_by | {"predictions": str(file)})


def write_evaluation(
    first: Predictions, second: Predictions | None, out: Path, settings: Settings, command: str
) -> Path:
    """Measure and write everything into `out`; return the page.

    Args:
        first: what is evaluated.
        second: what it is compared with on the same slices, if anything.
        out: made if missing.
        settings: thresholds, prevalence, bootstrap.
        command: as typed, for the ancestry.
    """
    out.mkdir(parents=True, exist_ok=True)
    write_predictions(first, out)
    studies = studies_of(first.slices, settings.slice_threshold)
    studies.to_csv(out / STUDIES_FILE, index=False, float_format="%.6g")
    metrics = measure(first, settings) | ancestry(first, second, command)
    if second is not None:
        metrics["comparison"] = compare(first, second, settings)
    tables = all_tables(metrics)
    for table in tables:
        write_csv(table, out)
        write_latex(table, out)
        if table.name in TABLE_PICTURES:
            draw_table(table, out / f"{table.name}.png")
    pictures = draw_curves(first, second, metrics, settings, out)
    text = json.dumps(plain(metrics), indent=2, allow_nan=False)
    (out / METRICS_FILE).write_text(text + "\n", encoding="utf-8")
    return write_page(metrics, tables, pictures, out)


def draw_curves(
    first: Predictions,
    second: Predictions | None,
    metrics: dict[str, Any],
    settings: Settings,
    out: Path,
) -> dict[str, Path]:
    """Draw what can be drawn, with its points as CSV; return title -> picture."""
    pictures: dict[str, Path] = {}
    for what in ("slice", "study"):
        lines = [line for one in (first, second) if one for line in _lines(one, what, settings)]
        if not lines:
            continue
        roc, precision = out / f"roc_{what}.png", out / f"precision_recall_{what}.png"
        draw_roc([line for line, _ in lines], roc)
        draw_precision([dataclasses.replace(line, area=found) for line, found in lines], precision)
        pictures |= {f"ROC, {what}": roc, f"Precision and recall, {what}": precision}
        roc_points(lines[0][0].cases).to_csv(roc.with_suffix(".csv"), index=False, float_format="%.6g")
        precision_points(lines[0][0].cases).to_csv(
            precision.with_suffix(".csv"), index=False, float_format="%.6g"
        )
    rows = [row for row in metrics["calibration"] if row["curve"]]
    if rows:
        draw_reliability(rows, out / "reliability.png")
        pictures["Reliability"] = out / "reliability.png"
        write_csv(_curve_table(rows), out)
    return pictures


def _lines(predictions: Predictions, what: str, settings: Settings) -> list[tuple[Line, Estimate]]:
    """The curve of a network, if it can be drawn: line with its ROC-AUC, and its average precision."""
    if what == "slice":
        cases = slice_cases(predictions.slices)
    else:
        cases = study_cases(studies_of(predictions.slices, settings.slice_threshold))
    line = Line(predictions.name, cases, area(cases, settings).bootstrap)
    return [(line, precision_area(cases, settings))] if line.drawable else []


def _curve_table(rows: list[dict[str, Any]]) -> Table:
    return Table(
        "reliability",
        "Reliability",
        "Exact binomial intervals; cases are taken as independent.",
        ("what", "classes alike", "from", "to", "mean probability", "share", "cases"),
        tuple(
            (
                row["what"],
                row["classes_alike"],
                point["from"],
                point["to"],
                f"{point['probability']:.6g}",
                point["share"],
                point["cases"],
            )
            for row in rows
            for point in row["curve"]
        ),
    )
