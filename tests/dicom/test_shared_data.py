"""Real scans: what is known of each must come out. Skipped where the data is not there."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import pytest

from cruor.dicom.choice import choose_series
from cruor.dicom.instances import Series, Study
from cruor.dicom.pixels import read_hu
from cruor.dicom.series import group_studies
from tests.dicom import writing
from tests.dicom.writing import is_brain_slice


def studies_in(folder: Path) -> list[Study]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return group_studies(*writing.found_in(folder))


def chosen_in(folder: Path) -> Series:
    (study,) = studies_in(folder)
    choice = choose_series(study)
    assert choice.series is not None, choice.reason
    return choice.series


def test_of_the_phantom_study_the_5_mm_brain_series_is_taken_and_the_phantom_said(shared_data: Path) -> None:
    (study,) = studies_in(shared_data / "philips-phantom-study")
    choice = choose_series(study)
    assert choice.series is not None
    assert choice.series.description == "STD BRAIN 5MM"
    assert len(choice.series.frames) == 28
    (why,) = [one.why for one in choice.considered if one.chosen]
    assert "looks like a phantom: the skull holds air" in why


def test_the_phantom_has_no_brain_slice(shared_data: Path) -> None:
    series = chosen_in(shared_data / "philips-phantom-study")
    assert not any(is_brain_slice(read_hu(frame), frame.pixel_spacing) for frame in series.frames)


def test_the_tilted_head_is_taken_with_its_tilt_and_spacing_noted(shared_data: Path) -> None:
    series = chosen_in(shared_data / "ge-tilted-head")
    assert len(series.frames) == 28
    assert series.tilt_degrees == pytest.approx(18.5, abs=0.01)
    assert "slices are tilted by 18.5 degrees" in series.notes
    assert any("spacing is uneven" in note for note in series.notes)


def test_doubled_levels_of_a_real_series_are_counted(shared_data: Path) -> None:
    series = chosen_in(shared_data / "rsna-sample" / "ID_72952d87fa")
    assert "8 of 28 levels are imaged twice" in series.notes


@pytest.mark.parametrize(("folder", "count"), [("rsna-sample", 8), ("rsna-train/series", 23), ("cq500", 1)])
def test_every_real_head_is_taken(folder: str, count: int, shared_data: Path) -> None:
    studies = studies_in(shared_data / folder)
    assert len(studies) == count
    refused = [study.study_instance_uid for study in studies if choose_series(study).series is None]
    assert not refused


def test_most_slices_of_a_real_head_show_brain(shared_data: Path) -> None:
    series = chosen_in(shared_data / "ge-tilted-head")
    brain = [is_brain_slice(read_hu(frame), frame.pixel_spacing) for frame in series.frames]
    first, last = brain.index(True), len(brain) - brain[::-1].index(True)
    assert all(brain[first:last])
    assert 0.6 < math.fsum(brain) / len(brain) < 0.9
