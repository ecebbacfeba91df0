"""Cross-validated runs that are read together: the mean of what their networks say of slices held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cruor.preprocessing.channels import InputSettings
from cruor.reader.along_scan import logits_of_cells
from cruor.training.experiment import Experiment, ExperimentError, load_experiment
from cruor.training.map_column import MAP_COLUMN, pack_maps, unpack_maps
from cruor.training.networks import WITH_MAP_OF_BLOOD
from cruor.training.runs import EXPERIMENT_FILE, OUT_OF_FOLD, PREDICTIONS_FILE, crossvalidation_files

SLICE = ["source", "sop_instance_uid"]
"""Columns that tell a slice."""


def check_alike(experiment: Experiment, beside: Sequence[Path]) -> None:
    """Refuse runs whose networks do not read the same slices in the same way.

    Seed, training and augmentation may differ, and with the seed the folds: each network still says what it
    says of patients that it never saw. The others may know fewer windows than the first, and look at the
    input at another side.

    Args:
        experiment: of the first run.
        beside: folders of the others, each cross-validated.

    Raises:
        ExperimentError: a run is named twice or not finished; or data, input or network differ.
    """
    check_alike_settings(experiment, beside)
    for run in beside:
        for file in crossvalidation_files(experiment):
            check_table(run, file)


def check_alike_settings(experiment: Experiment, beside: Sequence[Path]) -> None:
    """As `check_alike`, of runs that need not be cross-validated.

    Raises:
        ExperimentError: a run is named twice; or data, input or network differ.
    """
    codes = [experiment.code]
    for run in beside:
        other = load_experiment(run / EXPERIMENT_FILE)
        if other.code in codes:
            raise ExperimentError(f"{run}: named twice; name each run once")
        codes.append(other.code)
        seen = replace(
            other,
            input=_with_windows_of(experiment.input, other.input),
            network=replace(other.network, side=experiment.network.side),
        )
        for name in ("data", "input", "network"):
            if getattr(seen, name) != getattr(experiment, name):
                raise ExperimentError(
                    f"{run}: `{name}` differs from that of {experiment.code!r}; runs are read together where "
                    "data, input and network are the same"
                )


def check_cross_validated(runs: Sequence[Path]) -> None:
    """Refuse runs without a table of slices held out.

    Raises:
        ExperimentError: naming the first of them.
    """
    for run in runs:
        check_table(run, OUT_OF_FOLD)


def check_table(run: Path, file: str) -> None:
    """Refuse a run without a table of slices held out.

    Raises:
        ExperimentError: naming run and table.
    """
    if not (run / file).exists():
        raise ExperimentError(f"{run}: no {file}; run `cruor crossval` on the experiment first")


def held_out_slices(runs: Sequence[Path], file: str) -> pd.DataFrame:
    """What runs say of the slices of a table of theirs: logits, maps, and share of blood by them, averaged.

    Args:
        runs: folders of runs that are alike; the folds told are the first one's.
        file: `out_of_fold.parquet` or `left_out.parquet` of each.

    Raises:
        ExperimentError: a run has no such table, one of other slices, or one without the maps of its network.
    """
    for run in runs:
        check_table(run, file)
    tables = [_read(run, file) for run in runs]
    first = tables[0]
    for run, table in zip(runs, tables, strict=True):
        if not table[SLICE].equals(first[SLICE]):
            raise ExperimentError(
                f"{run / file}: of other slices than {runs[0] / file}; run `cruor crossval` on both "
                "experiments with the same prepared data"
            )
    told = [name for name in first.columns if name.startswith("logit_") or name == "blood_share"]
    mean: dict[str, Any] = {name: sum(table[name] for table in tables) / len(tables) for name in told}
    if MAP_COLUMN in first and len(tables) > 1:
        mean[MAP_COLUMN] = pack_maps(_mean_map(tables))
    return first.assign(**mean)


def _mean_map(tables: Sequence[pd.DataFrame]) -> NDArray[np.float64]:
    """Maps averaged as `networks.ensemble` does: the logits of their cells."""
    cells = sum(logits_of_cells(unpack_maps(table[MAP_COLUMN])) for table in tables) / len(tables)
    return np.asarray(1 / (1 + np.exp(-cells)))


def _with_windows_of(wider: InputSettings, narrower: InputSettings) -> InputSettings:
    """The narrower with the wider's windows, where its own are among them and the first is the same."""
    if narrower.windows_hu[0] == wider.windows_hu[0] and set(narrower.windows_hu) <= set(wider.windows_hu):
        return replace(narrower, windows_hu=wider.windows_hu)
    return narrower


def check_maps(table: pd.DataFrame, run: Path, file: str) -> None:
    """Refuse a table of a run whose network has a map of blood where the table keeps none.

    Raises:
        ExperimentError: it keeps none, or the run's experiment cannot be read.
    """
    settings = run / EXPERIMENT_FILE
    known = MAP_COLUMN in table or not settings.exists()
    if not known and load_experiment(settings).network.name in WITH_MAP_OF_BLOOD:
        again = "delete it and run `cruor train`" if file == PREDICTIONS_FILE else "run `cruor crossval`"
        raise ExperimentError(
            f"{run / file}: made by an older cruor, which kept no maps; {again} on the experiment again, "
            "what is trained stays"
        )


def _read(run: Path, file: str) -> pd.DataFrame:
    try:
        table = pd.read_parquet(run / file)
    except (OSError, ValueError) as error:  # what is no Parquet is a ValueError
        raise ExperimentError(
            f"{run / file}: cannot be read ({error}); run `cruor crossval` again"
        ) from error
    check_maps(table, run, file)
    return table
