"""Prepared data: HU of one study a file, and an index of all slices with their labels.

A prepared folder holds `index.parquet` (one row a slice, columns below) and `studies/<study>.npz`
(`hu<row>`: int16, (rows, columns), losslessly compressed, one array a slice so that training can read
one alone; `drawn<row>`: uint8, the drawn blood of a slice over the same field; `mask<row>`: uint8, 1 where
people outlined it; both where there is any). Windows, crop and size belong to the experiment, so they are
not applied here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

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
        arrays = {f"hu{row}": hu for row, hu in enumerate(study.hu)}
        arrays |= {f"drawn{row}": picture for row, picture in study.drawn.items()}
        np.savez_compressed(folder / file, allow_pickle=False, **arrays)
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


@dataclass(frozen=True, eq=False)
class StoredSlice:
    """The pixels of one slice as they were kept.

    Attributes:
        hu: int16, (rows, columns), HU.
        drawn: probability of blood x 255 over the same field, uint8, any resolution; None where not drawn.
        mask: 1 where people outlined blood, uint8; None where nobody did.
    """

    hu: NDArray[np.int16]
    drawn: NDArray[np.uint8] | None
    mask: NDArray[np.uint8] | None


def read_slice(folder: Path, file: str, row: int) -> StoredSlice:
    """Read one slice alone; nothing else of its study is unpacked."""
    with np.load(folder / file) as archive:
        return _stored(archive, row)


def read_slices(folder: Path, index: pd.DataFrame) -> Iterator[StoredSlice]:
    """Yield slices in the order of the index; a study's file is opened once where its rows stand together."""
    together = (index["file"] != index["file"].shift()).cumsum()
    for _, rows in index.groupby(together, sort=False):
        with np.load(folder / rows["file"].iloc[0]) as archive:
            yield from (_stored(archive, row) for row in rows["row"])


def _stored(archive: Mapping[str, NDArray[Any]], row: int) -> StoredSlice:
    return StoredSlice(archive[f"hu{row}"], archive.get(f"drawn{row}"), archive.get(f"mask{row}"))
