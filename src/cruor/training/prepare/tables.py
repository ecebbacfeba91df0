"""Tables of published data sets: CSV with a header, its columns checked before anything rests on them."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from cruor.training.prepare.plan import PrepareError
from cruor.training.prepare.store import LABELS, UNKNOWN

Record = dict[str, str]


def read_table(file: Path, *columns: str) -> list[Record]:
    """Read all rows; a value that a row lacks is empty.

    Args:
        file: CSV in UTF-8, with or without byte order mark.
        columns: that must be there.

    Raises:
        PrepareError: the file cannot be read, or a column is missing.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines, restval="")
            missing = [name for name in columns if name not in (reader.fieldnames or ())]
            if missing:
                raise PrepareError(
                    f"{file}: has no column {missing[0]!r}; docs/training.md tells what it needs"
                )
            return [{name: value for name, value in row.items() if name} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        why = getattr(error, "strerror", None) or error
        raise PrepareError(f"{file}: cannot be read ({why}); docs/training.md tells what it holds") from error


def label_of(file: Path, text: str) -> float:
    """A label of a table: 1, 0, or NaN where it is empty.

    Raises:
        PrepareError: it is something else.
    """
    if not text.strip():
        return UNKNOWN
    try:
        value = float(text)
    except ValueError:
        value = UNKNOWN
    if value not in (0.0, 1.0):
        raise PrepareError(f"{file}: label {text!r} is neither 0 nor 1 nor empty")
    return value


def labels_of(file: Path, row: Record) -> tuple[float, ...]:
    """The columns of LABELS as labels; a column that is missing is unknown."""
    return tuple(label_of(file, row.get(label, "")) for label in LABELS)


def check_labels(file: Path, rows: Iterable[Record]) -> None:
    """Look at the labels of all rows, so that a wrong one stops a run at its beginning.

    Raises:
        PrepareError: one is neither 0 nor 1 nor empty.
    """
    for row in rows:
        labels_of(file, row)


def number_or_unknown(text: str) -> float:
    """A number, NaN where it is none: what people wrote of a patient's age."""
    try:
        return float(text)
    except ValueError:
        return UNKNOWN


def whole_number(file: Path, row: Record, column: str) -> int:
    """A whole number of a row.

    Raises:
        PrepareError: it is none.
    """
    try:
        return int(float(row[column]))
    except ValueError as error:
        raise PrepareError(f"{file}: {column} {row[column]!r} is no whole number") from error
