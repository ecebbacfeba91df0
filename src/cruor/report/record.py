"""The record of a study: the JSON object of `--json` and result.json, documented in docs/result.md.

The TypedDicts are the schema; a test holds docs/result.md to them.
"""

from __future__ import annotations

import json
import math
from typing import TypedDict

from cruor.reader.results import SliceResult, StudyResult
from cruor.reader.volume import BloodVolume

_PROBABILITY_DIGITS = 6
_MM_DIGITS = 3
_SECONDS_DIGITS = 3
_ML_DIGITS = 1


class SliceRecord(TypedDict):
    """One slice of the series that was read."""

    number: int
    sop_instance_uid: str
    position_mm: float | None
    probability: float | None
    findings: dict[str, float | None]


class SeriesRecord(TypedDict):
    """One series of the study, read or not."""

    series_instance_uid: str
    description: str
    chosen: bool
    why: str


class BloodVolumeRecord(TypedDict):
    """An estimate, and the range that held in four of five studies it was measured on."""

    ml: float | None
    low_ml: float | None
    high_ml: float | None


class StudyRecord(TypedDict):
    """Everything cruor says about one study; the keys stand in the order in which they are written."""

    study_instance_uid: str
    series_instance_uid: str | None
    patient_id: str
    status: str
    reason: str | None
    decision: str | None
    probability: float | None
    rule: str | None
    positive_slices: int | None
    slice_count: int
    slices: list[SliceRecord]
    notes: list[str]
    series_considered: list[SeriesRecord]
    bundle: str
    seconds: float | None
    map_kind: str
    blood_volume: BloodVolumeRecord | None
    unsure: bool
    cautions: list[str]


def study_record(result: StudyResult) -> StudyRecord:
    """Return the record of a study: plain JSON types, finite numbers."""
    return {
        "study_instance_uid": result.study_instance_uid,
        "series_instance_uid": result.series_instance_uid,
        "patient_id": result.patient_id,
        "status": result.status.value,
        "reason": result.reason,
        "decision": None if result.decision is None else result.decision.value,
        "probability": _finite(result.probability, _PROBABILITY_DIGITS),
        "rule": result.rule,
        "positive_slices": None if result.positive_slices is None else int(result.positive_slices),
        "slice_count": int(result.slice_count),
        "slices": [_slice_record(one) for one in result.slices],
        "notes": list(result.notes),
        "series_considered": [
            {
                "series_instance_uid": one.series_instance_uid,
                "description": one.description,
                "chosen": bool(one.chosen),
                "why": one.why,
            }
            for one in result.series_considered
        ],
        "bundle": result.bundle,
        "seconds": _finite(result.seconds, _SECONDS_DIGITS),
        "map_kind": result.map_kind,
        "blood_volume": _volume_record(result.blood_volume),
        "unsure": bool(result.unsure),
        "cautions": list(result.cautions),
    }


def record_json(record: StudyRecord, *, indent: int | None = None) -> str:
    """Write a record as JSON: one line without `indent`; ASCII only, so that no locale can break it."""
    return json.dumps(record, indent=indent, allow_nan=False, ensure_ascii=True)


def _volume_record(volume: BloodVolume | None) -> BloodVolumeRecord | None:
    if volume is None:
        return None
    return {
        "ml": _finite(volume.ml, _ML_DIGITS),
        "low_ml": _finite(volume.low_ml, _ML_DIGITS),
        "high_ml": _finite(volume.high_ml, _ML_DIGITS),
    }


def _slice_record(one: SliceResult) -> SliceRecord:
    return {
        "number": int(one.number),
        "sop_instance_uid": one.sop_instance_uid,
        "position_mm": _finite(one.position_mm, _MM_DIGITS),
        "probability": _finite(one.probability, _PROBABILITY_DIGITS),
        "findings": {name: _finite(value, _PROBABILITY_DIGITS) for name, value in one.findings.items()},
    }


def _finite(value: float | None, digits: int) -> float | None:
    """Round; None for what JSON has no number for. Takes numpy scalars too."""
    if value is None or not math.isfinite(value):
        return None
    return round(float(value), digits)
