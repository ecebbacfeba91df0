"""`cruor.training.prepare.ct_ich`: HU rebuilt from the pictures of two windows."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cruor.training.experiment import load_experiment
from cruor.training.prepare.ct_ich import rebuild_hu
from cruor.training.prepare.plan import PrepareError
from cruor.training.prepare.store import LABELS
from tests.training.preparing import flat, picture, studies_of

LITE0 = Path(__file__).parents[2] / "experiments" / "lite0.yaml"


def pair_of(folder: Path, brain: int, bone: int) -> NDArray[np.int16]:
    return rebuild_hu(flat(folder / "brain", brain, 8), flat(folder / "bone", bone))


@pytest.mark.parametrize("grey", [2, 51, 128, 200, 253])
def test_inside_the_brain_window_hu_come_from_its_picture(tmp_path: Path, grey: int) -> None:
    assert np.unique(pair_of(tmp_path, grey, 75)) == [round(-20 + grey * 120 / 255)]


@pytest.mark.parametrize("grey", [90, 150, 255])
def test_above_the_brain_window_hu_come_from_the_bone_picture(tmp_path: Path, grey: int) -> None:
    assert np.unique(pair_of(tmp_path, 255, grey)) == [round(-900 + grey * 3200 / 255)]


@pytest.mark.parametrize("grey", [1, 30, 65])
def test_below_the_brain_window_hu_come_from_the_bone_picture(tmp_path: Path, grey: int) -> None:
    assert np.unique(pair_of(tmp_path, 0, grey)) == [round(-900 + grey * 3200 / 255)]


def test_a_coarse_bone_picture_does_not_pull_clipped_hu_back_into_the_window(tmp_path: Path) -> None:
    assert pair_of(tmp_path, 255, 75).min() == 100
    assert pair_of(tmp_path, 0, 75).max() == -20


def test_below_the_bone_window_is_air(tmp_path: Path) -> None:
    assert np.unique(pair_of(tmp_path, 0, 0)) == [-1000]


def test_without_a_bone_picture_hu_are_clipped_to_the_brain_window(tmp_path: Path) -> None:
    grey = np.arange(256).reshape(16, 16)
    hu = rebuild_hu(picture(tmp_path / "brain", grey), None)
    assert (hu.min(), hu.max()) == (-20, 100)
    assert hu.dtype == np.int16


def test_the_bone_picture_is_laid_over_the_brain_picture_whatever_its_size(tmp_path: Path) -> None:
    bone = np.zeros((10, 10))
    bone[:, 5:] = 255
    hu = rebuild_hu(
        picture(tmp_path / "brain", bone.repeat(2, 0).repeat(2, 1)), picture(tmp_path / "bone", bone)
    )
    assert hu.shape == (20, 20)
    np.testing.assert_array_equal(hu[:, [0, -1]], [[-1000, 2300]] * 20)


def _generated(root: Path) -> Path:
    """Two patients, listed out of order; the second has a slice without a bone picture."""
    rows = [("91", 2, "1", ""), ("91", 1, "0", "bone/a.jpg"), ("50", 10, "0", "bone/a.jpg")]
    rows.append(("50", 9, "0", "bone/a.jpg"))
    flat(root / "bone" / "a.jpg", 75)
    with (root / "slices.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["patient", "slice", *LABELS, "fracture", "brain", "bone"])
        for patient, number, blood, bone in rows:
            brain = f"brain/{patient}_{number}.jpg"
            flat(root / brain, 50 + number)
            table.writerow([patient, number, blood, "0", blood, "0", "0", "0", "1", brain, bone])
    return root


def test_patients_come_whole_and_slices_from_the_bottom_up(tmp_path: Path) -> None:
    studies = studies_of("ct-ich", _generated(tmp_path / "root"), tmp_path / "out")
    assert [[one.sop_instance_uid for one in study.slices] for study in studies] == [
        ["050_09", "050_10"],
        ["091_01", "091_02"],
    ]
    assert {one.patient_id for one in studies[1].slices} == {"CT-ICH-091"}
    assert studies[0].hu[:, 0, 0].tolist() == [round(-20 + (50 + n) * 120 / 255) for n in (9, 10)]


def test_labels_stand_in_the_order_of_the_outputs(tmp_path: Path) -> None:
    *_, last = studies_of("ct-ich", _generated(tmp_path / "root"), tmp_path / "out")
    assert last.slices[1].labels == tuple(float(name in ("any", "intraparenchymal")) for name in LABELS)


def test_a_slice_whose_bone_picture_is_missing_is_read(tmp_path: Path) -> None:
    *_, last = studies_of("ct-ich", _generated(tmp_path / "root"), tmp_path / "out")
    assert last.hu[1].tolist() == [[round(-20 + 52 * 120 / 255)] * 4] * 4


def test_what_lies_beyond_the_brain_window_is_unknown_only_without_a_bone_picture(tmp_path: Path) -> None:
    *_, last = studies_of("ct-ich", _generated(tmp_path / "root"), tmp_path / "out")
    known = [(one.known_low_hu, one.known_high_hu) for one in last.slices]
    assert known[1] == (-20, 100)
    assert np.isnan(known[0]).all()


def test_age_and_sex_come_from_the_table_of_patients_and_slices_are_5_mm_apart(tmp_path: Path) -> None:
    root = _generated(tmp_path / "root")
    (root / "patients.csv").write_text("patient,age_years,sex\n91,0.5,M\n")
    first, last = studies_of("ct-ich", root, tmp_path / "out")
    assert {(one.age_years, one.sex, one.spacing_mm) for one in last.slices} == {(0.5, "M", 5.0)}
    assert np.isnan(first.slices[0].age_years) and first.slices[0].sex == ""


def test_a_folder_of_neither_version_says_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    with pytest.raises(PrepareError, match=r"neither slices.csv .* nor hemorrhage_diagnosis_raw_ct.csv"):
        studies_of("ct-ich", tmp_path / "root", tmp_path / "out")


def test_hu_of_a_real_slice_are_those_that_its_description_gives(shared_data: Path) -> None:
    root = shared_data / "ct-ich"
    brain, bone = root / "brain" / "050_07.jpg", root / "bone" / "050_07.jpg"
    hu = rebuild_hu(brain, bone)
    grey = np.asarray(Image.open(brain).convert("L"), dtype=float)
    wide = np.asarray(
        Image.open(bone).convert("L").resize(hu.shape[::-1], Image.Resampling.BILINEAR), dtype=float
    )
    inside, air = (grey > 1) & (grey < 254) & (wide >= 1), wide < 1
    np.testing.assert_allclose(hu[inside], -20 + grey[inside] * 120 / 255, atol=0.51)
    skull = (grey >= 254) & (wide > 120)
    np.testing.assert_allclose(hu[skull], -900 + wide[skull] * 3200 / 255, atol=0.51)
    assert np.unique(hu[air]) == [-1000]
    assert inside.mean() > 0.1 and skull.mean() > 0.005 and air.mean() > 0.3


def test_the_experiment_leaves_out_patients_that_the_data_has_by_these_names(shared_data: Path) -> None:
    with (shared_data / "ct-ich" / "slices.csv").open(newline="") as file:
        patients = {f"CT-ICH-{int(row['patient']):03d}" for row in csv.DictReader(file)}
    left_out = set(load_experiment(LITE0).data.left_out_patients)
    assert left_out and left_out <= patients
