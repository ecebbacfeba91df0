"""A DICOM series -> a labelled study, read as `cruor triage` reads it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cruor.dicom import tags
from cruor.dicom.choice import MIN_BRAIN_SLICES, choose_series
from cruor.dicom.instances import Series, UnreadableError
from cruor.dicom.pixels import read_hu
from cruor.dicom.studies import find_studies
from cruor.training.prepare.plan import NotRead, Reading
from cruor.training.prepare.store import LABELS, UNKNOWN, LabelledSlice, LabelledStudy

UNKNOWN_LABELS = (UNKNOWN,) * len(LABELS)
_YEARS = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}


@dataclass(frozen=True)
class StudyFacts:
    """What is known of a study before its pixels are read; attributes as those of `LabelledSlice`."""

    source: str
    patient_id: str
    study_instance_uid: str
    study_labels: tuple[float, ...] | None = None


def read_series(series: Series, facts: StudyFacts, labels_of: Callable[[str], tuple[float, ...]]) -> Reading:
    """Read all slices of a series; those that cannot be read are said.

    Args:
        series: as `group_studies` gives it. With fewer than MIN_BRAIN_SLICES it counts as single slices.
        facts: of its study.
        labels_of: SOP instance UID -> labels of the slice.
    """
    read: list[tuple[int, NDArray[np.int16]]] = []
    not_read = []
    for place, frame in enumerate(series.frames):
        try:
            read.append((place, read_hu(frame)))
        except UnreadableError as error:
            not_read.append(NotRead(error.name, error.why))
    if not read:
        return Reading(not_read=tuple(not_read))
    slices = tuple(
        _labelled(series, facts, place, number, labels_of(series.frames[place].instance.sop_instance_uid))
        for number, (place, _) in enumerate(read, start=1)
    )
    return Reading((LabelledStudy(slices, np.stack([hu for _, hu in read])),), tuple(not_read))


def _labelled(
    series: Series, facts: StudyFacts, place: int, number: int, labels: tuple[float, ...]
) -> LabelledSlice:
    header, frame = series.header, series.frames[place]
    spacing = series.spacing_mm or series.thickness_mm
    return LabelledSlice(
        source=facts.source,
        patient_id=facts.patient_id,
        study_instance_uid=facts.study_instance_uid,
        sop_instance_uid=frame.instance.sop_instance_uid,
        number=number,
        complete_series=len(series.frames) >= MIN_BRAIN_SLICES,
        labels=labels,
        study_labels=facts.study_labels,
        age_years=age_years(tags.text(header, "PatientAge")),
        sex=sex(tags.text(header, "PatientSex")),
        spacing_mm=UNKNOWN if spacing is None else spacing,
        position_mm=UNKNOWN if series.spacing_mm is None else series.positions_mm[place],
        pixel_spacing_mm=UNKNOWN if frame.pixel_spacing is None else frame.pixel_spacing[0],
    )


def read_chosen(folder: Path, facts: Callable[[str], StudyFacts], slice_labels: tuple[float, ...]) -> Reading:
    """Read the one study below a folder, by the series that `cruor triage` would read.

    Args:
        folder: DICOM of one patient, in any order and depth.
        facts: StudyInstanceUID -> what is known of the study.
        slice_labels: of each of its slices.

    Returns:
        The study, or why there is none: none of its series can be read, or labels of a patient with several
        studies, or of a mixture of patients, belong nobody knows where.
    """
    found = find_studies([folder])
    not_read = [NotRead.of(aside) for aside in found.damaged]
    choices = [(study, choose_series(study)) for study in found.studies]
    readable = [(study, choice.series) for study, choice in choices if choice.series is not None]
    if not readable:
        whys = [choice.reason for _, choice in choices if choice.reason] or ["no DICOM study in it"]
        return Reading(not_read=(NotRead(str(folder), whys[0]), *not_read))
    if len(readable) > 1 or readable[0][0].patients > 1:
        several = f"{len(readable)} studies" if len(readable) > 1 else "files of several patients"
        why = f"holds {several}, and it is not known which of them its label means; leave one in the folder"
        return Reading(not_read=(NotRead(str(folder), why), *not_read))
    ((study, series),) = readable
    reading = read_series(series, facts(study.study_instance_uid), lambda uid: slice_labels)
    return Reading(reading.studies, (*not_read, *reading.not_read))


def age_years(text: str) -> float:
    """PatientAge (PS3.5 6.2, AS: `045Y`, `006M`) in years, NaN where it is none."""
    match = re.fullmatch(r"(\d{1,3})([DWMY])", text.strip().upper())
    return UNKNOWN if match is None else int(match[1]) * _YEARS[match[2]]


def sex(text: str) -> str:
    """F, M or O of whatever begins with one of them, empty for anything else."""
    first = text.strip().upper()[:1]
    return first if first in ("F", "M", "O") else ""
