from __future__ import annotations

import csv
from importlib import resources
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.uid import JPEGLSLossless

from cruor.demo import copy_heads
from cruor.demo.heads import HEADS

SLICES = {"ct-ich-077": 30, "ct-ich-091": 33, "ct-ich-104": 28}


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[pydicom.Dataset]]:
    folders = copy_heads(tmp_path_factory.mktemp("heads"))
    return {
        folder.name: [pydicom.dcmread(path) for path in folder.iterdir() if path.name != "README.md"]
        for folder in folders
    }


def test_the_shipped_heads_stay_below_5_megabytes() -> None:
    shipped = resources.files("cruor.demo").joinpath("heads")
    assert sum(len(shipped.joinpath(f"{name}.zip").read_bytes()) for name in HEADS) < 5_000_000


def test_every_study_is_whole(studies: dict[str, list[pydicom.Dataset]]) -> None:
    assert {name: len(images) for name, images in studies.items()} == SLICES


def test_pixels_decode_to_hu_of_a_head_in_air(studies: dict[str, list[pydicom.Dataset]]) -> None:
    for images in studies.values():
        image = next(one for one in images if one.InstanceNumber == 16)
        hu = image.pixel_array * float(image.RescaleSlope) + float(image.RescaleIntercept)
        assert image.file_meta.TransferSyntaxUID == JPEGLSLossless
        assert hu[0].max() == -1000
        assert 20 < np.median(hu[160:220, 150:230]) < 45
        assert hu.max() > 800


def test_headers_name_no_person_and_say_what_is_estimated(studies: dict[str, list[pydicom.Dataset]]) -> None:
    for name, images in studies.items():
        for image in images:
            assert image.PatientID == name.upper()
            assert str(image.PatientName) == image.PatientBirthDate == image.StudyDate == ""
            assert "PixelSpacing is ESTIMATED" in image.ImageComments
            assert "CC BY 4.0" in image.ImageComments


def test_the_attribution_goes_with_every_copy(tmp_path: Path) -> None:
    for folder in copy_heads(tmp_path):
        text = (folder / "README.md").read_text("utf-8")
        assert "Hssayeni" in text
        assert "https://creativecommons.org/licenses/by/4.0/" in text
        assert "What was changed" in text


def test_the_brain_is_that_of_the_published_pictures(
    studies: dict[str, list[pydicom.Dataset]], shared_data: Path
) -> None:
    image = next(one for one in studies["ct-ich-091"] if one.InstanceNumber == 19)
    hu = image.pixel_array.astype(np.float32) - 1024
    picture = (
        Image.open(shared_data / "ct-ich" / "brain" / "091_19.jpg")
        .convert("F")
        .resize((384, 384), Image.Resampling.BILINEAR)
    )
    published = -20 + np.asarray(picture) * 120 / 255
    # Where the picture is white (a calcification) the bone picture tells more than it does.
    soft = published[150:250, 150:250] < 85
    assert soft.mean() > 0.9
    assert np.abs(hu - published)[150:250, 150:250][soft].max() < 6.0
    assert np.abs(hu - published)[150:250, 150:250][soft].mean() < 0.5


def test_slices_keep_the_numbers_of_the_source(
    studies: dict[str, list[pydicom.Dataset]], shared_data: Path
) -> None:
    with (shared_data / "ct-ich" / "slices.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["patient"] == "77"]
    images = {image.InstanceNumber: image for image in studies["ct-ich-077"]}
    assert set(images) == {int(row["slice"]) for row in rows}
    assert all(float(image.ImagePositionPatient[2]) == 5.0 * (number - 1) for number, image in images.items())
