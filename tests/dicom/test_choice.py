"""Which series is read and why not the others: studies as scanners leave them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cruor.dicom.choice import MIN_BRAIN_SLICES, SAMPLE, choose_series
from cruor.dicom.instances import Choice, Frame
from cruor.dicom.pixels import read_hu
from tests.dicom import writing

HEAD = writing.head_slices()
SAGITTAL = [0, 1, 0, 0, 0, -1]
CORONAL = [1, 0, 0, 0, 0, -1]
NO_PIXELS: dict[str, Any] = {
    "Rows": None, "Columns": None, "PixelData": None, "SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.67",
}  # fmt: skip
LOCALIZER = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
SCREEN = "1.2.840.10008.5.1.4.1.1.7"


def choose(folder: Path) -> Choice:
    choice = choose_series(writing.study_of(folder))
    assert (choice.series is None) == (choice.reason is not None)
    assert sum(one.chosen for one in choice.considered) == (choice.series is not None)
    assert all(one.why and "\n" not in one.why for one in choice.considered)
    return choice


def why_of(choice: Choice, description: str) -> str:
    (why,) = [one.why for one in choice.considered if one.description == description]
    return why


def write_study(folder: Path) -> None:
    """A study as a scanner leaves it."""
    thin = [HEAD[number // 2] for number in range(40)]
    write = writing.write_series
    write(folder, HEAD[:1], SeriesDescription="scout", ImageType=LOCALIZER,
          ImageOrientationPatient=SAGITTAL)  # fmt: skip
    write(folder, thin, 1, SeriesDescription="thin", ConvolutionKernel="H31s")
    write(folder, HEAD, SeriesDescription="thick", ConvolutionKernel="H31s", BodyPartExamined="HEAD")
    write(folder, HEAD, SeriesDescription="sharp", ConvolutionKernel="H60s")
    write(folder, HEAD, SeriesDescription="contrast", ConvolutionKernel="H31s", ContrastBolusAgent="Iomeprol")
    write(
        folder, HEAD, SeriesDescription="coronal", ConvolutionKernel="H31s", ImageOrientationPatient=CORONAL
    )
    write(folder, thin, SeriesDescription="mip", ConvolutionKernel="H31s",
          ImageType=["DERIVED", "SECONDARY", "AXIAL", "MIP"])  # fmt: skip
    write(folder, thin, 3, SeriesDescription="resliced", ConvolutionKernel="H31s",
          ImageType=["DERIVED", "SECONDARY", "REFORMATTED", "AVERAGE"])  # fmt: skip
    write(folder, HEAD[:1], SeriesDescription="screen", SOPClassUID=SCREEN)
    write(folder, HEAD[:1], 5, SeriesDescription="dose", Modality="SR", **NO_PIXELS)


def test_of_a_whole_study_the_thick_plain_soft_axial_series_is_taken(tmp_path: Path) -> None:
    write_study(tmp_path)
    choice = choose(tmp_path)
    assert choice.series is not None
    assert choice.series.description == "thick"
    assert why_of(choice, "thick") == "taken: plain, axial, soft kernel H31s, 5 mm, 20 slices"


REASONS = {
    "scout": "localizer",
    "thin": "could be read, but has 1 mm slices",
    "sharp": "sharp kernel",
    "contrast": "with contrast agent",
    "coronal": "not axial: tilted by 90 degrees",
    "mip": "projection or rendering",
    "resliced": "could be read, but is resliced",
    "screen": "secondary capture",
    "dose": "not CT but SR",
}


def test_of_a_whole_study_every_other_series_has_its_reason(tmp_path: Path) -> None:
    write_study(tmp_path)
    choice = choose(tmp_path)
    for description, reason in REASONS.items():
        assert why_of(choice, description).startswith(reason)


def test_parts_of_a_series_that_share_their_reason_are_told_once(tmp_path: Path) -> None:
    write_study(tmp_path)
    for size in (64, 96):
        writing.write_series(
            tmp_path / str(size), [np.zeros((size, size), dtype=np.int16)], SOPClassUID=SCREEN,
            SeriesDescription="summary", SeriesInstanceUID="2.25.7",
        )  # fmt: skip
    assert sum(one.series_instance_uid == "2.25.7" for one in writing.study_of(tmp_path).series) == 2
    assert why_of(choose(tmp_path), "summary").startswith("secondary capture")


def test_the_thin_series_is_taken_where_there_is_no_thick_one(tmp_path: Path) -> None:
    writing.write_series(tmp_path, HEAD, 1, ConvolutionKernel="UB")
    assert choose(tmp_path).series is not None


def test_of_two_alike_the_one_of_more_slices_is_taken(tmp_path: Path) -> None:
    writing.write_series(tmp_path, HEAD[:15], SeriesDescription="few", ConvolutionKernel="UB")
    writing.write_series(tmp_path, HEAD, SeriesDescription="many", ConvolutionKernel="UB")
    choice = choose(tmp_path)
    assert choice.series is not None
    assert choice.series.description == "many"
    assert "has 15 slices; one of 20 was preferred" in why_of(choice, "few")


def bare(**elements: Any) -> dict[str, Any]:
    """Leave out what RSNA's files do not have."""
    gone = ["SOPClassUID", "ImageType", "SliceThickness", "SeriesDescription", "ConvolutionKernel"]
    return {**dict.fromkeys(gone), **elements}


def test_without_tags_the_pixels_decide(tmp_path: Path) -> None:
    writing.write_series(tmp_path / "head", HEAD, 5, **bare())
    choice = choose(tmp_path)
    assert choice.considered[0].why == "taken: plain, axial, soft kernel by its noise, 5 mm, 20 slices"


def test_without_tags_a_sharp_kernel_is_known_by_its_noise(tmp_path: Path) -> None:
    writing.write_series(tmp_path / "sharp", writing.head_slices(noise_hu=40), 5, **bare())
    assert "sharp kernel by its noise (" in str(choose(tmp_path).reason)


def test_with_a_soft_kernel_named_noise_does_not_refuse(tmp_path: Path) -> None:
    writing.write_series(tmp_path, writing.head_slices(noise_hu=15), 1, ConvolutionKernel="H31s")
    assert choose(tmp_path).series is not None


def test_where_the_better_series_fails_by_its_pixels_the_next_is_taken(tmp_path: Path) -> None:
    blank = [np.full((128, 128), -1000, np.int16)] * 20
    writing.write_series(tmp_path, blank, SeriesDescription="blank", ConvolutionKernel="UB")
    writing.write_series(tmp_path, HEAD, 1, SeriesDescription="thin", ConvolutionKernel="UB")
    choice = choose(tmp_path)
    assert choice.series is not None
    assert choice.series.description == "thin"
    assert "blank" in why_of(choice, "blank")


@pytest.mark.parametrize("degrees", [-25, 18.5, 30])
def test_a_tilted_gantry_is_axial(degrees: float, tmp_path: Path) -> None:
    angle = np.radians(degrees)
    orientation = [1, 0, 0, 0, float(np.cos(angle).round(6)), float(np.sin(angle).round(6))]
    writing.write_series(tmp_path, HEAD, ImageOrientationPatient=orientation)
    assert choose(tmp_path).series is not None


def test_of_two_alike_the_one_that_says_it_is_plain_is_taken(tmp_path: Path) -> None:
    of_two_phases = {"StudyDescription": "CT HEAD W/WO CONTRAST"}
    writing.write_series(tmp_path, [*HEAD, HEAD[0]], SeriesDescription="axial 5 mm", **of_two_phases)
    writing.write_series(tmp_path, HEAD, SeriesDescription="head w/o", **of_two_phases)
    choice = choose(tmp_path)
    assert choice.series is not None
    assert choice.series.description == "head w/o"
    assert "may be with contrast agent" in why_of(choice, "axial 5 mm")


def test_a_series_that_may_be_with_contrast_is_not_called_plain(tmp_path: Path) -> None:
    writing.write_series(tmp_path, HEAD, SeriesDescription="axial", ProtocolName="CTA head")
    why = why_of(choose(tmp_path), "axial")
    assert why.startswith("taken: plain or with contrast, not said which, axial")


def test_the_head_is_found_at_the_end_of_a_scan_of_the_trunk(tmp_path: Path) -> None:
    writing.write_series(tmp_path, CHEST * 10 + HEAD, PixelSpacing=None)
    assert choose(tmp_path).series is not None


CHEST = [writing.trunk_hu(lungs=True)] * 12
# name -> slices, elements, and words of the reason: what it is, and what to do.
REFUSED: dict[str, tuple[list[Any], dict[str, Any], tuple[str, str]]] = {
    "mr": (HEAD, {"Modality": "MR"}, ("not CT but MR", "send a CT of the head")),
    "chest_by_tag": (CHEST, {"BodyPartExamined": "CHEST"}, ("is CHEST", "send a CT of the head")),
    "chest_by_pixels": (CHEST, {}, ("no brain inside a skull", "send an axial CT of the head")),
    "neck_by_tag": (HEAD, {"BodyPartExamined": "CSPINE"}, ("CSPINE", "correct BodyPartExamined")),
    "localizer": (HEAD[:1], {"ImageType": LOCALIZER}, ("localizer", "send the original")),
    "screen": (HEAD, {"SOPClassUID": SCREEN}, ("secondary capture", "send the original")),
    "screen_by_type": (HEAD, {"ImageType": ["DERIVED", "SECONDARY"]}, ("secondary", "send the original")),
    "bone": (HEAD, {"ConvolutionKernel": "BONE"}, ("sharp kernel", "send the reconstruction with a soft")),
    "contrast": (HEAD, {"ContrastBolusAgent": "CM"}, ("contrast agent", "send the plain series")),
    "coronal": (HEAD, {"ImageOrientationPatient": CORONAL}, ("not axial", "send the axial series")),
    "few": (HEAD[: MIN_BRAIN_SLICES - 1], {}, ("only 7 slices, 8 are needed", "send the whole series")),
    "few_brain": (HEAD[:6] + CHEST, {}, ("brain in only about 6 slices", "send the whole series")),
    "blank": ([np.zeros((64, 64), np.int16)] * 12, {}, ("blank: every pixel is 0 HU", "send the original")),
    "noise": ([writing.noise(64, 9).astype(np.int16)] * 12, {}, ("nearly blank", "send the original")),
    "no_rescale": (HEAD, {"RescaleSlope": None}, ("without RescaleSlope", "send the original")),
    "not_hu": (HEAD, {"RescaleType": "Z_EFF"}, ("not in HU", "send the original")),
    "unreadable": (HEAD, {"BitsStored": 9, "HighBit": 3}, ("cannot be read", "send the original")),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_plain_axial_head_ct_is_refused_with_what_to_do(case: str, tmp_path: Path) -> None:
    slices, elements, words = REFUSED[case]
    writing.write_series(tmp_path, slices, **elements)
    choice = choose(tmp_path)
    assert choice.series is None
    assert choice.reason is not None
    assert all(word in choice.reason for word in words), choice.reason


def test_a_time_series_is_refused(tmp_path: Path) -> None:
    for time in range(4):
        writing.write_series(tmp_path / str(time), HEAD[:8], SeriesInstanceUID="1.2.9")
    assert "time series: 32 images of 8 levels" in str(choose(tmp_path).reason)


def test_images_that_all_lie_at_one_level_are_refused(tmp_path: Path) -> None:
    for time in range(12):
        writing.write_series(tmp_path / str(time), HEAD[:1], SeriesInstanceUID="1.2.9")
    reason = str(choose(tmp_path).reason)
    assert "all 12 images lie at one level" in reason
    assert "send the original" in reason


def test_a_refusal_names_each_series_and_asks_for_what_came_nearest(tmp_path: Path) -> None:
    writing.write_series(tmp_path, HEAD, Modality="MR")
    writing.write_series(tmp_path, HEAD, ConvolutionKernel="BONE")
    reason = choose(tmp_path).reason
    assert reason is not None
    assert reason.startswith("none of 2 series can be read (sharp kernel")
    assert "not CT but MR" in reason
    assert reason.endswith("send the reconstruction with a soft (brain) kernel")


def test_a_study_of_damaged_files_is_refused_with_their_number(tmp_path: Path) -> None:
    data = writing.to_bytes(writing.ct(HEAD[0]))
    (tmp_path / "one").write_bytes(data[:-100])
    assert "damaged files put aside: 1" in str(choose(tmp_path).reason)


def test_a_phantom_is_taken_and_said(tmp_path: Path) -> None:
    writing.write_series(tmp_path, [writing.hollow_head_hu(-1000)] * 12, ConvolutionKernel="UB")
    choice = choose(tmp_path)
    assert choice.series is not None
    assert "looks like a phantom: the skull holds air" in choice.considered[0].why


def test_a_few_unreadable_slices_do_not_refuse_the_series(tmp_path: Path) -> None:
    writing.write_series(tmp_path, HEAD)
    for path in sorted(tmp_path.rglob("01*"))[:3]:
        data = path.read_bytes()
        path.write_bytes(data.replace(b"\x28\x00\x01\x01US\x02\x00\x10", b"\x28\x00\x01\x01US\x02\x00\x11"))
    assert choose(tmp_path).series is not None


def test_decodes_only_a_sample_of_a_long_series(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writing.write_series(tmp_path, [HEAD[number // 3] for number in range(60)], 2.5)
    decoded: list[Frame] = []

    def counted(frame: Frame) -> Any:
        decoded.append(frame)
        return read_hu(frame)

    monkeypatch.setattr("cruor.dicom.choice.read_hu", counted)
    assert choose(tmp_path).series is not None
    assert len(decoded) == SAMPLE
