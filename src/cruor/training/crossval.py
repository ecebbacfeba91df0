"""Cross-validation by patient and by source: networks score the slices of patients that they never saw."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
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
    folder = open_run(experiment, runs)
    for parts, file in ((folds, OUT_OF_FOLD), (groups, LEFT_OUT)):
        scored = [_score(part, experiment, heads, folder) for part in parts]
        if scored:
            write_table(pd.concat(scored).sort_index(), folder / file)
    return folder / OUT_OF_FOLD


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


def _score(part: Part, experiment: Experiment, heads: Heads, run: Path) -> pd.DataFrame:
    """Train a part's network and let it score what it has not seen; a finished part is read again.

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
        file.parent.mkdir(exist_ok=True)
        scored = predict_slices(fit(experiment, heads, rows, file.parent), heads, part.held_out)
        write_table(scored.assign(**part.mark), file)
    return pd.read_parquet(file)
