"""Holds docs/result.md to the code: keys, their order, their types, columns and file names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_type_hints

import pytest

from cruor.reader.results import FINDINGS, Decision, Status
from cruor.report.files import RESULT_NAME, SLICES_COLUMNS, SLICES_NAME
from cruor.report.page import PAGE_NAME
from cruor.report.record import BloodVolumeRecord, SeriesRecord, SliceRecord, StudyRecord

DOCUMENT = (Path(__file__).parents[2] / "docs" / "result.md").read_text("utf-8")

TYPE_WORDS = {
    "str": "string",
    "str | None": "string or null",
    "int": "integer",
    "int | None": "integer or null",
    "float | None": "number or null",
    "cruor.report.record.BloodVolumeRecord | None": "blood volume or null",
    "bool": "boolean",
    "list[str]": "array of string",
    "list[cruor.report.record.SliceRecord]": "array of slice",
    "list[cruor.report.record.SeriesRecord]": "array of series",
    "dict[str, float | None]": "object of number or null",
}


def rows_under(heading: str) -> list[list[str]]:
    section = re.split(r"^#+ ", DOCUMENT, flags=re.MULTILINE)
    body = next(part for part in section if part.startswith(heading + "\n"))
    lines = [line for line in body.splitlines() if line.startswith("|")]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines[2:]]


def type_word(hint: object) -> str:
    return TYPE_WORDS[hint.__name__ if isinstance(hint, type) and "[" not in str(hint) else str(hint)]


@pytest.mark.parametrize(
    ("heading", "record"),
    [
        ("The study: result.json and `--json`", StudyRecord),
        ("blood volume", BloodVolumeRecord),
        ("slice", SliceRecord),
        ("series", SeriesRecord),
    ],
)
def test_every_key_stands_in_the_document_in_order_with_its_type(heading: str, record: type) -> None:
    documented = [(row[0], row[1]) for row in rows_under(heading)]
    assert documented == [(key, type_word(hint)) for key, hint in get_type_hints(record).items()]


@pytest.mark.parametrize(
    "heading", ["The study: result.json and `--json`", "blood volume", "slice", "series"]
)
def test_the_document_says_when_a_value_is_null_exactly_where_it_may_be(heading: str) -> None:
    for row in rows_under(heading):
        assert ("null" in row[1]) == (row[4] != ""), row[0]


def test_every_column_of_slices_csv_stands_in_the_document_in_order() -> None:
    assert [row[0] for row in rows_under("slices.csv")] == list(SLICES_COLUMNS)


def test_every_file_of_out_stands_in_the_document() -> None:
    names = [row[0] for row in rows_under("Where things go")]
    assert names == [PAGE_NAME, f"<study>/{RESULT_NAME}", f"<study>/{SLICES_NAME}", "<study>/slice-NNN.png"]


def test_every_word_a_field_can_hold_stands_in_the_document() -> None:
    for word in (*Status, *Decision, *FINDINGS):
        assert f"`{word}`" in DOCUMENT


def test_exit_statuses_stand_in_the_document() -> None:
    assert [row[0] for row in rows_under("Exit status")] == ["0", "1", "2"]
