"""The kinds `folder` and `cq500`: a label for a patient or scan, by the series that `cruor triage` reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cruor.training.prepare.cq500 import read_reads
from cruor.training.prepare.plan import PrepareError, Reading
from cruor.training.prepare.series import age_years
from cruor.training.prepare.store import LABELS
from tests.dicom.writing import head_slices, uid, write_series
from tests.training.preparing import prepared, readings

HEADS = head_slices(12)
FINDINGS = {"ICH": "any", "IPH": "intraparenchymal", "IVH": "intraventricular"} | {
    "SDH": "subdural", "EDH": "epidural", "SAH": "subarachnoid"
}  # fmt: skip


def patients(root: Path, *rows: str) -> Path:
    root.mkdir(exist_ok=True)
    (root / "labels.csv").write_text("\n".join(["patient_id,label", *rows]) + "\n")
    return root


def clinical(root: Path, name: str, **elements: object) -> Path:
    """A study of a head in a folder of its own."""
    return write_series(root / name, HEADS, **{"StudyInstanceUID": uid(), **elements})


def read(kind: str, root: Path) -> list[Reading]:
    return readings(kind, root, root.parent / "out")


class TestFolder:
    def test_the_label_is_of_the_study_and_slices_are_unknown(self, tmp_path: Path) -> None:
        root = patients(tmp_path / "clinic", "bleeds,1", "quiet,0")
        clinical(root, "bleeds", PatientAge="045Y", PatientSex="F")
        clinical(root, "quiet")
        _, *found = read("folder", root)
        bleeds, quiet = (reading.studies[0].slices for reading in found)
        assert [slices[0].patient_id for slices in (bleeds, quiet)] == ["clinic-bleeds", "clinic-quiet"]
        assert len(bleeds) == 12 and bleeds[0].complete_series
        assert np.isnan([one.labels for one in (*bleeds, *quiet)]).all()
        of_bleeds, of_quiet = (dict(zip(LABELS, one[0].study_labels, strict=True)) for one in (bleeds, quiet))
        assert of_bleeds["any"] == 1.0 and np.isnan(of_bleeds["subdural"])
        assert set(of_quiet.values()) == {0.0}
        assert (bleeds[0].age_years, bleeds[0].sex, bleeds[0].spacing_mm) == (45.0, "F", 5.0)

    def test_the_series_is_the_one_that_triage_reads(self, tmp_path: Path) -> None:
        root = patients(tmp_path / "clinic", "a,1")
        study = uid()
        clinical(root, "a", StudyInstanceUID=study, ConvolutionKernel="BONE", SeriesInstanceUID=uid())
        soft = clinical(
            root, "a", StudyInstanceUID=study, ConvolutionKernel="H30s", SeriesInstanceUID="1.2.3"
        )
        _, reading = read("folder", root)
        wanted = {file.name for file in (soft / "1.2.3").iterdir()}
        assert len(reading.studies[0].slices) == len(wanted) and not reading.not_read

    def test_a_patient_whose_series_cannot_be_read_is_put_aside_with_the_reason(self, tmp_path: Path) -> None:
        root = patients(tmp_path / "clinic", "a,1", "b,0")
        clinical(root, "a", ConvolutionKernel="BONE")
        clinical(root, "b")
        whole = prepared("folder", root, tmp_path / "out")
        assert (whole.patients, whole.not_read) == (1, 1)
        assert "sharp kernel" in (tmp_path / "out" / "not_read.csv").read_text()

    def test_of_several_studies_nobody_knows_which_one_the_label_means(self, tmp_path: Path) -> None:
        root = patients(tmp_path / "clinic", "a,1")
        clinical(root, "a")
        clinical(root, "a")
        _, reading = read("folder", root)
        assert not reading.studies and "holds 2 studies" in reading.not_read[0].why

    def test_a_label_without_a_folder_and_a_folder_without_a_label_are_listed(self, tmp_path: Path) -> None:
        root = patients(tmp_path / "clinic", "there,1", "gone,0")
        clinical(root, "there")
        (root / "unnamed").mkdir()
        plan, _ = read("folder", root)
        assert sorted(Path(one.file).name for one in plan.not_read) == ["gone", "unnamed"]

    def test_a_study_that_two_patients_have_is_kept_once_and_listed(self, tmp_path: Path) -> None:
        root = patients(tmp_path / "clinic", "a,1", "b,0")
        clinical(root, "a", StudyInstanceUID="1.2.4")
        clinical(root, "b", StudyInstanceUID="1.2.4")
        whole = prepared("folder", root, tmp_path / "out")
        assert (whole.studies, whole.slices, whole.not_read) == (1, 12, 1)
        assert "clinic-b" in (tmp_path / "out" / "not_read.csv").read_text()

    @pytest.mark.parametrize(
        ("rows", "why"), [(("a,1", "a,0"), "twice"), (("a,",), "has no label"), (("a,2",), "neither 0 nor 1")]
    )
    def test_labels_that_contradict_or_say_nothing_are_an_error(
        self, tmp_path: Path, rows: tuple[str, ...], why: str
    ) -> None:
        with pytest.raises(PrepareError, match=why):
            read("folder", patients(tmp_path / "clinic", *rows))


def reads(root: Path, scans: dict[int, dict[str, str]]) -> Path:
    """Scan -> finding -> what the three readers said, as in "110"."""
    root.mkdir(exist_ok=True)
    columns = [f"R{reader}:{finding}" for reader in (1, 2, 3) for finding in FINDINGS]
    lines = [",".join(["name", "Category", *columns])]
    for number, said in scans.items():
        answers = [said.get(finding, "000")[reader] for reader in range(3) for finding in FINDINGS]
        lines.append(",".join([f"CQ500-CT-{number}", "B1", *answers]))
    (root / "reads.csv").write_text("\n".join(lines) + "\n")
    return root


class TestCq500:
    def test_two_of_three_readers_decide(self, tmp_path: Path) -> None:
        root = reads(tmp_path / "cq500", {5: {"ICH": "111", "SDH": "110", "EDH": "001", "IPH": "101"}})
        by_label = dict(zip(LABELS, read_reads(root / "reads.csv")[5], strict=True))
        assert {label for label, value in by_label.items() if value} == {
            "any",
            "subdural",
            "intraparenchymal",
        }

    def test_slices_of_a_scan_without_hemorrhage_have_none_those_of_others_are_unknown(
        self, tmp_path: Path
    ) -> None:
        root = reads(tmp_path / "cq500", {1: {"ICH": "001"}, 20: {"ICH": "110"}, 300: {}})
        clinical(root, "CQ500CT1 CQ500CT1", PatientAge="006M")
        clinical(root, "CQ500CT20 CQ500CT20")
        plan, quiet, bleeds = read("cq500", root)
        assert not plan.not_read
        assert {one.labels for one in quiet.studies[0].slices} == {(0.0,) * 6}
        assert np.isnan([one.labels for one in bleeds.studies[0].slices]).all()
        assert bleeds.studies[0].slices[0].study_labels == tuple(float(label == "any") for label in LABELS)
        assert {one.patient_id for one in quiet.studies[0].slices} == {"CQ500-CT-1"}
        assert quiet.studies[0].slices[0].age_years == 0.5

    def test_a_scan_without_reads_is_listed(self, tmp_path: Path) -> None:
        root = reads(tmp_path / "cq500", {1: {}})
        (root / "CQ500CT2 CQ500CT2").mkdir()
        plan, *_ = read("cq500", root)
        assert [Path(one.file).name for one in plan.not_read] == ["CQ500CT2 CQ500CT2"]

    def test_without_folders_of_scans_it_says_what_they_are_called(self, tmp_path: Path) -> None:
        with pytest.raises(PrepareError, match="CQ500CT0 CQ500CT0"):
            read("cq500", reads(tmp_path / "cq500", {1: {}}))

    def test_a_reader_without_an_answer_is_an_error(self, tmp_path: Path) -> None:
        root = reads(tmp_path / "cq500", {1: {}})
        table = root / "reads.csv"
        table.write_text(table.read_text().replace(",0\n", ",\n"))
        with pytest.raises(PrepareError, match="CQ500-CT-1 lacks a reader's answer"):
            read_reads(table)

    def test_the_published_reads_have_the_published_majorities(self, shared_data: Path) -> None:
        found = np.array(list(read_reads(shared_data / "cq500" / "reads.csv").values()))
        counts = dict(zip(LABELS, found.sum(axis=0).astype(int).tolist(), strict=True))
        assert len(found) == 491
        assert counts == {"any": 205, "intraparenchymal": 134, "intraventricular": 28} | {
            "subdural": 53, "epidural": 13, "subarachnoid": 60
        }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "years"), [("045Y", 45.0), ("006M", 0.5), ("010W", 70 / 365.25), ("014D", 14 / 365.25)]
)
def test_ages_of_every_unit_are_years(text: str, years: float) -> None:
    assert age_years(text) == pytest.approx(years)


@pytest.mark.parametrize("text", ["", "45", "Y", "-05Y", "1000Y"])
def test_what_is_no_age_is_unknown(text: str) -> None:
    assert np.isnan(age_years(text))
