"""Frames into series, in scan order; whatever is unusual is read and noted."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataelem import RawDataElement
from pydicom.tag import BaseTag

from cruor.dicom.instances import Instance, PutAside, UnreadableError
from cruor.dicom.series import frames_of, group_studies
from tests.dicom import writing

NUMBERS = ("ImagePositionPatient", "PixelSpacing", "SliceThickness", "RescaleSlope")
SMALL = np.zeros((4, 4), np.int16)


def headers(places: list[float], **elements: Any) -> list[Any]:
    """One series of slices at these heights, numbered in the order given."""
    return [
        writing.ct(SMALL, **{"ImagePositionPatient": [0, 0, place], "InstanceNumber": number + 1, **elements})
        for number, place in enumerate(places)
    ]


def notes_of(datasets: list[Any]) -> str:
    (series,) = writing.series_of(*datasets)
    return "; ".join(series.notes)


LEVELS = headers([5.0 * level for level in range(12)])


@given(st.permutations(LEVELS))
def test_shuffled_slices_give_the_same_order(shuffled: list[Any]) -> None:
    (series,) = writing.series_of(*shuffled)
    assert [frame.instance.sop_instance_uid for frame in series.frames] == [
        dataset.SOPInstanceUID for dataset in LEVELS
    ]
    assert series.positions_mm == tuple(5.0 * level for level in range(12))
    assert series.notes == ()


@given(st.permutations(headers([0.0, 5.0, 5.0, 10.0, 10.0, 10.0])))
def test_shuffled_doubled_levels_give_the_same_order(shuffled: list[Any]) -> None:
    orders = [[frame.instance.sop_instance_uid for frame in writing.series_of(*each)[0].frames]
              for each in (shuffled, sorted(shuffled, key=lambda one: str(one.SOPInstanceUID)))]  # fmt: skip
    assert orders[0] == orders[1]


def test_orders_from_the_feet_upwards_whatever_way_the_normal_points() -> None:
    flipped = headers([0, 5, 10], ImageOrientationPatient=[1, 0, 0, 0, -1, 0])
    (series,) = writing.series_of(*flipped)
    assert list(series.positions_mm) == [0, 5, 10]


def test_tilt_comes_from_the_orientation_and_is_noted() -> None:
    angle = math.radians(18.5)
    orientation = [1, 0, 0, 0, math.cos(angle), -math.sin(angle)]
    datasets = headers([0, 5, 10], ImageOrientationPatient=orientation, GantryDetectorTilt=0)
    (series,) = writing.series_of(*datasets)
    assert series.tilt_degrees == pytest.approx(18.5)
    assert series.spacing_mm == pytest.approx(5 * math.cos(angle))
    assert "slices are tilted by 18.5 degrees" in series.notes


def test_numbering_from_the_head_down_is_noted() -> None:
    assert notes_of(headers([10, 5, 0])) == "InstanceNumber counts from the head down; read from below"


def test_numbering_that_does_not_follow_the_positions_is_noted() -> None:
    assert "does not follow the positions" in notes_of(headers([0, 10, 5]))


def test_slices_that_leave_out_a_part_of_the_head_are_noted() -> None:
    assert "slices of 5 mm lie 10.0 mm apart: what is between" in notes_of(headers([0, 10, 20]))
    assert "slices of 5 mm lie 6.2 mm apart" in notes_of(headers([0, 6.2, 12.4]))
    assert "apart" not in notes_of(headers([0, 5.5, 11]))


def test_uneven_spacing_is_noted_with_its_bounds() -> None:
    assert "spacing is uneven, 2.5 to 5.0 mm" in notes_of(headers([0, 2.5, 5, 7.5, 12.5, 17.5, 22.5]))


def test_two_thicknesses_in_one_series_are_noted() -> None:
    datasets = headers([0, 5, 10])
    datasets[2].SliceThickness = 2.5
    assert "slices of 2.5 and 5 mm thickness in one series" in notes_of(datasets)


def test_doubled_levels_are_noted() -> None:
    assert "1 of 3 levels are imaged twice" in notes_of(headers([0, 5, 5, 10]))
    assert "1 of 3 levels are imaged up to 3 times" in notes_of(headers([0, 5, 5, 5, 10]))


def test_missing_slices_are_noted() -> None:
    places = [5.0 * level for level in range(20) if level not in (7, 8)]
    assert "2 slices seem to be missing (gaps up to 15.0 mm)" in notes_of(headers(places))


def test_mended_12_bit_values_are_noted() -> None:
    wrapped = [
        writing.ct(SMALL.astype(np.uint16), BitsStored=12, ImagePositionPatient=[0, 0, z]) for z in (0, 5)
    ]
    assert "12-bit values without their offset mended in 2 slices" in notes_of(wrapped)


def test_falls_back_to_slice_location_with_a_note() -> None:
    datasets = headers([0, 0, 0], ImagePositionPatient=None)
    for dataset, place in zip(datasets, (10, 0, 5), strict=True):
        dataset.SliceLocation = place
    (series,) = writing.series_of(*datasets)
    assert list(series.positions_mm) == [0, 5, 10]
    assert series.spacing_mm == 5
    assert "SliceLocation" in series.notes[0]


def test_falls_back_to_instance_number_with_a_note() -> None:
    datasets = headers([0, 0, 0], ImagePositionPatient=None)
    (series,) = writing.series_of(*reversed(datasets))
    assert [frame.instance.header.InstanceNumber for frame in series.frames] == [1, 2, 3]
    assert list(series.positions_mm) == [0, 1, 2]
    assert series.spacing_mm is None
    assert "ordered by InstanceNumber" in series.notes[0]


def test_says_when_the_order_is_not_known() -> None:
    datasets = headers([0, 0, 0], ImagePositionPatient=None)
    for dataset in datasets:
        del dataset.InstanceNumber
    assert "the order is not known" in notes_of(datasets)


def test_a_localizer_inside_a_series_becomes_a_series_of_its_own() -> None:
    localizer = writing.ct(np.zeros((8, 4), np.int16), ImageOrientationPatient=[0, 1, 0, 0, 0, -1])
    parts = writing.series_of(localizer, *headers([0, 5, 10]))
    assert [len(part.frames) for part in parts] == [3, 1]
    assert all("one of 2 parts" in part.notes[0] for part in parts)


def test_rounded_orientations_stay_together() -> None:
    datasets = headers([0, 5, 10])
    datasets[1].ImageOrientationPatient = [0.99999, 0.002, 0, -0.002, 0.99999, 0.003]
    assert len(writing.series_of(*datasets)) == 1


def test_thickness_is_the_spacing_where_the_tag_is_missing() -> None:
    (series,) = writing.series_of(*headers([0, 4, 8], SliceThickness=None))
    assert series.thickness_mm == 4


def test_enhanced_ct_takes_geometry_from_its_functional_groups() -> None:
    stored = np.zeros((4, 8, 8), np.uint16)
    (series,) = writing.series_of(writing.enhanced(stored, [15.0, 10.0, 0.0, 5.0]))
    assert list(series.positions_mm) == [0, 5, 10, 15]
    assert [frame.index for frame in series.frames] == [2, 3, 1, 0]
    first = series.frames[0]
    assert (first.rescale_slope, first.rescale_intercept) == (1, -1002)
    assert (first.pixel_spacing, first.slice_thickness) == ((0.5, 0.5), 5)
    assert first.name.endswith("frame 3")


def test_frames_that_do_not_match_their_groups_are_unreadable_and_put_aside() -> None:
    dataset = writing.enhanced(np.zeros((4, 8, 8), np.uint16), [0, 5, 10, 15])
    dataset.NumberOfFrames = 5
    instance = writing.in_memory(dataset)
    with pytest.raises(UnreadableError, match="5 frames and 4 functional groups"):
        frames_of(instance)
    (study,) = group_studies([instance])
    assert not study.series
    assert study.put_aside[0].damaged


def test_a_broken_number_of_frames_does_not_break_the_name() -> None:
    dataset = writing.ct(SMALL)
    dataset._dict[0x00280008] = RawDataElement(BaseTag(0x00280008), "IS", 2, b"1A", 0, False, True)
    (frame,) = frames_of(writing.in_memory(dataset))
    assert frame.name == "made up"


def test_a_report_has_its_place_in_a_series() -> None:
    report = writing.ct(
        SMALL, Rows=None, Columns=None, PixelData=None, Modality="SR", SeriesInstanceUID="1.9"
    )
    assert [len(series.frames) for series in writing.series_of(report)] == [1]


def test_studies_are_apart_and_keep_what_was_put_aside() -> None:
    instances = [
        writing.in_memory(writing.ct(SMALL, StudyInstanceUID=uid, PatientID=f"patient {uid}"))
        for uid in ("1.1", "1.2")
    ]
    aside = [
        PutAside("a", "cut", True, "1.1"),
        PutAside("b", "cut", True, "1.3"),
        PutAside("c", "foreign", False),
    ]
    studies = group_studies(instances, aside)
    assert [(study.study_instance_uid, len(study.series), len(study.put_aside)) for study in studies] == [
        ("1.1", 1, 1), ("1.2", 1, 0), ("1.3", 0, 1),
    ]  # fmt: skip
    assert studies[0].patient_id == "patient 1.1"


@pytest.mark.filterwarnings("ignore:Invalid value")
@pytest.mark.parametrize(
    "keyword", ["ImagePositionPatient", "PixelSpacing", "SliceThickness", "RescaleSlope"]
)
def test_a_broken_number_counts_as_missing(keyword: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    data = writing.to_bytes(writing.ct(SMALL, **{keyword: [1.25, 1.25, 1.25] if "Pos" in keyword else 1.25}))
    path = tmp_path_factory.mktemp("broken") / "one"
    path.write_bytes(data.replace(b"1.25", b"x.25"))
    (instance,), _ = writing.found_in(path)
    assert isinstance(instance, Instance)
    (frame,) = frames_of(instance)
    values = (frame.position, frame.pixel_spacing, frame.slice_thickness, frame.rescale_slope)
    assert dict(zip(NUMBERS, values, strict=True))[keyword] is None


def test_counts_the_patients_whose_files_share_a_study() -> None:
    mixed = [writing.ct(SMALL, PatientID=name, StudyInstanceUID="1.2") for name in ("B", "", "A", "B")]
    (study,) = group_studies(map(writing.in_memory, mixed))
    assert (study.patient_id, study.patients) == ("A", 2)


def test_a_frame_that_cannot_be_made_keeps_its_series() -> None:
    broken = writing.ct(SMALL, NumberOfFrames=0)
    (study,) = group_studies([writing.in_memory(broken)])
    assert [aside.series_instance_uid for aside in study.put_aside] == [broken.SeriesInstanceUID]


def test_damaged_files_that_name_no_study_are_attached_to_the_studies_of_their_folder() -> None:
    (first,) = (writing.in_memory(writing.ct(SMALL, StudyInstanceUID="1.1"), "a/one"),)
    second = writing.in_memory(writing.ct(SMALL, StudyInstanceUID="1.2"), "b/two")
    lost = PutAside("a/cut", "is cut short", damaged=True)
    foreign = PutAside("a/notes.txt", "is no DICOM file", damaged=False)
    studies = group_studies([first, second], [lost, foreign])
    assert [study.put_aside for study in studies] == [(lost,), ()]


def test_missing_levels_are_counted() -> None:
    (series,) = writing.series_of(*headers([0.0, 5.0, 10.0, 25.0, 30.0, 35.0, 40.0, 45.0]))
    assert series.missing_levels == 2
