"""The learning curve: figures against the number of patients who taught, and how many a bar would need.

The error of learning machines falls about as a power of the number of examples (Hestness 2017,
arXiv:1712.00409): with two logarithmic axes, 1 - ROC-AUC against patients is near a straight line. How
steep it is, is measured.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from numpy.typing import NDArray
from rich.table import Table

from cruor.training.crossval_table import (
    BY_FOLDS,
    by_source,
    cases_of,
    check_together,
    scored_slices,
    scored_sources,
    without,
)
from cruor.training.evaluation.curves import COLOURS, FAINT, STYLE
from cruor.training.evaluation.figures import Cases
from cruor.training.evaluation.metrics import (
    ROUNDS,
    Estimate,
    patient_draws,
    percentiles,
    roc_auc,
    undefined,
    with_width,
)
from cruor.training.evaluation.tables import RESEARCH_ONLY, cell_text
from cruor.training.experiment import Experiment, ExperimentError, load_experiment
from cruor.training.runs import EXPERIMENT_FILE, LEFT_OUT, OUT_OF_FOLD, crossvalidation_files
from cruor.training.splits import rows_of_some
from cruor.training.together import check_table, held_out_slices

CURVE_TABLE, CURVE_PICTURE = "learning_curve.csv", "learning_curve.png"

SLICES, STUDIES = "slices", "studies"

STEP = 3
"""How much more patients: a curve is told by the error with STEP times as many, over that with as many."""

MOST_TIMES = 1000
"""Times the patients there are; more is told as "over 1000"."""

MANY = 1e300
"""A line that falls ever so slowly needs many, not endless times the patients."""

PANELS_ACROSS = 3

TITLE_WIDTH = 44
"""Characters that fit above a panel."""

TICKS = (0.99, 0.98, 0.97, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5)
"""ROC-AUC that are named at the side, where there is room."""

ROOM = 0.07
"""Share of an axis between two names at its side."""

BESIDE = 1.09
"""Runs taught by as many patients are drawn beside each other: so many times further right."""


@dataclass(frozen=True)
class Scored:
    """What is measured: SLICES or STUDIES of a source, and how its patients were held out, in words."""

    source: str
    unit: str
    held_out: str

    @property
    def name(self) -> str:
        """As `--bar` takes it: `ct-ich slices`, or `ct-ich slices without ct-ich`."""
        how = "" if self.held_out == BY_FOLDS else f" {self.held_out}"
        return f"{self.source} {self.unit}{how}"


@dataclass(frozen=True)
class Point:
    """One run on a curve: its code, the patients who taught it (a mean over its folds) and its ROC-AUC."""

    run: str
    patients: int
    area: Estimate


@dataclass(frozen=True)
class LearningCurve:
    """ROC-AUC at several numbers of patients who taught.

    Attributes:
        scored: what is measured.
        cases, positive: how many.
        points: fewest patients first.
        level: log(1 - ROC-AUC) of the line at one patient.
        slope: of the line, per log(patients); below 0 where more patients help.
        error_factor: what STEP times the patients make of 1 - ROC-AUC.
        ensemble: ROC-AUC of the runs whose logits are averaged; NaN where none are named.
        bar: the ROC-AUC that is asked for; NaN where none is.
        times_patients: so many times the most patients of the curve, in the same mix of sources, would bring
            the ensemble (without one, the line) to the bar: up to 1 where it is reached, infinite where the
            line does not fall, NaN without a bar.
    """

    scored: Scored
    cases: int
    positive: int
    points: tuple[Point, ...]
    level: float
    slope: float
    error_factor: Estimate
    ensemble: Estimate
    bar: float
    times_patients: Estimate

    def line(self, patients: NDArray[np.float64]) -> NDArray[np.float64]:
        """ROC-AUC by the line."""
        return np.asarray(1 - np.exp(self.level + self.slope * np.log(patients)))


def learning_curves(
    runs: Sequence[Path],
    ensemble: Sequence[Path] = (),
    together: Sequence[str] = (),
    bars: Mapping[str, float] | None = None,
    rounds: int = ROUNDS,
) -> list[LearningCurve]:
    """The curve of each source that every run scored, by slices and by studies; those with a bar first.

    Args:
        runs: cross-validated folders that differ in `data: learned_share`, epochs and seed alone.
        ensemble: cross-validated folders taught by as many patients as the most of `runs`; the mean of their
            logits is what a bar is counted from, by the slope of single runs.
        together: sources that have a curve as one, too.
        bars: ROC-AUC asked for, by `Scored.name`.
        rounds: of the bootstrap. The same patients are drawn for every run: what runs share is no uncertainty
            of the slope.

    Raises:
        ExperimentError: a run is named twice, not finished, of other slices or of another recipe; all were
            taught by as many patients; nothing has cases of both kinds; or a bar or a source is of
            none.
    """
    experiments = _experiments(runs, ensemble)
    check_together(scored_sources(runs), together)
    taught = [_taught(run, one) for run, one in zip(runs, experiments, strict=True)]
    cases = [dict(_cases([run], together)) for run in runs]
    of_ensemble = [dict(_cases(ensemble, together))] if ensemble else []
    known = [one for one in cases[0] if all(_has_both_kinds(by.get(one)) for by in [*cases, *of_ensemble])]
    _check_names(known, bars or {}, runs)
    asked = list(bars or {})
    known.sort(key=lambda one: asked.index(one.name) if one.name in asked else len(asked))
    curves = []
    for scored in known:
        patients = [counts[scored.held_out] for counts in taught]
        if len(set(patients)) < 2:
            raise ExperimentError(
                f"{scored.name}: every run was taught by {patients[0]} patients; name runs of other shares "
                "(data: learned_share)"
            )
        every = [by[scored] for by in [*cases, *of_ensemble]]
        _check_same(scored, every, [*runs, ensemble[0]] if ensemble else runs)
        points = list(zip([run.name for run in runs], patients, strict=True))
        curves.append(_curve(scored, points, every, (bars or {}).get(scored.name, math.nan), rounds))
    return curves


def read_bars(said: Sequence[str]) -> dict[str, float]:
    """`ct-ich slices=.97`, ... -> ROC-AUC by name.

    Raises:
        ExperimentError: one is not of that form, named twice, or no ROC-AUC below 1.
    """
    bars: dict[str, float] = {}
    for one in said:
        name, _, value = one.rpartition("=")
        try:
            bar = float(value)
        except ValueError:
            bar = math.nan
        if not (name and 0.5 < bar < 1):
            raise ExperimentError(f"--bar {one!r}: write the curve, = and a ROC-AUC: 'ct-ich slices=.97'")
        if name in bars:
            raise ExperimentError(f"--bar {one!r}: {name!r} has a bar already; give it one")
        bars[name] = bar
    return bars


def curve_table(curves: Sequence[LearningCurve]) -> Table:
    """ROC-AUC at each number of patients; what more of them do to the error; how many a bar would need."""
    table = Table("ROC-AUC of", "number (positive)", "patients who taught: ROC-AUC", box=None)
    for head in (f"error with {STEP} x patients", "ensemble", "bar", "times the patients"):
        table.add_column(head)
    for curve in curves:
        points = [f"{point.patients}: {cell_text(point.area, percent=False)}" for point in curve.points]
        table.add_row(
            *(curve.scored.name, f"{curve.cases} ({curve.positive})", "\n".join(points)),
            *(cell_text(curve.error_factor, percent=False), cell_text(curve.ensemble, percent=False)),
            *("-" if math.isnan(curve.bar) else f"{curve.bar:g}", times_text(curve.times_patients)),
        )
    return table


def times_text(times: Estimate) -> str:
    """`3.4 (1.8 to never)`, or `reached (reached to 5)`: where more patients are needed, how many times."""
    if math.isnan(times.value):
        return "-"
    value, low, high = (_few(number) for number in (times.value, times.low, times.high))
    return f"{value} ({low} to {high})"


def write_learning_curve(curves: Sequence[LearningCurve], folder: Path) -> None:
    """Write `learning_curve.csv`, a row for each curve and run, and `learning_curve.png`.

    Args:
        curves: at least one.
        folder: made if missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "curve": curve.scored.name,
            "cases": curve.cases,
            "positive": curve.positive,
            "run": point.run,
            "patients": point.patients,
            **_columns("roc_auc", point.area),
            "slope": curve.slope,
            "level": curve.level,
            **_columns("error_factor", curve.error_factor),
            **_columns("ensemble", curve.ensemble),
            "bar": curve.bar,
            **_columns("times_patients", curve.times_patients),
        }
        for curve in curves
        for point in curve.points
    ]
    pd.DataFrame(rows).to_csv(folder / CURVE_TABLE, index=False)
    _draw(curves, folder / CURVE_PICTURE)


def _experiments(runs: Sequence[Path], ensemble: Sequence[Path]) -> list[Experiment]:
    """Of each run, checked to be points of one curve; the ensemble checked to stand at its end."""
    for named in (runs, ensemble):
        for place, run in enumerate(named):
            if run in named[:place]:
                raise ExperimentError(f"{run}: named twice; name each run once")
    experiments = [_finished(run) for run in runs]
    for run, one in zip(runs, experiments, strict=True):
        if differing := _differing(one, experiments[0]):
            raise ExperimentError(
                f"{run}: `{differing}` differs from that of {runs[0]}; runs of one curve differ in "
                "data: learned_share, epochs and seed alone"
            )
    most = max(one.data.learned_share for one in experiments)
    for run in ensemble:
        share = _finished(run).data.learned_share
        if share != most:
            raise ExperimentError(
                f"{run}: taught by a share of {share:g}, the largest run of the curve by {most:g}; "
                "an ensemble stands at the end of the curve"
            )
    held_out_slices([*runs, *ensemble], OUT_OF_FOLD)  # of the same slices, or refused
    if all(one.data.leave_out for one in experiments):
        held_out_slices([*runs, *ensemble], LEFT_OUT)
    return experiments


def _finished(run: Path) -> Experiment:
    if not (run / EXPERIMENT_FILE).exists():
        raise ExperimentError(f"{run}: no {EXPERIMENT_FILE}; name folders of cross-validated runs")
    experiment = load_experiment(run / EXPERIMENT_FILE)
    for file in crossvalidation_files(experiment):
        check_table(run, file)
    return experiment


def _differing(one: Experiment, first: Experiment) -> str | None:
    """The part of an experiment that makes it another recipe."""
    training = replace(one.training, epochs=first.training.epochs, seed=first.training.seed)
    data = replace(one.data, learned_share=first.data.learned_share)
    seen = replace(one, training=training, data=data)
    parts = ("data", "input", "network", "training", "augmentation")
    return next((part for part in parts if getattr(seen, part) != getattr(first, part)), None)


def _taught(run: Path, experiment: Experiment) -> dict[str, int]:
    """Patients who taught, by how the others were held out; a mean over the folds."""
    index = held_out_slices([run], OUT_OF_FOLD)
    data, seed = experiment.data, experiment.training.seed

    def count(rows: NDArray[np.int64]) -> int:
        learned = rows_of_some(index, rows, data.learned_share, seed)
        return int(index["patient_id"].iloc[learned].nunique())

    fold = index["fold"].to_numpy()
    counts = {BY_FOLDS: round(np.mean([count(np.flatnonzero(fold != one)) for one in np.unique(fold)]))}
    if data.leave_out:
        for group, slices in held_out_slices([run], LEFT_OUT).groupby("left_out"):
            others = ~index["source"].isin(slices["source"].unique())
            counts[without(str(group))] = count(np.flatnonzero(others))
    return counts


def _cases(runs: Sequence[Path], together: Sequence[str]) -> Iterator[tuple[Scored, Cases]]:
    for held_out, slices in scored_slices(runs):
        for source, part in by_source(slices, together):
            # By what tells a slice: the draws of patients count cases by their place.
            for unit, cases in zip((SLICES, STUDIES), cases_of(part.sort_index()), strict=True):
                yield Scored(source, unit, held_out), cases


def _has_both_kinds(cases: Cases | None) -> bool:
    return cases is not None and bool(0 < cases.labels.sum() < len(cases.labels))


def _check_names(known: Sequence[Scored], bars: Mapping[str, float], runs: Sequence[Path]) -> None:
    if not known:
        raise ExperimentError(
            f"{', '.join(map(str, runs))}: no source has slices with and without hemorrhage in all of them; "
            "name runs whose data have both"
        )
    names = [scored.name for scored in known]
    for name in bars:
        if name not in names:
            raise ExperimentError(f"--bar: no curve is called {name!r}; there are: {'; '.join(names)}")


def _check_same(scored: Scored, every: Sequence[Cases], runs: Sequence[Path]) -> None:
    """Draws count cases by their place: in each run the same must stand there."""
    first = every[0]
    for run, cases in zip(runs, every, strict=True):
        if not (
            np.array_equal(cases.labels, first.labels) and np.array_equal(cases.patients, first.patients)
        ):
            raise ExperimentError(
                f"{run}: {scored.name}: other labels or patients than in {runs[0]}; run `cruor crossval` on "
                "both with the same prepared data"
            )


def _curve(
    scored: Scored, points: Sequence[tuple[str, int]], every: Sequence[Cases], bar: float, rounds: int
) -> LearningCurve:
    """Fit the line in each draw of patients.

    Args:
        scored: what is measured.
        points: code and patients of each run.
        every: the cases of each run, and of the ensemble where there is one.
        bar: NaN where none is asked for.
        rounds: of the bootstrap.
    """
    labels = every[0].labels
    positive, negative = int(labels.sum()), int((~labels).sum())
    areas = _areas(every, rounds)
    by_run = areas[: len(points)]
    ensemble = areas[len(points)] if len(every) > len(points) else np.full(areas.shape[1], np.nan)
    # Without an error a run has no place on a logarithmic line: half of the least that can be told from none.
    logs = np.log(np.maximum(1 - by_run, 0.5 / (positive * negative)))
    taught = np.log([patients for _, patients in points])
    away = taught - taught.mean()
    slope = away @ logs / (away @ away)
    level = logs.mean(axis=0) - slope * taught.mean()
    now = np.exp(level + slope * taught.max()) if np.isnan(ensemble[0]) else 1 - ensemble
    order = np.argsort(taught, kind="stable")
    return LearningCurve(
        scored=scored,
        cases=len(labels),
        positive=positive,
        points=tuple(
            Point(points[place][0], points[place][1], with_width(_estimate(by_run[place]))) for place in order
        ),
        level=float(level[0]),
        slope=float(slope[0]),
        error_factor=_estimate(STEP**slope),
        ensemble=with_width(_estimate(ensemble)),
        bar=bar,
        # Of infinite values there is no mean: percentiles are values that were drawn.
        times_patients=undefined("no bar")
        if math.isnan(bar)
        else percentiles(*_first_and_draws(_times(now, slope, bar)), method="inverted_cdf"),
    )


def _areas(every: Sequence[Cases], rounds: int) -> NDArray[np.float64]:
    """ROC-AUC on all cases (first) and in each draw of their patients, (runs, 1 + rounds)."""
    once = np.ones((1, len(every[0].labels)))
    blocks = [
        np.stack([roc_auc(cases.labels, cases.scores, weights) for cases in every])
        for weights in (once, *patient_draws(every[0].patients, rounds, seed=1))
    ]
    return np.concatenate(blocks, axis=1)


def _times(error: NDArray[np.float64], slope: NDArray[np.float64], bar: float) -> NDArray[np.float64]:
    """How many times the patients bring an error to a bar, (draws,)."""
    reached = error <= 1 - bar
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        times = np.minimum(np.exp(np.log(error / (1 - bar)) / -slope), MANY)
    without_gain = np.where(reached, 1.0, np.where(np.isnan(slope), np.nan, np.inf))
    return np.where(slope < 0, times, without_gain)


def _estimate(drawn: NDArray[np.float64]) -> Estimate:
    return percentiles(*_first_and_draws(drawn))


def _first_and_draws(drawn: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    return float(drawn[0]), drawn[1:]


def _few(times: float) -> str:
    """Two digits, or a word."""
    if times <= 1:
        return "reached"
    if math.isinf(times):
        return "never"
    if times > MOST_TIMES:
        return f"over {MOST_TIMES}"
    return f"{times:.1f}" if times < 9.95 else f"{times:.0f}"


def _columns(name: str, estimate: Estimate) -> dict[str, float]:
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}


def _draw(curves: Sequence[LearningCurve], file: Path) -> None:
    """A panel a curve, of those with a bar where there are any."""
    shown = [curve for curve in curves if not math.isnan(curve.bar)] or list(curves)
    across = min(len(shown), PANELS_ACROSS)
    down = math.ceil(len(shown) / across)
    words = "● a run, 95 % over patients   — line through the runs   - - drawn on, not measured"
    if any(not math.isnan(curve.ensemble.value) for curve in shown):
        words += "   ★ several runs together"
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.6 * across, 2.8 * down + 0.6), layout="constrained")
        for place, curve in enumerate(shown, start=1):
            _draw_curve(figure.add_subplot(down, across, place), curve)
        figure.supxlabel(f"patients who taught\n{words}", fontsize=8.5)
        figure.supylabel("ROC-AUC (its error on a logarithmic scale)", fontsize=8.5)
        figure.suptitle(RESEARCH_ONLY, fontsize=7, color=FAINT)
        figure.savefig(file, dpi=130, facecolor="white")


def _draw_curve(axes: Axes, curve: LearningCurve) -> None:
    """1 - ROC-AUC downwards, both axes logarithmic: the line is straight."""
    colour, asked = COLOURS[1], COLOURS[0]
    least = 0.5 / (curve.positive * (curve.cases - curve.positive))
    taught = [point.patients for point in curve.points]
    for place, point in enumerate(curve.points):
        across = point.patients * BESIDE ** taught[:place].count(point.patients)
        if not math.isnan(point.area.low):
            ends = max(1 - point.area.high, least), max(1 - point.area.low, least)
            axes.vlines(across, *ends, color=colour, linewidth=0.9)
        axes.plot(across, max(1 - point.area.value, least), "o", markersize=4, color=colour)
    most = taught[-1]
    for ends, style in (((taught[0], most), "-"), ((most, STEP**2 * most), "--")):
        along = np.array(ends, dtype=np.float64)
        axes.plot(along, 1 - curve.line(along), color=colour, linewidth=1.2, linestyle=style)
    if not math.isnan(curve.ensemble.value):
        star = most * BESIDE ** taught.count(most)
        axes.plot(star, max(1 - curve.ensemble.value, least), marker="*", markersize=8, color=colour)
    if not math.isnan(curve.bar):
        axes.axhline(1 - curve.bar, color=asked, linewidth=0.9, linestyle=":")
        axes.text(
            taught[0], 1 - curve.bar, f"asked for: {curve.bar:g}", color=asked, fontsize=7.5, va="bottom"
        )
    axes.set(xscale="log", yscale="log")
    axes.invert_yaxis()
    title = textwrap.fill(curve.scored.name, TITLE_WIDTH, break_on_hyphens=False)
    axes.set_title(f"{title}\n{curve.cases} ({curve.positive} positive)", fontsize=7.5)
    _name_ticks(axes, sorted({*taught, STEP * most, STEP**2 * most}))


def _name_ticks(axes: Axes, patients: Sequence[int]) -> None:
    axes.set_xticks(patients, [str(one) for one in patients], fontsize=7.5)
    low, high = sorted(np.log(axes.get_ylim()))
    named: list[float] = []
    for tick in TICKS:
        height = math.log(1 - tick)
        if low <= height <= high and all(abs(height - one) > ROOM * (high - low) for one in named):
            named.append(height)
    axes.set_yticks(np.exp(named), [f"{1 - math.exp(one):.2f}" for one in named], fontsize=7.5)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_locator(NullLocator())
    axes.grid(color="#edf0f3", linewidth=0.8)
    axes.set_axisbelow(True)
