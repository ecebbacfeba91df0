"""Made-up results for the tests of this room, and the pixels that belong to them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from cruor.dicom.instances import Frame, Instance, SeriesConsidered, Source
from cruor.preprocessing.crop import Box
from cruor.reader.results import FINDINGS, Decision, SliceResult, Status, StudyResult

SIZE = 64


def frame(index: int = 0) -> Frame:
    return Frame(Instance(Source(Path("slice")), Dataset()), index, None, None, None, None, None, 1.0, 0.0)


def read_slice(one: Frame) -> NDArray[np.int16]:
    """A grey square of 40 HU in air."""
    hu = np.full((SIZE, SIZE), -1000, np.int16)
    hu[16:48, 16:48] = 40
    return hu


def slice_result(number: int, probability: float, **changes: Any) -> SliceResult:
    heat = np.zeros((4, 4), np.float32)
    heat[1, 1] = probability
    one = SliceResult(
        number=number,
        sop_instance_uid=f"1.2.3.{number}",
        position_mm=5.0 * number,
        probability=probability,
        findings={name: probability / (2 + index) for index, name in enumerate(FINDINGS)},
        map=heat,
        box=Box(0, 0, SIZE),
        frame=frame(number - 1),
    )
    return replace(one, **changes)


def suspected(**changes: Any) -> StudyResult:
    """Five slices, the fourth and the third suspicious."""
    chances = [0.01, 0.1, 0.85, 0.97, 0.2]
    result = StudyResult(
        study_instance_uid="1.2.3",
        series_instance_uid="1.2.3.4",
        patient_id="P-1",
        status=Status.DECIDED,
        reason=None,
        decision=Decision.SUSPECTED,
        probability=0.97,
        rule="calibrated",
        positive_slices=2,
        slice_count=5,
        slices=tuple(slice_result(index + 1, chance) for index, chance in enumerate(chances)),
        suspicious=(4, 3),
        map_scale=1.0,
        notes=("gantry tilt 18.5 degrees",),
        series_considered=(
            SeriesConsidered("1.2.3.4", "HEAD 5.0", True, "thickest soft-tissue series"),
            SeriesConsidered("1.2.3.5", "BONE", False, "bone kernel"),
        ),
        bundle="lite0 1",
        seconds=1.25,
    )
    return replace(result, **changes)


def not_suspected(**changes: Any) -> StudyResult:
    quiet = suspected(
        study_instance_uid="1.2.4",
        patient_id="P-2",
        decision=Decision.NOT_SUSPECTED,
        probability=0.03,
        positive_slices=0,
        slices=(slice_result(1, 0.02),),
        slice_count=1,
        suspicious=(),
        notes=(),
    )
    return replace(quiet, **changes)


def unsure(**changes: Any) -> StudyResult:
    note = "not sure: the study probability 0.170 reaches sensitivity-95 (0.088); look yourself"
    torn = not_suspected(
        study_instance_uid="1.2.8", patient_id="P-8", probability=0.17, unsure=True, notes=(note,)
    )
    return replace(torn, **changes)


def doubtful(**changes: Any) -> StudyResult:
    caution = "unlike the studies that the network learned from, be careful: the brain has 80 HU"
    strange = not_suspected(
        study_instance_uid="1.2.9", patient_id="P-9", unsure=True, cautions=(caution,), suspicious=(1,)
    )
    return replace(strange, **changes)


def refused(**changes: Any) -> StudyResult:
    none = suspected(
        study_instance_uid="1.2.5",
        patient_id="P-3",
        series_instance_uid=None,
        status=Status.REFUSED,
        reason="bone kernel only: send a soft-tissue series",
        decision=None,
        probability=None,
        rule=None,
        positive_slices=None,
        slice_count=0,
        slices=(),
        suspicious=(),
        notes=(),
    )
    return replace(none, **changes)


def failed(**changes: Any) -> StudyResult:
    return replace(
        refused(
            study_instance_uid="1.2.6", patient_id="P-4", status=Status.FAILED, reason="the network broke"
        ),
        **changes,
    )
