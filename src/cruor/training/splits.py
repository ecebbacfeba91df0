"""Splits by patient: made with a seed, kept as a file, checked before they are used."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.table import Table
from sklearn.model_selection import StratifiedGroupKFold

from cruor.training.prepare.store import read_index

SIDES = ("train", "validation", "test")
"""What `cruor split --shares` names the sides; an experiment's defaults."""


class SplitError(ValueError):
    """A split that cannot be made or used; the message names the file, the side or the patients."""


def three_sides(shares: tuple[float, float, float]) -> dict[str, float]:
    """Share of each of SIDES, from percentages.

    Raises:
        SplitError: they do not sum to 100, or one is not above 0.
    """
    said = " ".join(f"{share:g}" for share in shares)
    if not all(share > 0 for share in shares):
        raise SplitError(f"shares {said}: each of {', '.join(SIDES)} needs more than 0 %")
    if not abs(sum(shares) - 100) < 1e-6:
        raise SplitError(f"shares {said} sum to {sum(shares):g}, not to 100 %")
    return {side: share / 100 for side, share in zip(SIDES, shares, strict=True)}


def equal_folds(folds: int) -> dict[str, float]:
    """Share of each of fold0, fold1, ...

    Raises:
        SplitError: fewer than two.
    """
    if folds < 2:
        raise SplitError(f"{folds} folds: at least 2 are needed")
    return {f"fold{number}": 1 / folds for number in range(folds)}


def read_patients(folders: list[Path]) -> pd.DataFrame:
    """Patients of prepared folders: `source`, `hemorrhage` (1, 0, NaN for unknown), `slices`, `positives`.

    A patient bleeds who has a slice with hemorrhage, or a study of which that alone is known (`study_any`).
    The table's index is `patient_id`, in order.

    Raises:
        FileNotFoundError: a folder was not prepared.
    """
    wanted = ["patient_id", "source", "any", "study_any"]
    parts = [read_index(folder).filter(wanted) for folder in folders]
    slices = pd.concat(parts, ignore_index=True)
    known = slices["any"].to_numpy(dtype=float)
    if "study_any" in slices:
        known = np.fmax(known, slices["study_any"].to_numpy(dtype=float))
    by_patient = slices.assign(hemorrhage=known, positive=slices["any"] == 1).groupby("patient_id")
    return by_patient.agg(
        source=("source", "min"),
        hemorrhage=("hemorrhage", "max"),
        slices=("positive", "size"),
        positives=("positive", "sum"),
    )


def split_patients(patients: pd.DataFrame, shares: Mapping[str, float], seed: int) -> pd.Series:
    """Side of each patient, stratified by source and hemorrhage.

    Patients are dealt like cards, stratum by stratum, each to the side that is furthest below its share. So
    every side has its share of every stratum, to a patient or two, however small the stratum: scikit-learn's
    splitters refuse one smaller than the number of sides.

    Args:
        patients: as `read_patients` gives them.
        shares: of each side; they sum to 1.
        seed: of the order in which the patients of a stratum are dealt.

    Raises:
        SplitError: fewer patients than sides, or a side without patients or without hemorrhage.
    """
    if len(patients) < len(shares):
        raise SplitError(f"{len(patients)} patients cannot stand on {len(shares)} sides; ask for fewer sides")
    shuffled = patients.sample(frac=1, random_state=seed)
    dealt = shuffled.sort_values(["source", "hemorrhage"], kind="stable")
    wanted, given = np.array(list(shares.values())), np.zeros(len(shares))
    codes = np.empty(len(dealt), dtype=np.int64)
    for place in range(len(dealt)):
        # Rounded, so that equal shares do not differ in the last digit.
        codes[place] = np.argmax(np.round(wanted * (place + 1) - given, 9))
        given[codes[place]] += 1
    sides = pd.Series(pd.Categorical.from_codes(codes, list(shares)), index=dealt.index, name="side")
    sides = sides.reindex(patients.index)
    _check_every_side(patients, sides)
    return sides


def _check_every_side(patients: pd.DataFrame, sides: pd.Series) -> None:
    for side, counted in count_sides(patients, sides).iterrows():
        if not counted["patients"]:
            raise SplitError(f"side {side!r} would have none of {len(patients)} patients; give it more")
        if not counted["with_hemorrhage"]:
            raise SplitError(
                f"side {side!r} would have {counted['patients']} patients and none with hemorrhage; "
                "give it a larger share, ask for fewer folds, or name more prepared folders"
            )


def count_sides(patients: pd.DataFrame, sides: pd.Series) -> pd.DataFrame:
    """Of each side: `patients`, those `with_hemorrhage`, `slices`, `positives` among them."""
    bleeding = patients.assign(with_hemorrhage=patients["hemorrhage"] == 1)
    return bleeding.groupby(sides, observed=False).agg(
        patients=("slices", "size"),
        with_hemorrhage=("with_hemorrhage", "sum"),
        slices=("slices", "sum"),
        positives=("positives", "sum"),
    )


def sides_table(counted: pd.DataFrame) -> Table:
    """What `count_sides` gives, for a terminal."""
    table = Table(box=None, header_style="bold")
    table.add_column("side")
    for column in counted.columns:
        table.add_column(str(column).replace("_", " "), justify="right")
    for side, numbers in [*counted.iterrows(), ("all", counted.sum())]:
        table.add_row(str(side), *(f"{number:,}" for number in numbers))
    return table


def refuse_existing(file: Path) -> None:
    """Refuse to write over a split.

    Raises:
        SplitError: the file is there already.
    """
    if file.exists():
        raise SplitError(f"{file}: is there already, and runs may be made by it; name another file")


def write_split(sides: pd.Series, file: Path) -> None:
    """Write a table `patient_id,side` that `read_split` reads, whole or not at all.

    Raises:
        SplitError: the file is there already.
    """
    refuse_existing(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(file.name + ".part")
    sides.to_csv(unfinished)
    unfinished.replace(file)


def read_split(file: Path, index: pd.DataFrame) -> NDArray[np.object_]:
    """Side of each slice, by a table `patient_id,side`.

    Args:
        file: CSV, a row a patient.
        index: of prepared data; one row a slice.

    Raises:
        SplitError: unreadable, a patient on two sides, or a patient of the data on none.
    """
    side = index["patient_id"].map(read_sides(file))
    if side.isna().any():
        missing = sorted(set(index["patient_id"][side.isna()]))
        raise SplitError(f"{file}: patients of the data without a side: {', '.join(missing[:5])}")
    return np.array(side, dtype=object)


def read_sides(file: Path) -> pd.Series:
    """Side by patient.

    Raises:
        SplitError: unreadable, or a patient on two sides.
    """
    try:
        table = pd.read_csv(file, dtype=str)[["patient_id", "side"]].drop_duplicates()
    except (OSError, KeyError, ValueError) as error:
        raise SplitError(f"{file}: cannot be read as a table patient_id,side ({error})") from error
    twice = table["patient_id"][table["patient_id"].duplicated()]
    if len(twice):
        raise SplitError(f"{file}: patients on two sides: {', '.join(sorted(set(twice))[:5])}")
    return table.set_index("patient_id")["side"]


def split_by_patient(index: pd.DataFrame, folds: int, seed: int) -> NDArray[np.int64]:
    """Number of the fold each slice is held out in: by patient, stratified by source and label.

    Slices are stratified, not patients: the figures of shipped bundles come from these folds.

    Raises:
        SplitError: fewer patients than folds.
    """
    if index["patient_id"].nunique() < folds:
        raise SplitError(f"{index['patient_id'].nunique()} patients are too few for {folds} folds")
    strata = index["source"] + index["any"].astype(str)
    splitter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    fold = np.empty(len(index), dtype=np.int64)
    for number, (_, held_out) in enumerate(splitter.split(index, strata, groups=index["patient_id"])):
        fold[held_out] = number
    return fold


def rows_of_some(index: pd.DataFrame, rows: NDArray[np.int64], share: float, seed: int) -> NDArray[np.int64]:
    """Rows of a share of their patients, drawn by source and hemorrhage: a point of a learning curve.

    Args:
        index: one row a slice.
        rows: of the index.
        share: above 0, up to 1, of the patients of each kind, rounded up; a lower share keeps a part of
            those that a higher one keeps.
        seed: of the draw.
    """
    patient = index["patient_id"].iloc[rows]
    kinds = index.iloc[rows].groupby("patient_id").agg(source=("source", "min"), any=("any", "max"))
    by_kind = kinds.sample(frac=1, random_state=seed).groupby(["source", "any"])["source"]
    kept = by_kind.cumcount() < np.ceil((share * by_kind.transform("size")).round(9))
    learned: NDArray[np.int64] = rows[patient.isin(kept.index[kept]).to_numpy()]
    return learned


def check_no_patient_on_two_sides(
    index: pd.DataFrame, train: NDArray[np.int64], test: NDArray[np.int64]
) -> None:
    """Refuse a split that lets a patient teach and test.

    Raises:
        SplitError: naming the patients.
    """
    both = set(index["patient_id"].iloc[train]) & set(index["patient_id"].iloc[test])
    if both:
        raise SplitError(f"patients on both sides of the split: {', '.join(sorted(both)[:5])}")
