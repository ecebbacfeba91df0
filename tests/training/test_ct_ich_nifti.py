"""ct-ich 1.3.1 in NIfTI: upright pictures from any orientation, masks with them, labels by slice number."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

from cruor.training.prepare.plan import Reading
from cruor.training.prepare.store import LABELS, LabelledStudy
from tests.training.preparing import contents, prepared, readings

COLUMNS = (
    "PatientNumber,SliceNumber,Intraventricular,Intraparenchymal,Subarachnoid,Epidural,Subdural,"
    "No_Hemorrhage,Fracture_Yes_No"
)
PEOPLE = (
    '\ufeffPatient Number,"Age\n(years)",Gender,Hemorrhage type based on the diagnosis ,,,,,Fracture\n'
    ",,,Intraventricular,Intraparenchymal,Subarachnoid,Epidural,Subdural,\n49,7,Male,,,,,,\n50,,Female,,,,,,\n"
)
FRONT, RIGHT, BLOOD = 500, 300, 70
SHAPE = 4, 6, 5
"""Voxels from left to right, back to front, feet to head."""


def ras() -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """A volume whose axes run to the patient's right, front and head, marked there, and a mask."""
    volume, mask = np.zeros(SHAPE, np.int16), np.zeros(SHAPE, np.uint8)
    volume[:, -1, :] = FRONT
    volume[-1, :, :] = RIGHT
    volume[1, 2, 3] = BLOOD
    mask[1, 2, 3] = 255
    return volume, mask


@dataclass(frozen=True)
class Turned:
    """How voxels lie in the file: for each axis, which direction of the patient and whether reversed."""

    axes: tuple[int, int, int]
    reversed: tuple[bool, bool, bool]

    def array(self, volume: NDArray[np.generic]) -> NDArray[np.generic]:
        moved = np.transpose(volume, self.axes)
        return moved[tuple(slice(None, None, -1 if back else 1) for back in self.reversed)]

    def affine(self) -> NDArray[np.float64]:
        sizes = 0.4, 0.5, 5.0
        matrix = np.zeros((4, 4))
        matrix[3, 3] = 1
        for place, (axis, back) in enumerate(zip(self.axes, self.reversed, strict=True)):
            matrix[axis, place] = -sizes[axis] if back else sizes[axis]
        return matrix


RAS = Turned((0, 1, 2), (False, False, False))
LAS = Turned((0, 1, 2), (True, False, False))
LPS = Turned((0, 1, 2), (True, True, False))
FROM_THE_TOP = Turned((0, 1, 2), (True, False, True))
SAGITTAL = Turned((1, 2, 0), (False, True, False))


def data_set(root: Path, turned: Turned = LAS, *, patient: int = 49, rows: tuple[str, ...] = ()) -> Path:
    for folder, volume in zip(("ct_scans", "masks"), ras(), strict=True):
        (root / folder).mkdir(parents=True, exist_ok=True)
        image = nibabel.Nifti1Image(turned.array(volume), turned.affine())
        nibabel.save(image, root / folder / f"{patient:03d}.nii")
    rows = rows or tuple(f"{patient},{n},0,0,0,0,{int(n == 4)},{int(n != 4)},0" for n in range(1, 6))
    (root / "hemorrhage_diagnosis_raw_ct.csv").write_text("\n".join([COLUMNS, *rows]) + "\n")
    return root


def read(root: Path) -> list[Reading]:
    return readings("ct-ich", root, root.parent / "out")


def only_study(root: Path) -> LabelledStudy:
    (study,) = (study for reading in read(root) for study in reading.studies)
    return study


@pytest.mark.parametrize("turned", [RAS, LAS, LPS, FROM_THE_TOP, SAGITTAL])
def test_pictures_stand_upright_whatever_the_orientation(tmp_path: Path, turned: Turned) -> None:
    study = only_study(data_set(tmp_path / "set", turned))
    assert study.hu.shape == (5, 6, 4)
    assert (study.hu[:, :, 0] == RIGHT).all(), "the patient's right is on the left"
    assert (study.hu[:, 0, 1:] == FRONT).all(), "the front is at the top"
    assert np.argwhere(study.hu == BLOOD).tolist() == [[3, 3, 2]], "slices from the lowest up"


@pytest.mark.parametrize("turned", [RAS, LAS, LPS, FROM_THE_TOP, SAGITTAL])
def test_masks_lie_over_their_slices(tmp_path: Path, turned: Turned) -> None:
    study = only_study(data_set(tmp_path / "set", turned))
    assert list(study.masks) == [3]
    np.testing.assert_array_equal(study.masks[3], study.hu[3] == BLOOD)


@pytest.mark.parametrize("turned", [LAS, SAGITTAL])
def test_spacings_are_those_of_the_patients_directions(tmp_path: Path, turned: Turned) -> None:
    one = only_study(data_set(tmp_path / "set", turned)).slices[0]
    assert (one.spacing_mm, one.pixel_spacing_mm) == pytest.approx((5.0, 0.5))


def test_labels_go_by_slice_number_from_the_lowest(tmp_path: Path) -> None:
    study = only_study(data_set(tmp_path / "set", FROM_THE_TOP))
    assert [one.number for one in study.slices] == [1, 2, 3, 4, 5]
    assert [one.labels[0] for one in study.slices] == [0, 0, 0, 1, 0]
    assert study.slices[3].labels == tuple(float(name in ("any", "subdural")) for name in LABELS)
    assert study.slices[3].sop_instance_uid == "049_04"


def test_age_and_sex_are_read_from_a_header_of_two_lines(tmp_path: Path) -> None:
    root = data_set(tmp_path / "set")
    (root / "Patient_demographics.csv").write_text(PEOPLE, encoding="utf-8")
    one = only_study(root).slices[0]
    assert (one.age_years, one.sex) == (7.0, "M")


def test_without_the_table_of_patients_age_and_sex_are_unknown(tmp_path: Path) -> None:
    one = only_study(data_set(tmp_path / "set")).slices[0]
    assert np.isnan(one.age_years) and one.sex == ""


def test_without_masks_the_scan_is_read(tmp_path: Path) -> None:
    root = data_set(tmp_path / "set")
    (root / "masks" / "049.nii").unlink()
    assert not only_study(root).masks


def test_a_slice_without_a_diagnosis_has_unknown_labels(tmp_path: Path) -> None:
    study = only_study(data_set(tmp_path / "set", rows=("49,1,0,0,0,0,0,1,0",)))
    assert study.slices[0].labels[0] == 0.0
    assert np.isnan(study.slices[4].labels).all()


def test_padding_is_air(tmp_path: Path) -> None:
    root = data_set(tmp_path / "set")
    nibabel.save(
        nibabel.Nifti1Image(np.full(SHAPE, -3024, np.int16), RAS.affine()), root / "ct_scans" / "049.nii"
    )
    assert np.unique(only_study(root).hu) == [-1000]


def test_a_scan_that_is_upside_down_by_its_mask_is_put_aside(tmp_path: Path) -> None:
    rows = tuple(f"49,{n},0,0,0,0,{int(n == 2)},{int(n != 2)},0" for n in range(1, 6))
    *_, reading = read(data_set(tmp_path / "set", rows=rows))
    assert not reading.studies
    assert "counted from the top" in reading.not_read[0].why


def test_a_mask_of_another_size_is_put_aside(tmp_path: Path) -> None:
    root = data_set(tmp_path / "set")
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 6, 4), np.uint8), LAS.affine()), root / "masks" / "049.nii")
    *_, reading = read(root)
    assert not reading.studies and Path(reading.not_read[0].file).parent.name == "masks"


def test_more_diagnoses_than_slices_are_put_aside(tmp_path: Path) -> None:
    *_, reading = read(data_set(tmp_path / "set", rows=("49,6,0,0,0,0,0,1,0",)))
    assert not reading.studies and "names slice 6" in reading.not_read[0].why


def test_a_broken_scan_and_a_missing_one_are_listed_and_the_others_read(tmp_path: Path) -> None:
    root = data_set(tmp_path / "set")
    (root / "ct_scans" / "050.nii").write_bytes(b"no NIfTI")
    table = root / "hemorrhage_diagnosis_raw_ct.csv"
    table.write_text(table.read_text() + "50,1,0,0,0,0,0,1,0\n51,1,0,0,0,0,0,1,0\n")
    whole = prepared("ct-ich", root, tmp_path / "out")
    assert (whole.slices, whole.not_read) == (5, 2)
    index, _ = contents(tmp_path / "out")
    assert index["masked"].tolist() == [False, False, False, True, False]
