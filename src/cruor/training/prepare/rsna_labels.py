"""`stage_2_train.csv` of RSNA 2019: 4.5 million rows, six of each slice, in a few bytes a slice."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from numpy.typing import NDArray

from cruor.training.prepare.plan import PrepareError
from cruor.training.prepare.store import LABELS, UNKNOWN

_UNKNOWN = -1


@dataclass(frozen=True, eq=False)
class SliceLabels:
    """Labels of all slices: found by bisection, so that a slice costs its name and six bytes.

    Attributes:
        names: SOP instance UIDs as bytes, (slices,), sorted.
        values: int8, (slices, 6), in the order of LABELS; -1 where unknown.
    """

    names: NDArray[np.bytes_]
    values: NDArray[np.int8]

    def of(self, name: str) -> tuple[float, ...]:
        """Labels of a slice in the order of LABELS; NaN for what the file does not say."""
        wanted = name.encode()
        place = int(np.searchsorted(self.names, np.bytes_(wanted)))
        if place == len(self.names) or bytes(self.names[place]) != wanted:
            return (UNKNOWN,) * len(LABELS)
        return tuple(UNKNOWN if value == _UNKNOWN else float(value) for value in self.values[place])


def read_labels(file: Path) -> SliceLabels:
    """Read rows `ID_<slice>_<label>,0|1`; an empty label is unknown.

    The published file repeats a few rows; a repetition that says the same counts once.

    Raises:
        PrepareError: the file cannot be read, is no such table, or two rows of one slice and label disagree.
    """
    table = _read_table(file)
    values = _values(file, table["Label"])
    slices, labels = _split(file, table["ID"])
    labels_known = np.array([_label_place(name) for name in labels.dictionary.to_pylist()], dtype=np.int64)
    rows = _numbers(slices.indices), _numbers(labels.indices)
    columns = labels_known[rows[1]]
    known = columns >= 0
    filled = _filled(rows[0][known], columns[known], values[known], len(slices.dictionary))
    if isinstance(filled, int):
        twice = table["ID"][int(np.flatnonzero(known)[filled])].as_py()
        raise PrepareError(
            f"{file}: {twice} stands there twice with different labels; take the published file"
        )
    names = np.array([name.encode() for name in slices.dictionary.to_pylist()], dtype=np.bytes_)
    order = np.argsort(names)
    return SliceLabels(names[order], filled[order])


def _read_table(file: Path) -> pa.Table:
    convert = pyarrow.csv.ConvertOptions(
        include_columns=["ID", "Label"], column_types={"ID": pa.string(), "Label": pa.string()}
    )
    try:
        return pyarrow.csv.read_csv(file, convert_options=convert)
    except OSError as error:
        raise PrepareError(
            f"{file}: cannot be read ({error.strerror or error}); name its folder by --root"
        ) from error
    except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
        said = str(error).splitlines()[0]
        raise PrepareError(
            f"{file}: is no table of ID and Label ({said}); take the published file"
        ) from error


def _split(file: Path, ids: pa.ChunkedArray) -> tuple[pa.DictionaryArray, pa.DictionaryArray]:
    """Split `<slice>_<label>` at the last underscore, some rows at a time: parts fill more than the whole."""
    slices, labels = [], []
    for some in ids.chunks:
        # Not a regular expression: that takes three times as long.
        parts = pc.split_pattern(some, "_", max_splits=1, reverse=True)
        bad = pc.fill_null(pc.less(pc.list_value_length(parts), 2), True).to_numpy(zero_copy_only=False)
        if bad.any():
            raise PrepareError(f"{file}: {some[int(np.argmax(bad))].as_py()!r} names no slice and label")
        slices.append(pc.list_element(parts, 0).dictionary_encode())
        labels.append(pc.list_element(parts, 1).dictionary_encode())
    return _joined(slices), _joined(labels)


def _joined(parts: list[pa.DictionaryArray]) -> pa.DictionaryArray:
    chunked = pa.chunked_array(parts, type=pa.dictionary(pa.int32(), pa.string()))
    return chunked.unify_dictionaries().combine_chunks()


def _values(file: Path, column: pa.ChunkedArray) -> NDArray[np.int8]:
    encoded = _joined([some.dictionary_encode() for some in column.chunks])
    texts = encoded.dictionary.to_pylist()
    meanings = [_meaning(text) for text in texts]
    if None in meanings:
        raise PrepareError(f"{file}: label {texts[meanings.index(None)]!r} is neither 0 nor 1 nor empty")
    known = np.array([*meanings, _UNKNOWN], dtype=np.int8)  # the last is for what is missing, numbered -1
    return np.asarray(known[_numbers(encoded.indices)])


def _meaning(text: str) -> int | None:
    try:
        value = float(text) if text.strip() else _UNKNOWN
    except ValueError:
        return None
    return int(value) if value in (0, 1, _UNKNOWN) and text.strip() != "-1" else None


def _label_place(name: str | None) -> int:
    return LABELS.index(name) if name in LABELS else -1


def _numbers(indices: pa.Array) -> NDArray[np.int64]:
    filled: NDArray[np.int64] = indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    return filled


def _filled(
    slices: NDArray[np.int64], labels: NDArray[np.int64], values: NDArray[np.int8], count: int
) -> NDArray[np.int8] | int:
    """Fill (slices, 6); the number of a row that says something else than one before, where there is one."""
    filled = np.full((count, len(LABELS)), _UNKNOWN, dtype=np.int8)
    said = np.flatnonzero(values != _UNKNOWN)
    filled[slices[said], labels[said]] = values[said]
    differs = filled[slices[said], labels[said]] != values[said]
    return int(said[np.argmax(differs)]) if differs.any() else filled
