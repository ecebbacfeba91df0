"""`cruor.training.prepare.rsna`: DICOM and the competition's label file."""

from __future__ import annotations

import csv
import math
import shutil
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cruor.demo.ct import CtSeries, ct_slice, stable_uid, write_uncompressed
from cruor.training.prepare import scan
from cruor.training.prepare.plan import NotRead, PrepareError
from cruor.training.prepare.rsna import LABEL_FILE
from cruor.training.prepare.rsna_labels import read_labels
from cruor.training.prepare.store import LABELS, LabelledStudy
from tests.training.preparing import contents, prepared, readings, studies_of
from tests.training.samples import head

SERIES = "ID_3d2ee1643b"


def label_file(folder: Path, *rows: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / LABEL_FILE
    file.write_text("\n".join(["ID,Label", *rows]) + "\n")
    return file


class TestReadLabels:
    def test_each_row_is_one_label_of_one_slice(self, tmp_path: Path) -> None:
        found = read_labels(label_file(tmp_path, "ID_1_any,1", "ID_1_subdural,0", "ID_2_any,0"))
        by_label = dict(zip(LABELS, found.of("ID_1"), strict=True))
        assert (by_label.pop("any"), by_label.pop("subdural")) == (1.0, 0.0)
        assert all(math.isnan(value) for value in by_label.values())
        assert found.of("ID_2")[LABELS.index("any")] == 0.0

    def test_a_slice_that_is_not_there_has_unknown_labels(self, tmp_path: Path) -> None:
        found = read_labels(label_file(tmp_path, "ID_2_any,0"))
        assert all(math.isnan(value) for name in ("ID_1", "ID_3", "ID_22") for value in found.of(name))

    def test_an_empty_label_is_unknown(self, tmp_path: Path) -> None:
        found = read_labels(label_file(tmp_path, "ID_1_any,", "ID_2_any,0"))
        assert math.isnan(found.of("ID_1")[LABELS.index("any")])

    def test_a_repeated_row_that_agrees_counts_once(self, tmp_path: Path) -> None:
        found = read_labels(label_file(tmp_path, "ID_1_any,1", "ID_1_any,1"))
        assert len(found.names) == 1 and found.of("ID_1")[LABELS.index("any")] == 1.0

    @pytest.mark.parametrize("values", ["10", "01"])
    def test_a_repeated_row_that_disagrees_is_an_error_that_names_it(
        self, tmp_path: Path, values: str
    ) -> None:
        rows = [f"ID_1_any,{value}" for value in values]
        with pytest.raises(PrepareError, match="ID_1_any stands there twice with different labels"):
            read_labels(label_file(tmp_path, "ID_0_any,0", *rows, "ID_2_any,1"))

    @pytest.mark.parametrize(
        ("row", "why"), [("nothing,1", "'nothing' names no slice"), ("ID_1_any,2", "'2' is neither 0 nor 1")]
    )
    def test_a_row_that_means_nothing_is_an_error_that_quotes_it(
        self, tmp_path: Path, row: str, why: str
    ) -> None:
        with pytest.raises(PrepareError, match=why):
            read_labels(label_file(tmp_path, "ID_0_any,0", row))

    def test_another_table_is_an_error(self, tmp_path: Path) -> None:
        (tmp_path / LABEL_FILE).write_text("a,b\n1,2\n")
        with pytest.raises(PrepareError, match="no table of ID and Label"):
            read_labels(tmp_path / LABEL_FILE)

    @given(
        st.dictionaries(
            st.tuples(st.integers(0, 50), st.sampled_from(LABELS)), st.sampled_from(["0", "1", ""])
        )
    )
    def test_every_label_comes_back_whatever_the_order(self, said: dict[tuple[int, str], str]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            rows = [f"ID_{number}_{label},{value}" for (number, label), value in said.items()]
            found = read_labels(label_file(Path(folder), *rows))
        for (number, label), value in said.items():
            expected = float(value) if value else math.nan
            assert found.of(f"ID_{number}")[LABELS.index(label)] == pytest.approx(expected, nan_ok=True)


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


def studies(root: Path) -> list[LabelledStudy]:
    return studies_of("rsna", root, root.parent / "out")


class TestReadRsna:
    def test_slices_are_numbered_from_the_bottom_with_their_hu(self, tmp_path: Path) -> None:
        (study,) = studies(generated(tmp_path / "root", 9))
        assert [one.sop_instance_uid for one in study.slices] == [uid(number) for number in range(1, 10)]
        assert [one.number for one in study.slices] == list(range(1, 10))
        for row in range(9):
            np.testing.assert_array_equal(study.hu[row], head(row + 1, (row + 1) % 2 == 0))

    def test_a_slice_that_the_label_file_does_not_name_has_unknown_labels(self, tmp_path: Path) -> None:
        rows = [f"{uid(1)}_{label},{int(label == 'any')}" for label in LABELS]
        (study,) = studies(generated(tmp_path / "root", 2, *rows))
        assert study.slices[0].labels == (1.0, 0.0, 0.0, 0.0, 0.0, 0.0)
        assert all(math.isnan(value) for value in study.slices[1].labels)

    def test_a_label_that_is_not_given_is_unknown(self, tmp_path: Path) -> None:
        (study,) = studies(generated(tmp_path / "root", 1, f"{uid(1)}_any,1"))
        assert study.slices[0].labels == pytest.approx((1.0, *[math.nan] * 5), nan_ok=True)

    @pytest.mark.parametrize(("count", "complete"), [(7, False), (8, True)])
    def test_few_slices_are_no_complete_series(self, tmp_path: Path, count: int, complete: bool) -> None:
        (study,) = studies(generated(tmp_path / "root", count))
        assert {one.complete_series for one in study.slices} == {complete}

    def test_a_file_that_is_cut_short_is_put_aside_and_the_others_are_read(self, tmp_path: Path) -> None:
        root = generated(tmp_path / "root", 3)
        whole = (root / "1.dcm").read_bytes()
        (root / "1.dcm").write_bytes(whole[: len(whole) // 2])
        reading, *others = readings("rsna", root, tmp_path / "out")
        assert [(Path(one.file).name, one.why.startswith("cut short")) for one in reading.not_read] == [
            ("1.dcm", True)
        ]
        assert [len(study.slices) for other in others for study in other.studies] == [2]

    def test_pixels_that_cannot_be_decoded_are_put_aside_and_the_others_are_read(
        self, tmp_path: Path
    ) -> None:
        root = generated(tmp_path / "root", 2)
        image = ct_slice(head(5), CtSeries("study", 1, "", "ID_patient"), 3, (0.0, 0.0, 15.0))
        image.PixelData = image.PixelData[:100]
        write_uncompressed(image, root / "short.dcm")
        *_, reading = readings("rsna", root, tmp_path / "out")
        assert len(reading.studies[0].slices) == 2
        assert [Path(one.file).name for one in reading.not_read] == ["short.dcm"]

    def test_12_bit_values_that_lost_their_offset_are_mended(self, tmp_path: Path) -> None:
        root = generated(tmp_path / "root", 2)
        image = pydicom.dcmread(root / "0.dcm")
        hu = image.pixel_array.astype(int) - 1024
        image.RescaleIntercept = 0
        image.PixelData = np.where(hu < 0, hu + 4096, hu).astype("<u2").tobytes()
        image.save_as(root / "0.dcm")
        (study,) = studies(root)
        np.testing.assert_array_equal(study.hu[1], head(2, True))

    def test_a_copy_of_a_file_is_read_once_wherever_it_lies(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(scan, "FILES_A_PART", 2)
        root = generated(tmp_path / "root", 3)
        shutil.copyfile(root / "0.dcm", root / "z.dcm")
        found = readings("rsna", root, tmp_path / "out")
        assert not any(reading.not_read for reading in found)
        assert [len(study.slices) for reading in found for study in reading.studies] == [3]

    def test_another_file_of_the_same_instance_is_put_aside(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(scan, "FILES_A_PART", 2)
        root = generated(tmp_path / "root", 3)
        (root / "z.dcm").write_bytes((root / "0.dcm").read_bytes() + b"\0\0")
        reading, *others = readings("rsna", root, tmp_path / "out")
        assert [(Path(one.file).name, "other content" in one.why) for one in reading.not_read] == [
            ("z.dcm", True)
        ]
        assert [len(study.slices) for other in others for study in other.studies] == [3]

    def test_parts_of_a_series_that_differ_in_size_are_kept_apart(self, tmp_path: Path) -> None:
        root = generated(tmp_path / "root", 3)
        small = ct_slice(head(5)[:64, :64], CtSeries("study", 1, "", "ID_patient"), 9, (0.0, 0.0, 45.0))
        write_uncompressed(small, root / "small.dcm")
        prepared("rsna", root, tmp_path / "prepared")
        index, hu = contents(tmp_path / "prepared")
        assert [one.shape for one in hu] == [(96, 96)] * 3 + [(64, 64)]
        assert index["study_instance_uid"].nunique() == 2 and index["file"].nunique() == 2

    def test_only_the_training_folder_is_read_where_there_is_one(self, tmp_path: Path) -> None:
        root = tmp_path / "root"
        generated(root / "stage_2_train", 2)
        generated(root / "stage_2_test", 2)
        (root / LABEL_FILE).write_text("ID,Label\n")
        (study,) = studies(root)
        assert len(study.slices) == 2

    def test_zip_archives_are_to_be_unpacked_first(self, tmp_path: Path) -> None:
        root = generated(tmp_path / "root", 2)
        with zipfile.ZipFile(root / "more.zip", "w") as archive:
            archive.write(root / "1.dcm", "1.dcm")
        (root / "1.dcm").unlink()
        reading, *_ = readings("rsna", root, tmp_path / "out")
        (aside,) = reading.not_read
        assert aside == NotRead(f"{root / 'more.zip'}!1.dcm", scan.IN_ARCHIVE)

    def test_without_dicom_it_says_so(self, tmp_path: Path) -> None:
        label_file(tmp_path / "root")
        with pytest.raises(PrepareError, match="no DICOM file"):
            studies(tmp_path / "root")

    def test_spacings_come_from_the_headers(self, tmp_path: Path) -> None:
        (study,) = studies(generated(tmp_path / "root", 3))
        assert {(one.spacing_mm, one.pixel_spacing_mm) for one in study.slices} == {(5.0, 0.45)}
        assert set(np.diff([one.position_mm for one in study.slices])) == {5.0}

    def test_the_source_is_named_by_the_folder(self, tmp_path: Path) -> None:
        (study,) = studies(generated(tmp_path / "rsna-train", 1))
        assert study.slices[0].source == "rsna-train"


def test_a_real_series_has_its_hu_and_labels(shared_data: Path, tmp_path: Path) -> None:
    published, root = shared_data / "rsna-sample", tmp_path / "rsna-sample"
    shutil.copytree(published / SERIES, root / SERIES)
    shutil.copyfile(published / LABEL_FILE, root / LABEL_FILE)
    (study,) = studies(root)
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
