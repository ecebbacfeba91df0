from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import UID, CTImageStorage

from cruor.demo.phantom import (
    EPIDURAL,
    INTRAPARENCHYMAL,
    NORMAL,
    Head,
    head_slices,
    write_phantom_studies,
    write_phantom_study,
)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_phantom_studies(tmp_path_factory.mktemp("phantoms"))


def headers(folder: Path) -> list[pydicom.Dataset]:
    return [pydicom.dcmread(path) for path in folder.iterdir()]


def blood_pixels(head: Head) -> int:
    """Pixels of 55 to 80 HU well inside the skull, at the levels of the bleeds."""
    hu = head_slices(head, count=3, spacing_mm=28.0, size=256)[-1]
    middle = hu[70:190, 60:196]
    return int(((middle > 55) & (middle < 80)).sum())


def test_brain_skull_and_air_have_the_hu_of_a_head_ct() -> None:
    hu = head_slices(NORMAL, count=1, spacing_mm=200.0 / 2, size=256)[0]
    assert 20 < np.median(hu[100:160, 100:160]) < 45
    assert hu.max() > 900
    assert hu[0, 0] == pytest.approx(-1000, abs=20)
    assert hu.dtype == np.int16


def test_bleeds_are_where_they_were_asked_for_and_nowhere_in_the_normal_head() -> None:
    assert blood_pixels(NORMAL) < 60
    assert blood_pixels(EPIDURAL) > 500
    assert blood_pixels(INTRAPARENCHYMAL) > 500


def test_painting_is_the_same_every_time() -> None:
    one, other = (head_slices(NORMAL, count=2, spacing_mm=50.0, size=64) for _ in range(2))
    assert np.array_equal(one, other)
    assert not np.array_equal(one, head_slices(Head(seed=1), count=2, spacing_mm=50.0, size=64))


def test_every_file_is_a_ct_image_with_valid_uids_and_no_name(written: list[Path]) -> None:
    images = [image for folder in written for image in headers(folder)]
    uids = [image.SOPInstanceUID for image in images]
    assert len(set(uids)) == len(uids)
    for image in images:
        assert image.SOPClassUID == image.file_meta.MediaStorageSOPClassUID == CTImageStorage
        assert UID(image.SOPInstanceUID).is_valid
        assert image.SOPInstanceUID == image.file_meta.MediaStorageSOPInstanceUID
        assert str(image.PatientName) == ""


def test_each_study_is_one_patient_with_28_axial_slices_5_mm_apart(written: list[Path]) -> None:
    for number, folder in enumerate(written, start=1):
        axial = [image for image in headers(folder) if image.SeriesNumber == 2]
        heights = sorted(float(image.ImagePositionPatient[2]) for image in axial)
        assert {image.PatientID for image in axial} == {f"PHANTOM-{number}"}
        assert {image.StudyInstanceUID for image in axial} == {
            image.StudyInstanceUID for image in headers(folder)
        }
        assert np.allclose(np.diff(heights), 5.0)
        assert len(heights) == 28


def test_one_study_comes_with_a_localizer_and_a_bone_kernel(written: list[Path]) -> None:
    series = {(image.SeriesDescription, image.ConvolutionKernel) for image in headers(written[1])}
    assert {kernel for _, kernel in series} == {"BRAIN", "BONE"}
    assert {name for name, _ in series} == {"Localizer", "Head 5.0 brain", "Head 5.0 bone"}


def test_file_names_tell_nothing_of_the_order(written: list[Path]) -> None:
    images = [(path.name, pydicom.dcmread(path, stop_before_pixels=True)) for path in written[0].iterdir()]
    by_name = [image.InstanceNumber for _, image in sorted(images, key=lambda one: one[0])]
    assert by_name != sorted(by_name)
    assert len({Path(name).suffix for name, _ in images}) == 2


def test_writing_again_gives_the_same_bytes(tmp_path: Path) -> None:
    one, other = (write_phantom_study(tmp_path / side, "9", NORMAL, count=2) for side in ("a", "b"))
    for path in one.iterdir():
        assert path.read_bytes() == (other / path.name).read_bytes()
