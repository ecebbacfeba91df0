"""Cross-validation by patient and by source: networks score the slices of patients that they never saw."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pyarrow.parquet import read_schema

from cruor.training.data import Heads, load_heads
from cruor.training.experiment import DataSettings, Experiment, ExperimentError, load_experiment
from cruor.training.locks import lock_of, taken
from cruor.training.map_column import MAP_COLUMN
from cruor.training.networks import WITH_MAP_OF_BLOOD
from cruor.training.prepare.store import write_table
from cruor.training.run import check_code, check_heads, check_network, fit, open_run, predict_slices
from cruor.training.runs import FOLD, HELD_OUT, LEFT_OUT, OUT_OF_FOLD
from cruor.training.splits import check_no_patient_on_two_sides, rows_of_some, split_by_patient

_LOG = logging.getLogger(__name__)

WAIT_S = 5.0
"""How long to wait before asking again whether another process is done."""


@dataclass(frozen=True, eq=False)
class Part:
    """One network of a cross-validation.

    Attributes:
        folder: its name in the run.
        mark: column and value that tell its slices in the table.
        held_out: rows of the index that it is not trained on and scores.
    """

    folder: str
    mark: dict[str, int | str]
    held_out: NDArray[np.int64]


def crossvalidate(
    experiment_file: Path, runs: Path, tell: Callable[[str], None] = lambda sentence: None
) -> Path:
    """Train one network a fold, and one without each group of `data.leave_out`; finished ones stay.

    Several processes may be started with the same experiment, of one device each: each trains what no other
    has begun, takes up what a killed one leaves, and returns when all is done.

    Args:
        experiment_file: the YAML file.
        runs: folder of the runs.
        tell: called with which network is trained, before each.

    Returns:
        The file of out-of-fold logits: the index's columns, `fold`, and `logit_<label>` for each label. Where
        sources are left out, `left_out.parquet` beside it: the same with `left_out` instead of `fold`.

    Raises:
        ExperimentError: the code was used before, the experiment has a split of its own, or the data do not
            hold what is to be left out.
    """
    experiment = load_experiment(experiment_file)
    check_code(experiment, runs)
    if experiment.data.split:
        raise ExperimentError(
            f"{experiment_file}: data: split is of `cruor train`; cross-validation makes its own folds: take "
            "it out, under another code"
        )
    check_network(experiment)
    heads = load_heads(experiment.data, experiment.input)
    check_heads(experiment, heads.index, experiment_file)
    folds, groups = list(_folds(experiment, heads.index)), list(_groups(experiment.data, heads.index))
    folder = runs / experiment.code
    folder.mkdir(parents=True, exist_ok=True)
    with lock_of(folder):
        open_run(experiment, runs)
    for _ in _score_all([*folds, *groups], experiment, heads, folder, tell):
        for parts, file in ((folds, OUT_OF_FOLD), (groups, LEFT_OUT)):
            _gather(parts, folder, file)
    return folder / OUT_OF_FOLD


def _score_all(
    parts: list[Part], experiment: Experiment, heads: Heads, run: Path, tell: Callable[[str], None]
) -> Iterator[Part]:
    """Score every part, and yield it: at once, or after another process that holds it is done or dead."""
    rest, has_told = parts, False
    while rest:
        held = []
        for part in rest:
            (run / part.folder).mkdir(exist_ok=True)
            with taken(lock_of(run / part.folder), experiment) as is_ours:
                if is_ours:
                    if not (run / part.folder / HELD_OUT).exists():
                        tell(f"{part.folder}: network {parts.index(part) + 1} of {len(parts)}")
                    _score(part, experiment, heads, run)
            if is_ours:
                yield part
            else:
                held.append(part)
        if len(held) == len(rest):
            if not has_told:
                names = ", ".join(part.folder for part in held)
                _LOG.warning("%s: waiting for %s, in the hands of another process", run, names)
            has_told = True
            time.sleep(WAIT_S)
        rest = held


def _gather(parts: list[Part], run: Path, file: str) -> None:
    """Write the table of all parts, as soon as each is scored and where one is newer than the table."""
    scored = [run / part.folder / HELD_OUT for part in parts]
    if not scored or not all(one.exists() for one in scored):
        return
    with lock_of(run):
        table = run / file
        if not table.exists() or table.stat().st_mtime < max(one.stat().st_mtime for one in scored):
            write_table(pd.concat([pd.read_parquet(one) for one in scored]).sort_index(), table)


def _folds(experiment: Experiment, index: pd.DataFrame) -> Iterator[Part]:
    fold = split_by_patient(index, experiment.data.folds, experiment.training.seed)
    for number in range(experiment.data.folds):
        yield Part(f"{FOLD}{number}", {"fold": number}, np.flatnonzero(fold == number))


def _groups(data: DataSettings, index: pd.DataFrame) -> Iterator[Part]:
    for group in data.leave_out:
        name = "+".join(group)
        missing = [source for source in group if source not in set(index["source"])]
        if missing:
            raise ExperimentError(f"leave_out: no slice of the data is of source {missing[0]!r}")
        held_out = index["source"].isin(group)
        if held_out.all():
            raise ExperimentError(f"leave_out: without {name} there is nothing to train on")
        # Now, not after hours: a patient may stand in several sources.
        check_no_patient_on_two_sides(index, np.flatnonzero(~held_out), np.flatnonzero(held_out))
        yield Part(f"without-{name}", {"left_out": name}, np.flatnonzero(held_out))


def _score(part: Part, experiment: Experiment, heads: Heads, run: Path) -> None:
    """Train a part's network and let it score what it has not seen, into `held_out.parquet`, once.

    One that an older cruor scored, which kept no maps, is scored again by what was trained.
    """
    file = run / part.folder / HELD_OUT
    asks_maps = experiment.network.name in WITH_MAP_OF_BLOOD
    if asks_maps and file.exists() and MAP_COLUMN not in read_schema(file).names:
        file.unlink()
    if not file.exists():
        others = np.setdiff1d(np.arange(len(heads.index)), part.held_out)
        check_no_patient_on_two_sides(heads.index, others, part.held_out)
        rows = rows_of_some(heads.index, others, experiment.data.learned_share, experiment.training.seed)
        scored = predict_slices(fit(experiment, heads, rows, file.parent), heads, part.held_out)
        write_table(scored.assign(**part.mark), file)
