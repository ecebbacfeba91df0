from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from cruor.reader.results import StudyResult
from cruor.reader.volume import BloodVolume
from cruor.report.record import StudyRecord, record_json, study_record

from .samples import failed, not_suspected, refused, slice_result, suspected, unsure

AGREED_KEYS = [
    "study_instance_uid",
    "series_instance_uid",
    "patient_id",
    "status",
    "reason",
    "decision",
    "probability",
    "rule",
    "positive_slices",
    "slice_count",
    "slices",
    "notes",
    "series_considered",
    "bundle",
    "seconds",
    "map_kind",
    "blood_volume",
    "unsure",
    "cautions",
]


@pytest.mark.parametrize("result", [suspected(), unsure(), not_suspected(), refused(), failed()])
def test_record_has_exactly_the_agreed_keys_in_order(result: StudyResult) -> None:
    assert list(study_record(result)) == AGREED_KEYS == list(StudyRecord.__annotations__)


def test_slice_and_series_records_have_the_agreed_keys() -> None:
    record = study_record(suspected())
    assert list(record["slices"][0]) == [
        "number",
        "sop_instance_uid",
        "position_mm",
        "probability",
        "findings",
    ]
    assert list(record["series_considered"][0]) == ["series_instance_uid", "description", "chosen", "why"]


def test_a_volume_is_written_with_its_range() -> None:
    assert study_record(suspected())["blood_volume"] is None
    record = study_record(suspected(blood_volume=BloodVolume(23.44, 12.06, float("inf"))))
    assert record["blood_volume"] == {"ml": 23.4, "low_ml": 12.1, "high_ml": None}


@pytest.mark.parametrize("result", [refused(), failed()])
def test_a_study_that_was_not_decided_has_no_decision_and_no_probability(result: StudyResult) -> None:
    record = study_record(result)
    assert record["decision"] is record["probability"] is record["rule"] is record["positive_slices"] is None
    assert record["reason"]


def test_numbers_that_are_not_finite_become_null() -> None:
    odd = slice_result(1, float("nan"), position_mm=float("inf"), findings={"epidural": float("nan")})
    record = study_record(suspected(slices=(odd,), probability=float("nan")))
    assert (
        record["probability"]
        is record["slices"][0]["probability"]
        is record["slices"][0]["position_mm"]
        is None
    )
    assert json.loads(record_json(record))["slices"][0]["findings"] == {"epidural": None}


def test_numpy_scalars_become_plain_json_numbers() -> None:
    one = replace(slice_result(1, 0.5), number=np.int64(1), probability=np.float32(0.25))  # type: ignore[arg-type]
    record = json.loads(record_json(study_record(suspected(slices=(one,)))))
    assert record["slices"][0]["number"] == 1
    assert record["slices"][0]["probability"] == 0.25


def test_json_is_one_ascii_line_whatever_the_file_holds() -> None:
    text = record_json(study_record(suspected(patient_id="Ä\n\u202e\udcff", notes=("a\r\nb",))))
    assert text.isascii()
    assert "\n" not in text
    assert json.loads(text)["notes"] == ["a\r\nb"]
