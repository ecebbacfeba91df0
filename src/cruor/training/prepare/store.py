"""Prepared data: HU of one study a file, and an index of all slices with their labels.

A prepared folder holds `index.parquet` (one row a slice, columns below) and `studies/<study>.npz`
(`hu`: int16, (slices, rows, columns), losslessly compressed; `drawn<row>`: uint8, the drawn blood of
a slice over the same field, where there is any). Windows, crop and size belong to the experiment, so
they are not applied here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cruor.bundle.manifest import OUTPUTS

LABELS = OUTPUTS
"""Labels of a slice are asked for and answered in one order."""

INDEX = "index.parquet"


@dataclass(frozen=True)
class LabelledSlice:
    """What is known of one slice, beside its pixels.

    Attributes:
        source: name of the data set.
        patient_id: unique over all data sets; splits are made by it.
        study_instance_uid, sop_instance_uid: as published.
        number: 1 is the lowest slice of the study.
        complete_series: False where only single slices of the study are known.
        labels: one for each of LABELS: 1.0, 0.0, or NaN for unknown.
    """

    source: str
    patient_id: str
    study_instance_uid: str
    sop_instance_uid: str
    number: int
    complete_series: bool
    labels: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class LabelledStudy:
    """The slices of one study.

    Attributes:
        hu: int16, (slices, rows, columns), HU, in the order of `slices`.
        drawn: by row, probability of blood x 255 over the field of the slice, uint8, any resolution.
    """

    slices: tuple[LabelledSlice, ...]
    hu: NDArray[np.int16]
    drawn: dict[int, NDArray[np.uint8]] = field(default_factory=dict)


def write_prepared(studies: Iterable[LabelledStudy], folder: Path) -> pd.DataFrame:
    """Write studies one by one: memory holds one.

    The index is written last, and one of before is taken away first: an index means complete data.
    """
    (folder / "studies").mkdir(parents=True, exist_ok=True)
    (folder / INDEX).unlink(missing_ok=True)
    rows = []
    for study in studies:
        uid = study.slices[0].study_instance_uid
        file = f"studies/{hashlib.sha256(uid.encode()).hexdigest()[:20]}.npz"
        drawn = {f"drawn{row}": picture for row, picture in study.drawn.items()}
        np.savez_compressed(folder / file, allow_pickle=False, hu=study.hu, **drawn)
        for row, labelled in enumerate(study.slices):
            record = asdict(labelled)
            labels = dict(zip(LABELS, record.pop("labels"), strict=True))
            rows.append({**record, **labels, "file": file, "row": row, "drawn": row in study.drawn})
    index = pd.DataFrame(rows)
    write_table(index, folder / INDEX)
    return index


def write_table(table: pd.DataFrame, file: Path) -> None:
    """Write a table whole or not at all, so that a kill leaves no half of it."""
    unfinished = file.with_name(file.name + ".part")
    table.to_parquet(unfinished)
    unfinished.replace(file)


def read_index(folder: Path) -> pd.DataFrame:
    """Return the index of a prepared folder, one row a slice.

    Raises:
        FileNotFoundError: the folder was not prepared, or not to the end.
    """
    if not (folder / INDEX).exists():
        raise FileNotFoundError(f"{folder}: no {INDEX}; make it with `cruor prepare`")
    return pd.read_parquet(folder / INDEX)


def read_slices(
    folder: Path, index: pd.DataFrame
) -> Iterator[tuple[NDArray[np.int16], NDArray[np.uint8] | None]]:
    """Yield HU, int16, (rows, columns), and the drawn blood, in the order of the index.

    Each study's file is read once where its rows stand together.
    """
    held, arrays = None, {}
    for file, row in zip(index["file"], index["row"], strict=True):
        if file != held:
            with np.load(folder / file) as archive:
                held, arrays = file, dict(archive)
        yield arrays["hu"][row], arrays.get(f"drawn{row}")
