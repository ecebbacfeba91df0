"""`cruor runs` on a terminal: a list of runs, or some side by side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from cruor.training.runs import RunSummary, differing_settings

NONE = "-"


def runs_table(runs: list[RunSummary]) -> Table:
    """A run a row, two lines each: it fits into 120 columns."""
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 1, 0))
    for name in ("run\nnetwork", "state\nepochs", "best validation\nby", "ROC-AUC\non"):
        table.add_column(name, overflow="fold")
    for name in ("weights\nFLOPs", "time\nkWh, kg CO2e"):
        table.add_column(name, justify="right")
    table.add_column("commit\nbegun", no_wrap=True)
    for run in runs:
        table.add_row(
            _lines(run.code, run.network),
            _lines(run.state, _progress(run)),
            _lines(_best(run), _best_by(run)),
            _lines(_number(run.roc_auc), _measured_on(run)),
            _lines(_large(run.parameters), _large(run.flops_per_slice)),
            _lines(_duration(run.seconds), _energy(run)),
            _lines(_commit(run), run.date),
        )
    return table


def comparison(runs: list[RunSummary]) -> Group:
    """Some runs side by side: the settings in which they differ, above what came of them."""
    differing = differing_settings(runs)
    settings = [(name, [_said(values[run.code]) for run in runs]) for name, values in differing.items()]
    figures: list[tuple[str, Callable[[RunSummary], str]]] = [
        ("state", lambda run: run.state),
        ("trained", _progress),
        ("best validation", _best),
        ("by", _best_by),
        ("ROC-AUC", lambda run: _number(run.roc_auc)),
        ("measured on", _measured_on),
        ("weights", lambda run: _large(run.parameters)),
        ("FLOPs a slice", lambda run: _large(run.flops_per_slice)),
        ("time", lambda run: _duration(run.seconds)),
        ("kWh, kg CO2e", _energy),
        ("commit", _commit),
        ("begun", lambda run: run.date),
    ]
    results = [(name, [said(run) or NONE for run in runs]) for name, said in figures]
    tables = [_side_by_side("settings that differ", runs, settings)] if settings else []
    return Group(*tables, _side_by_side("results", runs, results))


def _side_by_side(title: str, runs: list[RunSummary], rows: list[tuple[str, list[str]]]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(title, style="dim", no_wrap=True)
    for run in runs:
        table.add_column(run.code, overflow="fold")
    for name, values in rows:
        table.add_row(name, *map(Text, values))
    table.add_row()
    return table


def _lines(first: str, second: str) -> Text:
    return Text(first).append(f"\n{second}", style="dim")


def _progress(run: RunSummary) -> str:
    folds = f"{run.folds} of {run.folds_asked} folds" if run.folds_asked else ""
    if run.epochs or not folds:
        epochs = f"{run.epochs} of {run.epochs_asked} epochs"
        return f"{epochs}, {folds}" if folds else epochs
    return folds


def _best(run: RunSummary) -> str:
    return NONE if run.best is None else f"{_number(run.best)} (epoch {run.best_epoch})"


def _best_by(run: RunSummary) -> str:
    return run.best_by.removeprefix("validation_").replace("_", " ").replace("roc auc", "ROC-AUC")


def _measured_on(run: RunSummary) -> str:
    return f"{run.measured_on}, {run.slices:,} slices" if run.measured_on else ""


def _energy(run: RunSummary) -> str:
    if run.kwh is None or run.kg_co2e is None:
        return ""
    return f"{run.kwh:.3g}, {run.kg_co2e:.3g}"


def _commit(run: RunSummary) -> str:
    return run.commit[:7] if run.commit else NONE


def _number(value: float | None) -> str:
    return NONE if value is None else f"{value:.4f}"


def _large(value: int | None) -> str:
    """Three digits and the unit: 16.0 M."""
    if value is None:
        return NONE
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return str(value)


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return NONE
    minutes = round(seconds / 60)
    if minutes < 2:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"


def _said(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_said, value))
    return NONE if value in ("", None) else str(value)
