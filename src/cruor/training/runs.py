"""The files of a run, and what `cruor runs` reads of them. Knows no torch, so that listing is quick."""

from __future__ import annotations

import datetime
import difflib
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from cruor.records import plain_record
from cruor.training.experiment import Experiment, ExperimentError, load_experiment

EXPERIMENT_FILE = "experiment.yaml"
MADE_BY_FILE = "made_by.json"
LAST_CHECKPOINT, BEST_CHECKPOINT = "last.ckpt", "best.ckpt"
METRICS_FILE = "metrics.csv"
ENERGY_FILE = "energy.json"
PREDICTIONS_FILE = "predictions.parquet"
FINISHED_FILE = "finished.json"

OUT_OF_FOLD, LEFT_OUT, HELD_OUT = "out_of_fold.parquet", "left_out.parquet", "held_out.parquet"
"""Of a cross-validated run: all folds', all sources' that were left out, and one network's in its folder."""

FOLD = "fold"
"""Folders of the folds' networks begin with it, and end with the number."""

TRAIN, VALIDATION, TEST = "train", "validation", "test"
"""What a side of the split is used for; an experiment says which side is which."""

GOES_ON = "goes on if run again"


class RunError(ValueError):
    """A folder that is no run, or whose experiment cannot be read; the message names it."""


@dataclass(frozen=True)
class RunSummary:
    """What a run has come to.

    Attributes:
        network: name, and the backbone of `timm`.
        state: in words.
        epochs, epochs_asked: of `cruor train`; an early stop leaves fewer.
        folds, folds_asked: finished ones of `cruor crossval`; none were asked for where it was not begun.
        best_by: column of metrics.csv that chooses the best epoch; "" where nothing was validated.
        best, best_epoch: its best value, and where, counted from 1.
        roc_auc, measured_on, slices: of `any`, on the test side or out of fold, and how many slices.
        parameters, flops_per_slice: of the network.
        seconds, kwh, kg_co2e: summed over restarts and folds.
        commit, date: of the code, and the day when the run was begun.
        damaged: files that could not be read, each with the reason.
    """

    code: str
    network: str
    state: str
    epochs: int
    epochs_asked: int
    folds: int
    folds_asked: int
    best_by: str
    best: float | None
    best_epoch: int | None
    roc_auc: float | None
    measured_on: str
    slices: int | None
    parameters: int | None
    flops_per_slice: int | None
    seconds: float | None
    kwh: float | None
    kg_co2e: float | None
    commit: str | None
    date: str
    damaged: tuple[str, ...]
    settings: dict[str, Any]

    def record(self) -> dict[str, Any]:
        """Plain values for JSON, without the settings."""
        return {key: value for key, value in asdict(self).items() if key != "settings"}


def read_run(folder: Path) -> RunSummary:
    """Look at a run, finished or not; what is damaged beside the experiment is named in the summary.

    Raises:
        RunError: no experiment in the folder, or it cannot be read.
    """
    if not (folder / EXPERIMENT_FILE).exists():
        raise RunError(f"{folder}: no {EXPERIMENT_FILE}, so it is no run")
    try:
        experiment = load_experiment(folder / EXPERIMENT_FILE)
    except (ExperimentError, ValueError) as error:
        raise RunError(str(error)) from error
    look = _Look(folder)
    folds = sorted(folder.glob(f"{FOLD}[0-9]*"))
    networks = (folder, *folds, *sorted(folder.glob("without-*")))
    sizes = [look.mapping(place / FINISHED_FILE) for place in networks]
    size = next((one for one in sizes if one), {})
    made_by = look.mapping(folder / MADE_BY_FILE)
    energy = [one for one in (look.mapping(place / ENERGY_FILE) for place in networks) if one]
    network = experiment.network
    return RunSummary(
        code=folder.name,
        network=f"{network.name}:{network.backbone}" if network.backbone else network.name,
        state=_state(experiment, folder, bool(folds)),
        **_epochs(look.metrics(), experiment),
        folds=sum((fold / HELD_OUT).exists() for fold in folds),
        folds_asked=experiment.data.folds if folds else 0,
        **look.measured(),
        parameters=size.get("parameters"),
        flops_per_slice=size.get("flops_per_slice"),
        seconds=_sum(energy, "seconds"),
        kwh=_sum(energy, "kwh"),
        kg_co2e=_sum(energy, "kg_co2e"),
        commit=made_by.get("commit"),
        date=str(made_by.get("date") or _day_of(folder / EXPERIMENT_FILE)),
        damaged=tuple(look.damaged),
        settings=_flat(plain_record(experiment)),
    )


def find_runs(runs: Path) -> tuple[list[RunSummary], list[str], list[str]]:
    """Every run below a folder, oldest first; names of folders that are none; sentences on damaged ones."""
    found, foreign, damaged = [], [], []
    for folder in sorted(one for one in runs.iterdir() if one.is_dir()):
        try:
            found.append(read_run(folder))
        except RunError as error:
            if (folder / EXPERIMENT_FILE).exists():
                damaged.append(str(error))
            else:
                foreign.append(folder.name)
    damaged += [sentence for run in found for sentence in run.damaged]
    return sorted(found, key=lambda run: (run.date, run.code)), foreign, damaged


def differing_settings(runs: list[RunSummary]) -> dict[str, dict[str, Any]]:
    """Settings that are not the same in all runs: name -> code -> value."""
    names = dict.fromkeys(name for run in runs for name in run.settings if name != "code")
    told = {name: {run.code: run.settings.get(name) for run in runs} for name in names}
    return {name: values for name, values in told.items() if len({repr(one) for one in values.values()}) > 1}


def named_runs(found: list[RunSummary], codes: list[str], runs: Path) -> list[RunSummary]:
    """The runs of these codes, in this order.

    Raises:
        RunError: a code that is not there or cannot be read.
    """
    by_code = {run.code: run for run in found}
    for code in codes:
        if code not in by_code:
            near = difflib.get_close_matches(code, by_code, n=1)
            advice = f"did you mean {near[0]!r}?" if near else f"runs there: {', '.join(by_code) or 'none'}"
            raise RunError(f"{runs / code}: no run that can be read; {advice}")
    return [by_code[code] for code in dict.fromkeys(codes)]


def runs_json(runs: list[RunSummary], foreign: list[str], damaged: list[str]) -> str:
    """All of it as JSON."""
    content = {
        "runs": [run.record() for run in runs],
        "differing_settings": differing_settings(runs),
        "no_runs": foreign,
        "damaged": damaged,
    }
    return json.dumps(content, indent=2, allow_nan=False)


class _Look:
    """Reads the files of one run; remembers which are damaged."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.damaged: list[str] = []

    def mapping(self, file: Path) -> dict[str, Any]:
        """A JSON file of names and values; nothing where it is missing or damaged."""
        if not file.exists():
            return {}
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            if isinstance(content, dict):
                return content
            self._damaged(file, "no mapping")
        except (OSError, ValueError) as error:
            self._damaged(file, error)
        return {}

    def metrics(self) -> pd.DataFrame:
        """metrics.csv, one row an epoch; empty where it is missing or damaged."""
        file = self.folder / METRICS_FILE
        try:
            if file.exists():
                return pd.read_csv(file).groupby("epoch").last()
        except (OSError, ValueError, KeyError) as error:
            self._damaged(file, error)
        return pd.DataFrame()

    def measured(self) -> dict[str, Any]:
        """ROC-AUC of logits as networks give them: on the test side where there is one, else out of fold."""
        for name, of, side in ((PREDICTIONS_FILE, TEST, [TEST]), (OUT_OF_FOLD, "out of fold, raw", None)):
            file = self.folder / name
            if not file.exists():
                continue
            try:
                columns = ["any", "logit_any", *(["side"] if side else [])]
                table = pd.read_parquet(file, columns=columns)
                scored = table[table["side"].isin(side)] if side else table
                area = roc_auc(scored["any"] == 1, scored["logit_any"])
            except (OSError, ValueError, KeyError) as error:
                self._damaged(file, error)
                continue
            return {"roc_auc": area, "measured_on": of, "slices": len(scored)}
        return {"roc_auc": None, "measured_on": "", "slices": None}

    def _damaged(self, file: Path, why: object) -> None:
        reason = str(why).splitlines()[0] if str(why) else type(why).__name__
        self.damaged.append(f"{file}: cannot be read ({reason})")


def roc_auc(labels: pd.Series, scores: pd.Series) -> float | None:
    """Share of pairs of a positive and a negative in which the positive scores higher, ties by half.

    None where one kind is missing. (By ranks: scikit-learn takes longer to import than a list of runs.)
    """
    positive, negative = int(labels.sum()), int((~labels).sum())
    if not positive or not negative:
        return None
    ranks = float(scores.rank()[labels].sum())
    return (ranks - positive * (positive + 1) / 2) / (positive * negative)


def crossvalidation_files(experiment: Experiment) -> tuple[str, ...]:
    """What a finished cross-validation of the experiment has written."""
    return (OUT_OF_FOLD, LEFT_OUT) if experiment.data.leave_out else (OUT_OF_FOLD,)


def _state(experiment: Experiment, folder: Path, folds_begun: bool) -> str:
    crossvalidated = all((folder / file).exists() for file in crossvalidation_files(experiment))
    finished = (folder / (PREDICTIONS_FILE if experiment.data.split else FINISHED_FILE)).exists()
    done = [("finished", finished), ("cross-validated", crossvalidated)]
    begun = (folder / METRICS_FILE).exists() or not folds_begun  # by `cruor train`
    if (begun and not finished) or (folds_begun and not crossvalidated):
        return ", ".join([*(word for word, is_so in done if is_so), GOES_ON])
    return ", ".join(word for word, is_so in done if is_so)


def _epochs(metrics: pd.DataFrame, experiment: Experiment) -> dict[str, Any]:
    asked = experiment.validation
    counted = {"epochs": len(metrics), "epochs_asked": experiment.training.epochs}
    # Runs of before had one kind of figures.
    columns = [name for name in (asked.watched, f"validation_{asked.best_by}") if name in metrics]
    known = metrics[columns[0]].dropna() if columns else pd.Series(dtype=float)
    if known.empty:
        return {**counted, "best_by": "", "best": None, "best_epoch": None}
    epoch = known.idxmin() if asked.better == "min" else known.idxmax()
    return {**counted, "best_by": columns[0], "best": float(known[epoch]), "best_epoch": int(epoch) + 1}


def _sum(records: list[dict[str, Any]], key: str) -> float | None:
    values = [float(record[key]) for record in records if isinstance(record.get(key), (int, float))]
    return math.fsum(values) if values else None


def _day_of(file: Path) -> str:
    return datetime.datetime.fromtimestamp(file.stat().st_mtime, datetime.UTC).date().isoformat()


def _flat(record: dict[str, Any], above: str = "") -> dict[str, Any]:
    """Nested settings as `phase.name`."""
    flat: dict[str, Any] = {}
    for key, value in record.items():
        flat |= _flat(value, f"{above}{key}.") if isinstance(value, dict) else {above + key: value}
    return flat
