from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from cruor.dicom.instances import Frame, UnreadableError
from cruor.report.files import PAGE_PANELS, SLICES_COLUMNS, study_folder_name, write_atomically, write_study

from .samples import failed, read_slice, slice_result, suspected


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_study_is_written_as_json_csv_and_a_panel_for_every_suspicious_slice(tmp_path: Path) -> None:
    write_study(suspected(), tmp_path, read_slice)
    assert names(tmp_path / "1.2.3") == {"result.json", "slices.csv", "slice-003.png", "slice-004.png"}
    assert json.loads((tmp_path / "1.2.3/result.json").read_text())["decision"] == "SUSPECTED"


def test_slices_csv_has_a_line_for_each_slice_and_names_the_panels(tmp_path: Path) -> None:
    write_study(suspected(), tmp_path, read_slice)
    with (tmp_path / "1.2.3/slices.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == SLICES_COLUMNS
    assert [row["panel"] for row in rows] == ["", "", "slice-003.png", "slice-004.png", ""]


def test_a_failed_study_is_written_too(tmp_path: Path) -> None:
    write_study(failed(), tmp_path, read_slice)
    assert names(tmp_path / "1.2.6") == {"result.json", "slices.csv"}


def test_a_second_run_takes_away_panels_of_the_first(tmp_path: Path) -> None:
    write_study(suspected(), tmp_path, read_slice)
    write_study(suspected(suspicious=(4,)), tmp_path, read_slice)
    assert names(tmp_path / "1.2.3") == {"result.json", "slices.csv", "slice-004.png"}


def test_files_of_others_are_left_alone_even_under_a_panels_name(tmp_path: Path) -> None:
    folder = tmp_path / "1.2.3"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    (folder / "slice-001.png").write_text("not a picture")
    Image.new("L", (2, 2)).save(folder / "slice-002.png")
    write_study(suspected(), tmp_path, read_slice)
    assert {"notes.txt", "slice-001.png", "slice-002.png"} <= names(folder)


def test_a_temporary_file_of_a_killed_run_is_taken_away(tmp_path: Path) -> None:
    (tmp_path / "1.2.3").mkdir()
    (tmp_path / "1.2.3/.cruor-0123.tmp").write_bytes(b"half")
    write_study(suspected(), tmp_path, read_slice)
    assert ".cruor-0123.tmp" not in names(tmp_path / "1.2.3")


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_atomically(tmp_path / "a", b"old")

    def full(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("cruor.report.files.os.fsync", full)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"old"
    assert names(tmp_path) == {"a"}


def test_a_panel_that_cannot_be_drawn_is_named_and_the_rest_is_written(tmp_path: Path) -> None:
    def broken(frame: Frame) -> NDArray[np.int16]:
        if frame.index == 2:
            raise UnreadableError("IM3", "pixel data end early")
        return read_slice(frame)

    card = write_study(suspected(), tmp_path, broken)
    assert names(tmp_path / "1.2.3") == {"result.json", "slices.csv", "slice-004.png"}
    assert card.missing == ("No panel for slice 3: IM3: pixel data end early",)


def test_only_the_first_panels_stand_in_the_page(tmp_path: Path) -> None:
    count = PAGE_PANELS + 2
    slices = tuple(slice_result(number, 0.9) for number in range(1, count + 1))
    card = write_study(suspected(slices=slices, suspicious=tuple(range(1, count + 1))), tmp_path, read_slice)
    assert [panel.data_uri is not None for panel in card.panels] == [True] * PAGE_PANELS + [False] * 2


@pytest.mark.parametrize(
    "uid", ["../../x", "/etc/passwd", "..", ".", "", "a\0b", "1.2/3", "C:\\x", "\udcff", "x" * 300]
)
def test_a_hostile_uid_stays_inside_the_folder(uid: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_study(failed(study_instance_uid=uid), out, read_slice)
    assert names(tmp_path) == {"out"}
    assert [path.parent for path in out.glob("*/result.json")] == [out / study_folder_name(uid)]


def test_uids_that_look_alike_when_made_safe_do_not_share_a_folder() -> None:
    assert len({study_folder_name(uid) for uid in ("1.2/3", "1.2\\3", "1.2_3", "1_2_3", "1.2.3")}) == 5


@given(st.text(), st.text())
def test_folder_names_are_one_harmless_part_and_differ_where_the_uids_differ(one: str, other: str) -> None:
    name = study_folder_name(one)
    assert name == Path(name).name
    assert name not in {"", ".", ".."}
    assert len(name) <= 64
    assert (name == study_folder_name(other)) == (one == other)


def test_a_uid_that_is_a_formula_is_not_one_in_the_table(tmp_path: Path) -> None:
    evil = slice_result(1, 0.1, sop_instance_uid="=1+1")
    write_study(suspected(slices=(evil,), suspicious=()), tmp_path, read_slice)
    assert "1,'=1+1," in (tmp_path / "1.2.3/slices.csv").read_text()
