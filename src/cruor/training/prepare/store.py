"""Prepared data: HU of one study a file, and an index of all slices with their labels.

A prepared folder holds `index.parquet` (one row a slice, columns of `SCHEMA`), `prepared.json` (what it was
made of) and `studies/*.npz`. Arrays of a study's file, one a slice so that training can read one alone:
`hu<row>`: uint8, (2, rows, columns), low and high bytes of int16 HU; `drawn<row>`: uint8, the drawn blood
of a slice over the same field; `mask<row>`: uint8, 1 where people outlined it; both where there is any.
Windows, crop and size belong to the experiment, so they are not applied here.

The high bytes of a slice are nearly constant. Apart from the low ones they deflate to a sixth less than
int16 at zlib's default level, at level 1 and in a fifth of the time (docs/scale.md).
"""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cruor.bundle.manifest import OUTPUTS

LABELS = OUTPUTS
"""Labels of a slice are asked for and answered in one order."""

INDEX = "index.parquet"
STUDIES = "studies"
UNKNOWN = float("nan")

DEFLATE_LEVEL = 1
"""More costs twice the time for a twentieth of the size."""

GROUP_ROWS = 1 << 15
"""Rows of the index held in memory while it is written."""

Row = dict[str, Any]

SCHEMA = pa.schema(
    [
        ("source", pa.string()),
        ("patient_id", pa.string()),
        ("study_instance_uid", pa.string()),
        ("sop_instance_uid", pa.string()),
        ("number", pa.int64()),
        ("complete_series", pa.bool_()),
        ("age_years", pa.float64()),
        ("sex", pa.string()),
        ("spacing_mm", pa.float64()),
        ("position_mm", pa.float64()),
        ("pixel_spacing_mm", pa.float64()),
        ("known_low_hu", pa.float64()),
        ("known_high_hu", pa.float64()),
        *((label, pa.float64()) for label in LABELS),
        *((f"study_{label}", pa.float64()) for label in LABELS),
        ("file", pa.string()),
        ("row", pa.int64()),
        ("drawn", pa.bool_()),
        ("masked", pa.bool_()),
    ]
)


@dataclass(frozen=True)
class LabelledSlice:
    """What is known of one slice, beside its pixels.

    Attributes:
        source: name of the data set.
        patient_id: unique over all data sets; splits are made by it.
        study_instance_uid: of what is read as one. For `rsna` and `pictures` the series, since a study may
            have two; else as published.
        sop_instance_uid: as published.
        number: 1 is the lowest slice of the study.
        complete_series: False where only single slices of the study are known.
        labels: one for each of LABELS: 1.0, 0.0, or NaN for unknown.
        study_labels: the same of the whole study; None where they follow from its slices.
        age_years: NaN where unknown.
        sex: "F", "M" or "O"; empty where unknown.
        spacing_mm: distance of neighbouring slices, NaN where unknown.
        position_mm: along the slice normal, NaN where unknown.
        pixel_spacing_mm: distance of neighbouring rows, NaN where unknown.
        known_low_hu, known_high_hu: HU at these ends may be beyond them: the source is a picture of a
            window. NaN where everything is known.
    """

    source: str
    patient_id: str
    study_instance_uid: str
    sop_instance_uid: str
    number: int
    complete_series: bool
    labels: tuple[float, ...]
    study_labels: tuple[float, ...] | None = None
    age_years: float = UNKNOWN
    sex: str = ""
    spacing_mm: float = UNKNOWN
    position_mm: float = UNKNOWN
    pixel_spacing_mm: float = UNKNOWN
    known_low_hu: float = UNKNOWN
    known_high_hu: float = UNKNOWN


@dataclass(frozen=True, eq=False)
class LabelledStudy:
    """The slices of one study.

    Attributes:
        hu: int16, (slices, rows, columns), HU, in the order of `slices`.
        drawn: by row, probability of blood x 255 over the field of the slice, uint8, any resolution.
        masks: by row, 1 where people outlined blood, uint8, (rows, columns); slices without blood have none.
    """

    slices: tuple[LabelledSlice, ...]
    hu: NDArray[np.int16]
    drawn: dict[int, NDArray[np.uint8]] = field(default_factory=dict)
    masks: dict[int, NDArray[np.uint8]] = field(default_factory=dict)


def write_prepared(studies: Iterable[LabelledStudy], folder: Path) -> pd.DataFrame:
    """Write studies one by one: memory holds one.

    The index is written last, and one of before is taken away first: an index means complete data.
    """
    (folder / INDEX).unlink(missing_ok=True)
    rows = [row for study in studies for row in write_study(study, folder)]
    write_index(rows, folder)
    return read_index(folder)


def write_study(study: LabelledStudy, folder: Path, key: str | None = None) -> list[Row]:
    """Write the arrays of a study, whole or not at all; return its rows of the index.

    Args:
        study: what to write.
        folder: the prepared folder; made where it is missing.
        key: what the file is named by, unique in the folder; the study's UID where not given.

    Raises:
        OSError: the file cannot be written.
    """
    uid = key or study.slices[0].study_instance_uid
    file = f"{STUDIES}/{hashlib.sha256(uid.encode()).hexdigest()[:20]}.npz"
    arrays = {f"hu{row}": _planes(hu) for row, hu in enumerate(study.hu)}
    arrays |= {f"drawn{row}": picture for row, picture in study.drawn.items()}
    arrays |= {f"mask{row}": mask for row, mask in study.masks.items()}
    (folder / STUDIES).mkdir(parents=True, exist_ok=True)
    unfinished = folder / f"{file}.part"
    _write_arrays(unfinished, arrays)
    unfinished.replace(folder / file)
    of_study = _study_labels(study)
    return [
        {
            **{name: getattr(one, name) for name in SCHEMA.names if hasattr(one, name)},
            **dict(zip(LABELS, one.labels, strict=True)),
            **{f"study_{label}": value for label, value in zip(LABELS, of_study, strict=True)},
            "file": file,
            "row": row,
            "drawn": row in study.drawn,
            "masked": row in study.masks,
        }
        for row, one in enumerate(study.slices)
    ]


def write_index(rows: Iterable[Row], folder: Path) -> int:
    """Write the index whole or not at all, some rows at a time; return how many there are."""
    unfinished = folder / f"{INDEX}.part"
    count = 0
    with pq.ParquetWriter(unfinished, SCHEMA) as writer:
        remaining = iter(rows)
        while group := list(islice(remaining, GROUP_ROWS)):
            writer.write_table(pa.Table.from_pylist(group, schema=SCHEMA))
            count += len(group)
    unfinished.replace(folder / INDEX)
    return count


def _study_labels(study: LabelledStudy) -> tuple[float, ...]:
    """As given, else of a complete series: 1 with a slice that has it, 0 where no slice does."""
    first = study.slices[0]
    if first.study_labels is not None:
        return first.study_labels
    if not first.complete_series:
        return (UNKNOWN,) * len(LABELS)
    by_label = zip(*(one.labels for one in study.slices), strict=True)
    return tuple(1.0 if 1.0 in values else sum(values) for values in by_label)


def _planes(hu: NDArray[np.int16]) -> NDArray[np.uint8]:
    """(rows, columns) int16 -> (2, rows, columns) uint8, low bytes first."""
    pairs = np.ascontiguousarray(hu, dtype="<i2").view(np.uint8).reshape(*hu.shape, 2)
    return np.ascontiguousarray(np.moveaxis(pairs, -1, 0))


def _from_planes(planes: NDArray[np.uint8]) -> NDArray[np.int16]:
    pairs = np.ascontiguousarray(np.moveaxis(planes, 0, -1))
    return pairs.view("<i2")[..., 0].astype(np.int16, copy=False)


def _write_arrays(file: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """An npz as `np.savez_compressed` writes it, at our level, and the same bytes every time."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, array, allow_pickle=False)
            # A ZipInfo of its own: without one the time of day would stand in it.
            member = zipfile.ZipInfo(f"{name}.npy")
            archive.writestr(member, content.getbuffer(), zipfile.ZIP_DEFLATED, DEFLATE_LEVEL)


def write_table(table: pd.DataFrame, file: Path) -> None:
    """Write a table whole or not at all, so that a kill leaves no half of it."""
    unfinished = file.with_name(file.name + ".part")
    table.to_parquet(unfinished)
    unfinished.replace(file)


def read_index(folder: Path) -> pd.DataFrame:
    """Return the index of a prepared folder, one row a slice.

    A folder from before `position_mm` gets it from the slices' numbers and their spacing; in one from before
    `known_low_hu`, all HU are taken for known.

    Raises:
        FileNotFoundError: the folder was not prepared, or not to the end.
        OSError: the index is broken.
    """
    if not (folder / INDEX).exists():
        raise FileNotFoundError(f"{folder}: no {INDEX}; make it with `cruor prepare`")
    try:
        index = pd.read_parquet(folder / INDEX)
    except (OSError, ValueError) as error:
        raise OSError(f"{folder / INDEX}: cannot be read ({error}); run `cruor prepare` again") from error
    for column in ("known_low_hu", "known_high_hu"):
        if column not in index:
            index[column] = np.nan
    if "position_mm" not in index and "spacing_mm" in index:
        index["position_mm"] = index["number"] * index["spacing_mm"]
    return index


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
    with _opened(folder / file) as archive:
        return _stored(archive, row)


def read_slices(folder: Path, index: pd.DataFrame) -> Iterator[StoredSlice]:
    """Yield slices in the order of the index; a study's file is opened once where its rows stand together."""
    together = (index["file"] != index["file"].shift()).cumsum()
    for _, rows in index.groupby(together, sort=False):
        with _opened(folder / rows["file"].iloc[0]) as archive:
            yield from (_stored(archive, row) for row in rows["row"])


@contextmanager
def _opened(file: Path) -> Iterator[Mapping[str, NDArray[Any]]]:
    """A study's file; whatever is wrong with it is an OSError that names it."""
    try:
        with np.load(file) as archive:
            yield archive
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        reason = f"{type(error).__name__}: {error}"
        raise OSError(f"{file}: cannot be read ({reason}); run `cruor prepare` again") from error


def _stored(archive: Mapping[str, NDArray[Any]], row: int) -> StoredSlice:
    hu = archive[f"hu{row}"]
    # int16 in folders prepared before bytes were kept apart.
    return StoredSlice(
        hu if hu.dtype == np.int16 else _from_planes(hu),
        archive.get(f"drawn{row}"),
        archive.get(f"mask{row}"),
    )
