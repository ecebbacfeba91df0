"""The learning curve: figures against the number of patients who taught, and how many a bar would need.

The error of learning machines falls about as a power of the number of examples (Hestness 2017): with two
logarithmic axes, 1 - ROC-AUC against patients is near a straight line. How steep it is, is measured.
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

from cruor.training.crossval_table import BY_FOLDS, by_source, cases_of, scored_slices
from cruor.training.evaluation.curves import COLOURS, FAINT, STYLE
from cruor.training.evaluation.figures import Cases
from cruor.training.evaluation.metrics import ROUNDS, Estimate, patient_draws, roc_auc, undefined, with_width
from cruor.training.evaluation.tables import RESEARCH_ONLY, cell_text
from cruor.training.experiment import Experiment, ExperimentError, load_experiment
from cruor.training.runs import EXPERIMENT_FILE, OUT_OF_FOLD
from cruor.training.splits import rows_of_some
from cruor.training.together import check_cross_validated, held_out_slices

CURVE_TABLE, CURVE_PICTURE = "learning_curve.csv", "learning_curve.png"

SLICES, STUDIES = "slices", "studies"

STEP = 3
"""A curve is told by what so many times the patients make of the error."""

PANELS_ACROSS = 4

TITLE_WIDTH = 40
"""Characters that fit above a panel."""

READ_TOGETHER = "runs read together"

MOST_TIMES = 1000.0
"""Times the patients there are; more is told as "over 1000"."""


@dataclass(frozen=True)
class Test:
    """What is measured: SLICES or STUDIES of a source, and how its patients were held out."""

    __test__ = False  # for pytest

    source: str
    counted: str
    held_out: str

    @property
    def name(self) -> str:
        """As `--bar` takes it: `ct-ich slices`, or `ct-ich slices without ct-ich`."""
        how = "" if self.held_out == BY_FOLDS else f" {self.held_out}"
        return f"{self.source} {self.counted}{how}"


@dataclass(frozen=True)
class Point:
    """One run on a curve: patients who taught it (a mean over its folds) and its ROC-AUC."""

    patients: int
    area: Estimate


@dataclass(frozen=True)
class LearningCurve:
    """One test at several numbers of patients who taught.

    Attributes:
        test: what is measured.
        cases, positive: how many.
        points: fewest patients first.
        level: log(1 - ROC-AUC) of the line at one patient.
        slope: of the line, per log(patients); below 0 where more patients help.
        shrink: what STEP times the patients make of 1 - ROC-AUC, as a factor.
        reader: ROC-AUC of the runs that are read together; NaN where none are named.
        bar: the ROC-AUC that is asked for; NaN where none is.
        times: so many times the most patients of the curve would bring the reader (where none is named, the
            line) to the bar; infinite where the line does not fall, NaN without a bar.
    """

    test: Test
    cases: int
    positive: int
    points: tuple[Point, ...]
    level: float
    slope: float
    shrink: Estimate
    reader: Estimate
    bar: float
    times: Estimate

    def line(self, patients: NDArray[np.float64]) -> NDArray[np.float64]:
        """ROC-AUC by the line."""
        return np.asarray(1 - np.exp(self.level + self.slope * np.log(patients)))


def learning_curves(
    runs: Sequence[Path],
    reader: Sequence[Path] = (),
    together: Sequence[str] = (),
    bars: Mapping[str, float] | None = None,
    rounds: int = ROUNDS,
) -> list[LearningCurve]:
    """The curve of each test that every run was scored on.

    Args:
        runs: cross-validated folders that differ in `data: learned_share`, training and seed alone.
        reader: cross-validated folders; the mean of their logits is what a bar is counted from.
        together: sources that are a test as one, too.
        bars: ROC-AUC asked for, by the test's name.
        rounds: of the bootstrap. The same patients are drawn for every run: what runs share is no uncertainty
            of the slope.

    Raises:
        ExperimentError: a run is not finished, of other slices or another recipe; all learned from one share;
            nothing has cases of both kinds; or a bar is of no test.
    """
    experiments = _experiments(runs)
    check_cross_validated([*runs, *reader])
    held_out_slices([*runs, *reader], OUT_OF_FOLD)  # of the same slices, or refused
    taught = [_taught(run, experiment) for run, experiment in zip(runs, experiments, strict=True)]
    tested = [dict(_cases([run], together)) for run in runs]
    by_reader = dict(_cases(reader, together)) if reader else {}
    tests = [test for test in tested[0] if all(_is_scored(cases.get(test)) for cases in tested)]
    if not tests:
        raise ExperimentError(f"{runs[0]}: no source has slices with and without hemorrhage in every run")
    names = [test.name for test in tests]
    for name in bars or {}:
        if name not in names:
            raise ExperimentError(f"no curve is called {name!r}; there are: {'; '.join(names)}")
    curves = []
    for test in tests:
        patients = [counts[test.held_out] for counts in taught]
        drawn = _areas([cases[test] for cases in tested], by_reader.get(test), rounds)
        curves.append(_curve(test, patients, drawn, (bars or {}).get(test.name, math.nan)))
    return curves


def read_bars(said: Sequence[str]) -> dict[str, float]:
    """`ct-ich slices=.97`, ... -> ROC-AUC by the test's name.

    Raises:
        ExperimentError: one is not of that form, or no ROC-AUC below 1.
    """
    bars = {}
    for one in said:
        name, _, value = one.rpartition("=")
        try:
            bars[name] = float(value)
        except ValueError:
            bars[name] = math.nan
        if not (name and 0.5 < bars[name] < 1):
            raise ExperimentError(f"bar {one!r}: write the test, = and a ROC-AUC: 'ct-ich slices=.97'")
    return bars


def curve_table(curves: Sequence[LearningCurve]) -> Table:
    """ROC-AUC at each number of patients; what more of them do to the error; how many a bar would need."""
    table = Table("ROC-AUC of", "number (positive)", "patients who taught: ROC-AUC", box=None)
    for head in (f"error, {STEP} x patients", READ_TOGETHER, "bar", "patients needed, times"):
        table.add_column(head)
    for curve in curves:
        points = [f"{point.patients}: {cell_text(point.area, percent=False)}" for point in curve.points]
        table.add_row(
            *(curve.test.name, f"{curve.cases} ({curve.positive})", "\n".join(points)),
            *(cell_text(curve.shrink, percent=False), cell_text(curve.reader, percent=False)),
            *("-" if math.isnan(curve.bar) else f"{curve.bar:g}", times_text(curve.times)),
        )
    return table


def times_text(times: Estimate) -> str:
    """`3.4 (1.8 to over 1000)`; `reached` where no more patients are needed."""
    if math.isnan(times.value):
        return "-"
    if times.value <= 1:
        return "reached"
    value, low, high = (_few(number) for number in (times.value, times.low, times.high))
    return f"{value} ({low} to {high})"


def write_learning_curve(curves: Sequence[LearningCurve], folder: Path) -> None:
    """Write `learning_curve.csv`, a row for each run and test, and `learning_curve.png`.

    Args:
        curves: at least one.
        folder: made if missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "test": curve.test.name,
            "patients": point.patients,
            **_columns("roc_auc", point.area),
            **_columns("error_factor", curve.shrink),
            **_columns("reader", curve.reader),
            "bar": curve.bar,
            **_columns("times_patients", curve.times),
        }
        for curve in curves
        for point in curve.points
    ]
    pd.DataFrame(rows).to_csv(folder / CURVE_TABLE, index=False)
    _draw(curves, folder / CURVE_PICTURE)


def _experiments(runs: Sequence[Path]) -> list[Experiment]:
    """Of each run, checked to be points of one curve."""
    for run in runs:
        if not (run / EXPERIMENT_FILE).exists():
            raise ExperimentError(f"{run}: no {EXPERIMENT_FILE}; name folders of cross-validated runs")
    experiments = [load_experiment(run / EXPERIMENT_FILE) for run in runs]
    if len({one.data.learned_share for one in experiments}) < 2:
        raise ExperimentError(
            "all runs learned from one share of the patients; a curve needs two or more (data: learned_share)"
        )
    first = experiments[0]
    for run, one in zip(runs, experiments, strict=True):
        seen = replace(one.data, learned_share=first.data.learned_share)
        if (seen, one.input, one.network) != (first.data, first.input, first.network):
            raise ExperimentError(
                f"{run}: another recipe than {runs[0]}; runs of one curve share data, input and network"
            )
    return experiments


def _taught(run: Path, experiment: Experiment) -> dict[str, int]:
    """Patients who taught, by how the others were held out; a mean over the folds."""
    index = pd.read_parquet(run / OUT_OF_FOLD)
    data, seed = experiment.data, experiment.training.seed

    def count(rows: NDArray[np.int64]) -> int:
        learned = rows_of_some(index, rows, data.learned_share, seed)
        return int(index["patient_id"].iloc[learned].nunique())

    fold = index["fold"].to_numpy()
    counts = {BY_FOLDS: round(np.mean([count(np.flatnonzero(fold != one)) for one in np.unique(fold)]))}
    for group in data.leave_out:
        counts[f"without {'+'.join(group)}"] = count(np.flatnonzero(~index["source"].isin(group)))
    return counts


def _cases(runs: Sequence[Path], together: Sequence[str]) -> Iterator[tuple[Test, Cases]]:
    for held_out, slices in scored_slices(runs):
        for source, part in by_source(slices, together):
            # By what tells a slice: the draws of patients count cases by their place.
            for counted, cases in zip((SLICES, STUDIES), cases_of(part.sort_index()), strict=True):
                yield Test(source, counted, held_out), cases


def _is_scored(cases: Cases | None) -> bool:
    return cases is not None and bool(0 < cases.labels.sum() < len(cases.labels))


@dataclass(frozen=True, eq=False)
class _Drawn:
    """ROC-AUC on all cases (first) and in each draw of their patients.

    Attributes:
        cases: of the first run.
        runs: (runs, 1 + rounds).
        reader: (1 + rounds,); NaN where none is named.
    """

    cases: Cases
    runs: NDArray[np.float64]
    reader: NDArray[np.float64]


def _areas(runs: Sequence[Cases], reader: Cases | None, rounds: int) -> _Drawn:
    cases = runs[0]
    once = np.ones((1, len(cases.labels)))
    areas: list[list[NDArray[np.float64]]] = []
    scored = [*runs, *([reader] if reader is not None else [])]
    for weights in (once, *patient_draws(cases.patients, rounds, seed=1)):
        areas.append([roc_auc(one.labels, one.scores, weights) for one in scored])
    every = np.concatenate([np.stack(block) for block in areas], axis=1)
    return _Drawn(cases, every[: len(runs)], every[-1] if reader else np.full(every.shape[1], np.nan))


def _curve(test: Test, patients: Sequence[int], drawn: _Drawn, bar: float) -> LearningCurve:
    error = 1 - drawn.runs
    logs = np.log(np.where(error > 0, error, np.nan))  # a draw without an error has no place on the line
    taught = np.log(np.asarray(patients, dtype=np.float64))
    away = taught - taught.mean()
    slope = away @ logs / (away @ away)
    level = logs.mean(axis=0) - slope * taught.mean()
    at_most = np.exp(level + slope * taught.max())
    now = at_most if np.isnan(drawn.reader[0]) else 1 - drawn.reader
    with np.errstate(divide="ignore", over="ignore"):
        times = np.where(slope < 0, np.exp(np.log(now / (1 - bar)) / -slope), np.inf)
        times = np.where(now <= 1 - bar, np.minimum(times, 1.0), times)
    order = np.argsort(patients, kind="stable")
    return LearningCurve(
        test=test,
        cases=len(drawn.cases.labels),
        positive=int(drawn.cases.labels.sum()),
        points=tuple(Point(patients[place], with_width(_estimate(drawn.runs[place]))) for place in order),
        level=float(level[0]),
        slope=float(slope[0]),
        shrink=_estimate(STEP**slope),
        reader=with_width(_estimate(drawn.reader)),
        bar=bar,
        times=undefined("no bar") if math.isnan(bar) else _estimate(np.where(np.isnan(slope), np.nan, times)),
    )


def _estimate(drawn: NDArray[np.float64]) -> Estimate:
    """Value first, then draws; percentiles are values that were drawn, so that they may be infinite."""
    if math.isnan(drawn[0]):
        return undefined("not told")
    low, high = np.quantile(drawn[1:][~np.isnan(drawn[1:])], [0.025, 0.975], method="inverted_cdf")
    return Estimate(float(drawn[0]), float(low), float(high))


def _few(times: float) -> str:
    """Two digits."""
    return f"over {MOST_TIMES:g}" if times > MOST_TIMES else f"{times:.2g}" if times < 100 else f"{times:.0f}"


def _columns(name: str, estimate: Estimate) -> dict[str, float]:
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}


def _draw(curves: Sequence[LearningCurve], file: Path) -> None:
    """A panel a test, of those with a bar where there are any."""
    shown = [curve for curve in curves if not math.isnan(curve.bar)] or list(curves)
    across = min(len(shown), PANELS_ACROSS)
    down = math.ceil(len(shown) / across)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.3 * across, 2.7 * down + 0.6), layout="constrained")
        for place, curve in enumerate(shown, start=1):
            _draw_curve(figure.add_subplot(down, across, place), curve)
        figure.supxlabel(f"patients who taught     ★ {READ_TOGETHER}", fontsize=9)
        figure.supylabel("ROC-AUC, 95 % over patients", fontsize=9)
        figure.suptitle(RESEARCH_ONLY, fontsize=7, color=FAINT)
        figure.savefig(file, dpi=130, facecolor="white")


def _draw_curve(axes: Axes, curve: LearningCurve) -> None:
    """Points with intervals; the line, beyond them where it rises; the bar; the reader as a star."""
    colour, asked = COLOURS[1], COLOURS[0]
    patients = np.array([point.patients for point in curve.points], dtype=np.float64)
    areas = [point.area for point in curve.points]
    reach = [[one.value - one.low for one in areas], [one.high - one.value for one in areas]]
    axes.errorbar(
        patients,
        [one.value for one in areas],
        yerr=np.maximum(reach, 0),
        fmt="o",
        markersize=4,
        elinewidth=0.9,
        color=colour,
    )
    between = np.geomspace(patients[0], patients[-1], 30)
    axes.plot(between, curve.line(between), color=colour, linewidth=1.3)
    if curve.slope < 0:
        beyond = np.geomspace(patients[-1], STEP**2 * patients[-1], 30)
        axes.plot(beyond, curve.line(beyond), color=colour, linewidth=1.0, linestyle="--")
    if not math.isnan(curve.reader.value):
        axes.plot(patients[-1], curve.reader.value, marker="*", markersize=9, color=colour)
    if not math.isnan(curve.bar):
        axes.axhline(curve.bar, color=asked, linewidth=0.9, linestyle=":")
        axes.text(patients[0], curve.bar, f"asked for: {curve.bar:g}", color=asked, fontsize=7.5, va="bottom")
    axes.set(xscale="log", ylim=(None, 1.005))
    axes.set_title(textwrap.fill(curve.test.name, TITLE_WIDTH, break_on_hyphens=False), fontsize=8.5)
    axes.set_xticks(patients, [f"{one:g}" for one in patients])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(color="#edf0f3", linewidth=0.8)
    axes.set_axisbelow(True)
