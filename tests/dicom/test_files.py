"""Finding files: whatever is no image is said, nothing is skipped in silence."""

from __future__ import annotations

import os
import random
import re
import shutil
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from pydicom.data import get_testdata_file

from cruor.dicom import files
from cruor.dicom.instances import Instance
from tests.dicom import writing

STORED = np.arange(1024, dtype=np.int16).reshape(32, 32)


def uids(instances: list[Instance]) -> set[str]:
    return {instance.sop_instance_uid for instance in instances}


def test_finds_images_in_nested_folders_without_extension(tmp_path: Path) -> None:
    for name in ("a", "deep/er/b", "deep/c.dcm"):
        writing.write(writing.ct(STORED), tmp_path / name)
    instances, aside = writing.found_in(tmp_path)
    assert len(uids(instances)) == 3
    assert not aside


def test_finds_a_single_file_and_a_zip_archive(tmp_path: Path) -> None:
    one = writing.write(writing.ct(STORED), tmp_path / "one")
    with zipfile.ZipFile(tmp_path / "study.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("folder/IM1", writing.to_bytes(writing.ct(STORED)))
        archive.writestr("notes.txt", "hello")
    instances, aside = writing.found_in(one, tmp_path / "study.zip")
    assert [instance.source.name for instance in instances] == [
        str(one),
        f"{tmp_path / 'study.zip'}!folder/IM1",
    ]
    assert [(entry.name.split("!")[1], entry.damaged) for entry in aside] == [("notes.txt", False)]
    assert instances[1].source.read_bytes()[128:132] == b"DICM"


def test_a_zip_archive_inside_a_folder_is_opened(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "no extension", "w") as archive:
        archive.writestr("IM1", writing.to_bytes(writing.ct(STORED)))
    instances, _ = writing.found_in(tmp_path)
    assert len(instances) == 1


def test_foreign_files_are_put_aside_as_such(tmp_path: Path) -> None:
    foreign = {"notes.txt": b"hello", ".DS_Store": b"\0\0\0\1Bud1", "empty": b"",
               "p.png": b"\x89PNG\r\n\x1a\n",
               "VERSION": b"1", "r.pdf": b"%PDF-1.4", "x.gz": b"\x1f\x8b\x08\0"}  # fmt: skip
    for name, content in foreign.items():
        (tmp_path / name).write_bytes(content)
    instances, aside = writing.found_in(tmp_path)
    assert not instances
    assert {Path(entry.name).name for entry in aside} == set(foreign)
    assert not any(entry.damaged for entry in aside)


def test_an_office_document_is_one_foreign_file(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "letter.docx", "w") as archive:
        archive.writestr("[Content_Types].xml", "<x/>")
        archive.writestr("word/document.xml", "<x/>")
    _, aside = writing.found_in(tmp_path)
    assert [(entry.why, entry.damaged) for entry in aside] == [("is an office document", False)]


def test_a_dicomdir_is_put_aside_and_its_images_found(tmp_path: Path) -> None:
    source = Path(str(get_testdata_file("DICOMDIR", download=False))).parent
    shutil.copy(source / "DICOMDIR", tmp_path)
    shutil.copytree(source / "77654033" / "CT2", tmp_path / "CT2")
    instances, aside = writing.found_in(tmp_path)
    assert len(instances) == 4
    assert [(Path(entry.name).name, entry.damaged) for entry in aside] == [("DICOMDIR", False)]


@pytest.mark.parametrize("syntax", ["implicit", "explicit", "big_endian"])
def test_reads_files_without_preamble_and_meta_information(syntax: str, tmp_path: Path) -> None:
    dataset = writing.encode(writing.ct(STORED), writing.LOSSLESS[syntax])
    data = writing.to_bytes(dataset)
    body = data[files._end_of_meta(data) :]
    (tmp_path / "bare").write_bytes(body)
    instances, aside = writing.found_in(tmp_path)
    assert not aside
    assert instances[0].header.file_meta.TransferSyntaxUID == writing.LOSSLESS[syntax]


def test_holds_no_pixels_and_no_large_private_values(tmp_path: Path) -> None:
    dataset = writing.ct(STORED)
    dataset.private_block(0x0029, "VENDOR", create=True).add_new(1, "OB", b"\0" * 100_000)
    dataset.private_block(0x0029, "VENDOR").add_new(2, "LO", "kept")
    instances, _ = writing.found_in(writing.write(dataset, tmp_path / "one"))
    assert "PixelData" not in instances[0].header
    assert (0x0029, 0x1001) not in instances[0].header
    assert instances[0].header[0x0029, 0x1002].value == "kept"


def test_reads_invalid_uids_quietly_as_text(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = writing.ct(
            STORED, SOPInstanceUID="ID_1a", SeriesInstanceUID="ID_2", StudyInstanceUID="ID_3"
        )
        writing.write(dataset, tmp_path / "one")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        instances, _ = writing.found_in(tmp_path)
        one = instances[0]
        assert (one.sop_instance_uid, one.series_instance_uid, one.study_instance_uid) == (
            "ID_1a",
            "ID_2",
            "ID_3",
        )


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"])
def test_a_file_without_a_uid_is_damaged_and_the_uid_named(keyword: str, tmp_path: Path) -> None:
    writing.write(writing.ct(STORED, **{keyword: None}), tmp_path / "one")
    instances, aside = writing.found_in(tmp_path)
    assert not instances
    assert aside[0].damaged and keyword in aside[0].why


@pytest.mark.parametrize("syntax", writing.LOSSLESS)
def test_a_file_cut_short_in_its_pixels_is_damaged(syntax: str, tmp_path: Path) -> None:
    data = writing.to_bytes(writing.encode(writing.ct(STORED), writing.LOSSLESS[syntax]))
    (tmp_path / "one").write_bytes(data[:-40])
    instances, aside = writing.found_in(tmp_path)
    assert not instances
    assert aside[0].damaged
    assert "cut short" in aside[0].why
    assert "again" in aside[0].why


def test_a_file_cut_short_names_its_study(tmp_path: Path) -> None:
    dataset = writing.ct(STORED)
    (tmp_path / "one").write_bytes(writing.to_bytes(dataset)[:-40])
    _, aside = writing.found_in(tmp_path)
    assert aside[0].study_instance_uid == dataset.StudyInstanceUID


@pytest.mark.filterwarnings("ignore:Invalid value")
def test_every_cut_of_a_file_is_noticed(tmp_path: Path) -> None:
    data = writing.to_bytes(writing.ct(STORED))
    for length in range(132, len(data), 7):
        (tmp_path / "one").write_bytes(data[:length])
        instances, aside = writing.found_in(tmp_path)
        assert not instances, length
        assert aside[0].damaged, length


@pytest.mark.filterwarnings("ignore:Invalid value")
def test_no_message_holds_a_patient_name(tmp_path: Path) -> None:
    data = writing.to_bytes(writing.ct(STORED, PatientName="Muster^Martha", PatientID="4711"))
    for length in range(132, len(data), 11):
        (tmp_path / f"{length}").write_bytes(data[:length])
    _, aside = writing.found_in(tmp_path)
    assert not [entry for entry in aside if "Muster" in entry.why or "4711" in entry.why]


def test_an_identical_copy_is_given_once_and_said(tmp_path: Path) -> None:
    path = writing.write(writing.ct(STORED), tmp_path / "a")
    shutil.copy(path, tmp_path / "b")
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
        archive.write(path, "a")
    instances, aside = writing.found_in(tmp_path)
    assert len(instances) == 1
    assert [entry.damaged for entry in aside] == [False, False]
    assert all("copy of" in entry.why for entry in aside)


def test_another_file_of_the_same_uid_is_damaged(tmp_path: Path) -> None:
    first = writing.ct(STORED)
    writing.write(first, tmp_path / "a")
    writing.write(writing.ct(STORED + 1, SOPInstanceUID=first.SOPInstanceUID), tmp_path / "b")
    instances, aside = writing.found_in(tmp_path)
    assert len(instances) == 1
    assert aside[0].damaged and "other content" in aside[0].why


def test_a_report_is_an_instance(tmp_path: Path) -> None:
    path = Path(str(get_testdata_file("test-SR.dcm", download=False)))
    instances, aside = writing.found_in(path)
    assert [instance.header.Modality for instance in instances] == ["SR"]
    assert not aside


def test_symbolic_links_in_a_circle_end(tmp_path: Path) -> None:
    writing.write(writing.ct(STORED), tmp_path / "folder" / "a")
    (tmp_path / "folder" / "up").symlink_to(tmp_path, target_is_directory=True)
    instances, _ = writing.found_in(tmp_path)
    assert len(instances) == 1


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    _, aside = writing.found_in(tmp_path)
    assert "pipe" in aside[0].why and not aside[0].damaged


def test_a_missing_path_is_said(tmp_path: Path) -> None:
    _, aside = writing.found_in(tmp_path / "nothing")
    assert aside[0].damaged and "no such file" in aside[0].why


def test_a_broken_zip_archive_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "study.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", writing.to_bytes(writing.ct(STORED)))
    path.write_bytes(path.read_bytes()[:-30])
    _, aside = writing.found_in(path)
    assert aside[0].damaged and "zip archive is broken" in aside[0].why


def test_a_zip_member_with_a_wrong_checksum_is_damaged_and_the_others_read(tmp_path: Path) -> None:
    path = tmp_path / "study.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("a", "b"):
            archive.writestr(name, writing.to_bytes(writing.ct(STORED)))
    data = bytearray(path.read_bytes())
    data[600] ^= 0xFF
    path.write_bytes(data)
    instances, aside = writing.found_in(path)
    assert len(instances) == 1
    assert aside[0].damaged and "cannot be unpacked" in aside[0].why


def test_an_encrypted_zip_is_damaged_said_once_and_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "study.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("a", "b"):
            archive.writestr(name, b"secret")
    data = bytearray(path.read_bytes())
    for entry in re.finditer(b"PK\x01\x02", bytes(data)):
        data[entry.start() + 8] |= 1
    path.write_bytes(data)
    _, aside = writing.found_in(path)
    (one,) = aside
    assert one.damaged and "2 of 2 files in it are encrypted" in one.why and "password" in one.why


def test_a_zip_member_that_unpacks_too_large_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MAX_MEMBER_BYTES", 1000)
    with zipfile.ZipFile(tmp_path / "study.zip", "w") as archive:
        archive.writestr("a", b"\0" * 1001)
    _, aside = writing.found_in(tmp_path)
    assert aside[0].damaged and "too large" in aside[0].why


def test_a_deflated_file_that_inflates_too_large_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MAX_INFLATED_BYTES", 1000)
    dataset = writing.encode(writing.ct(np.zeros((64, 64), np.int16)), writing.LOSSLESS["deflated"])
    _, aside = writing.found_in(writing.write(dataset, tmp_path / "one"))
    assert aside[0].damaged and "too large" in aside[0].why


def test_members_that_point_outside_the_archive_are_only_read(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    with zipfile.ZipFile(inner / "study.zip", "w") as archive:
        archive.writestr("../../escaped", writing.to_bytes(writing.ct(STORED)))
    instances, _ = writing.found_in(inner)
    assert len(instances) == 1
    assert not (tmp_path / "escaped").exists()


def test_an_archive_inside_an_archive_is_said(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "inner.zip", "w") as archive:
        archive.writestr("a", "x")
    with zipfile.ZipFile(tmp_path / "outer.zip", "w") as archive:
        archive.write(tmp_path / "inner.zip", "inner.zip")
    _, aside = writing.found_in(tmp_path / "outer.zip")
    assert "inside an archive" in aside[0].why


def test_the_order_of_folders_does_not_hang_on_the_file_system(tmp_path: Path) -> None:
    names = [f"{number:02d}" for number in range(20)]
    random.Random(0).shuffle(names)
    for name in names:
        writing.write(writing.ct(STORED), tmp_path / name)
    instances, _ = writing.found_in(tmp_path)
    assert [instance.source.path.name for instance in instances] == sorted(names)
