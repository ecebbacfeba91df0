"""Cross-validation by patient: every slice gets its logits from a network that never saw its patient."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from cruor.training.data import load_heads
from cruor.training.experiment import ExperimentError, load_experiment
from cruor.training.prepare.store import write_table
from cruor.training.run import check_code, check_network, fit, logit_columns, open_run, predict_logits
from cruor.training.runs import HELD_OUT, OUT_OF_FOLD
from cruor.training.splits import check_no_patient_on_two_sides, split_by_patient


def crossvalidate(experiment_file: Path, runs: Path) -> Path:
    """Train one network a fold and write all out-of-fold logits; finished folds are not trained again.

    Returns:
        The file of out-of-fold logits: the index's columns, `fold`, and `logit_<label>` for each label.

    Raises:
        ExperimentError: the code was used before, or the experiment has a split of its own.
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
    fold = split_by_patient(heads.index, experiment.data.folds, experiment.training.seed)
    folder = open_run(experiment, runs)
    parts = []
    for number in range(experiment.data.folds):
        part = folder / f"fold{number}" / HELD_OUT
        held_out = np.flatnonzero(fold == number)
        if not part.exists():
            rows = np.flatnonzero(fold != number)
            check_no_patient_on_two_sides(heads.index, rows, held_out)
            part.parent.mkdir(exist_ok=True)
            logits = predict_logits(fit(experiment, heads, rows, part.parent), heads, held_out)
            write_table(heads.index.iloc[held_out].assign(fold=number, **logit_columns(logits)), part)
        parts.append(pd.read_parquet(part))
    write_table(pd.concat(parts).sort_index(), folder / OUT_OF_FOLD)
    return folder / OUT_OF_FOLD
