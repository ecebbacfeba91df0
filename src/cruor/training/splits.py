"""Splits by patient: made with a seed, kept as a file, checked before they are used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold


class SplitError(ValueError):
    """A split file that cannot be used; the message names the file and the patients."""


def read_split(file: Path, index: pd.DataFrame) -> NDArray[np.object_]:
    """Side of each slice, by a table `patient_id,side`.

    Args:
        file: CSV, a row a patient.
        index: of prepared data; one row a slice.

    Raises:
        SplitError: unreadable, a patient on two sides, or a patient of the data on none.
    """
    try:
        table = pd.read_csv(file, dtype=str)[["patient_id", "side"]].drop_duplicates()
    except (OSError, KeyError, ValueError) as error:
        raise SplitError(f"{file}: cannot be read as a table patient_id,side ({error})") from error
    twice = table["patient_id"][table["patient_id"].duplicated()]
    if len(twice):
        raise SplitError(f"{file}: patients on two sides: {', '.join(sorted(set(twice))[:5])}")
    side = index["patient_id"].map(table.set_index("patient_id")["side"])
    if side.isna().any():
        missing = sorted(set(index["patient_id"][side.isna()]))
        raise SplitError(f"{file}: patients of the data without a side: {', '.join(missing[:5])}")
    return np.array(side, dtype=object)


def split_by_patient(index: pd.DataFrame, folds: int, seed: int) -> NDArray[np.int64]:
    """Number of the fold each slice is held out in: by patient, stratified by source and label."""
    strata = index["source"] + index["any"].astype(str)
    splitter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    fold = np.empty(len(index), dtype=np.int64)
    for number, (_, held_out) in enumerate(splitter.split(index, strata, groups=index["patient_id"])):
        fold[held_out] = number
    return fold


def check_no_patient_on_two_sides(
    index: pd.DataFrame, train: NDArray[np.int64], test: NDArray[np.int64]
) -> None:
    """Refuse a split that lets a patient teach and test.

    Raises:
        ValueError: naming the patients.
    """
    both = set(index["patient_id"].iloc[train]) & set(index["patient_id"].iloc[test])
    if both:
        raise ValueError(f"patients on both sides of the split: {', '.join(sorted(both)[:5])}")
