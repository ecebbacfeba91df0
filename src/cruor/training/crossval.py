"""Cross-validation by patient and by source: networks score the slices of patients that they never saw."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from pyarrow.parquet import read_schema

from cruor.training.data import Heads, load_heads
from cruor.training.experiment import DataSettings, Experiment, ExperimentError, load_experiment
from cruor.training.map_column import MAP_COLUMN
from cruor.training.networks import WITH_MAP_OF_BLOOD
from cruor.training.prepare.store import write_table
from cruor.training.run import check_code, check_heads, check_network, fit, open_run, predict_slices
from cruor.training.runs import FOLD, HELD_OUT, LEFT_OUT, OUT_OF_FOLD
from cruor.training.splits import check_no_patient_on_two_sides, rows_of_some, split_by_patient

_LOG = logging.getLogger(__name__)


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


def crossvalidate(experiment_file: Path, runs: Path) -> Path:
    """Train one network a fold, and one without each group of `data.leave_out`; finished ones stay.

    Called by several processes at once, each trains what no other has begun, and waits for the rest.

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
    with _alone_in(folder, experiment):
        open_run(experiment, runs)
    _score_all([*folds, *groups], experiment, heads, folder)
    with _alone_in(folder, experiment):
        for parts, file in ((folds, OUT_OF_FOLD), (groups, LEFT_OUT)):
            if parts:
                scored = [pd.read_parquet(folder / part.folder / HELD_OUT) for part in parts]
                write_table(pd.concat(scored).sort_index(), folder / file)
    return folder / OUT_OF_FOLD


def _score_all(parts: list[Part], experiment: Experiment, heads: Heads, run: Path) -> None:
    """First what no other process has in hand, then, when it is done with it or was killed, the rest."""
    begun_elsewhere = []
    for part in parts:
        try:
            with _alone_in(run / part.folder, experiment, wait_s=0):
                _score(part, experiment, heads, run)
        except Timeout:
            begun_elsewhere.append(part)
    for part in begun_elsewhere:
        _LOG.warning("%s: in the hands of another process; waiting for it", run / part.folder)
        with _alone_in(run / part.folder, experiment):
            _score(part, experiment, heads, run)


def _alone_in(folder: Path, experiment: Experiment, wait_s: float = -1) -> AbstractContextManager[object]:
    """Keep other processes out of a folder, after waiting for them (-1: without end); a kill lets them in.

    The processes of one training on several devices work in the same folders: nothing is kept from them.

    Raises:
        Timeout: another process is in it for longer than that.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if experiment.training.devices * experiment.training.nodes > 1:
        return nullcontext()
    return FileLock(folder / ".lock").acquire(timeout=wait_s)


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
