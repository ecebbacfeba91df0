"""`cruor.training.prepare.rsna`: DICOM and the competition's label file."""

from __future__ import annotations

import csv
import logging
import math
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest

from cruor.demo.ct import CtSeries, ct_slice, stable_uid, write_uncompressed
from cruor.training.prepare.rsna import LABEL_FILE, read_labels, read_rsna
from cruor.training.prepare.store import LABELS
from tests.training.samples import head

SERIES = "ID_3d2ee1643b"


def label_file(folder: Path, *rows: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / LABEL_FILE
    file.write_text("\n".join(["ID,Label", *rows]) + "\n")
    return file


class TestReadLabels:
    def test_each_row_is_one_label_of_one_slice(self, tmp_path: Path) -> None:
        file = label_file(tmp_path, "ID_1_any,1", "ID_1_subdural,0", "ID_2_any,0")
        assert read_labels(file) == {"ID_1": {"any": 1.0, "subdural": 0.0}, "ID_2": {"any": 0.0}}

    def test_a_repeated_row_that_agrees_counts_once(self, tmp_path: Path) -> None:
        assert read_labels(label_file(tmp_path, "ID_1_any,1", "ID_1_any,1")) == {"ID_1": {"any": 1.0}}

    def test_a_repeated_row_that_disagrees_is_an_error_that_names_it(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="ID_1_any stands there twice with different labels"):
            read_labels(label_file(tmp_path, "ID_1_any,1", "ID_1_any,0"))


def generated(root: Path, count: int, *label_rows: str) -> Path:
    """A series of `count` heads written from the top down; every second one bleeds."""
    label_file(root, *label_rows)
    series = CtSeries("study", 1, "", patient_id="ID_patient")
    for number in range(count, 0, -1):
        image = ct_slice(head(number, number % 2 == 0), series, number, (0.0, 0.0, 5.0 * number))
        write_uncompressed(image, root / f"{count - number}.dcm")
    return root


def uid(number: int) -> str:
    return stable_uid("study", 1, number)


class TestReadRsna:
    def test_slices_are_numbered_from_the_bottom_with_their_hu(self, tmp_path: Path) -> None:
        (study,) = read_rsna(generated(tmp_path, 9))
        assert [one.sop_instance_uid for one in study.slices] == [uid(number) for number in range(1, 10)]
        assert [one.number for one in study.slices] == list(range(1, 10))
        for row in range(9):
            np.testing.assert_array_equal(study.hu[row], head(row + 1, (row + 1) % 2 == 0))

    def test_a_slice_that_the_label_file_does_not_name_has_unknown_labels(self, tmp_path: Path) -> None:
        rows = [f"{uid(1)}_{label},{int(label == 'any')}" for label in LABELS]
        (study,) = read_rsna(generated(tmp_path, 2, *rows))
        assert study.slices[0].labels == (1.0, 0.0, 0.0, 0.0, 0.0, 0.0)
        assert all(math.isnan(value) for value in study.slices[1].labels)

    def test_a_label_that_is_not_given_is_unknown(self, tmp_path: Path) -> None:
        (study,) = read_rsna(generated(tmp_path, 1, f"{uid(1)}_any,1"))
        assert study.slices[0].labels == pytest.approx((1.0, *[math.nan] * 5), nan_ok=True)

    @pytest.mark.parametrize(("count", "complete"), [(7, False), (8, True)])
    def test_few_slices_are_no_complete_series(self, tmp_path: Path, count: int, complete: bool) -> None:
        (study,) = read_rsna(generated(tmp_path, count))
        assert {one.complete_series for one in study.slices} == {complete}

    def test_a_file_that_cannot_be_read_is_logged_and_left_out(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        image = ct_slice(head(5), CtSeries("study", 1, "", "ID_patient"), 3, (0.0, 0.0, 15.0))
        image.PixelData = image.PixelData[:100]
        write_uncompressed(image, generated(tmp_path, 2) / "short.dcm")
        with caplog.at_level(logging.WARNING):
            (study,) = read_rsna(tmp_path)
        assert len(study.slices) == 2
        assert "short.dcm" in caplog.text

    def test_the_source_is_named_by_the_folder(self, tmp_path: Path) -> None:
        (study,) = read_rsna(generated(tmp_path / "rsna-train", 1))
        assert study.slices[0].source == "rsna-train"


def test_a_real_series_has_its_hu_and_labels(shared_data: Path, tmp_path: Path) -> None:
    published, root = shared_data / "rsna-sample", tmp_path / "rsna-sample"
    shutil.copytree(published / SERIES, root / SERIES)
    shutil.copyfile(published / LABEL_FILE, root / LABEL_FILE)
    (study,) = read_rsna(root)
    with (published / "slices.csv").open(newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["series_instance_uid"] == SERIES]
    rows.sort(key=lambda row: float(row["z_mm"]))
    assert [one.sop_instance_uid for one in study.slices] == [row["sop_instance_uid"] for row in rows]
    assert [one.labels for one in study.slices] == [
        tuple(float(row[label]) for label in LABELS) for row in rows
    ]
    assert {(one.patient_id, one.complete_series) for one in study.slices} == {(rows[0]["patient_id"], True)}
    for row in (0, 17, 35):
        stored = pydicom.dcmread(published / rows[row]["file"])
        hu = stored.pixel_array * float(stored.RescaleSlope) + float(stored.RescaleIntercept)
        np.testing.assert_array_equal(study.hu[row], np.where(hu < -1024, -1000, hu))
