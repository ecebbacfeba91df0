"""PhysioNet ct-ich (Hssayeni 2020, Data 5:14): pictures of two windows, or version 1.3.1 in NIfTI.

Pictures: the workstation's brain window (level 40, width 120) keeps half an HU; what it clips is filled from
the bone window (level 700, width 3200), which is coarse: 12.5 HU a step and half the resolution.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cruor.training.prepare.ledger import Ledger
from cruor.training.prepare.plan import Job, Plan, Progress, Reading, Request
from cruor.training.prepare.series import sex
from cruor.training.prepare.store import UNKNOWN, LabelledSlice, LabelledStudy
from cruor.training.prepare.tables import (
    Record,
    check_labels,
    labels_of,
    number_or_unknown,
    read_table,
    whole_number,
)

BRAIN_HU = (-20, 100)
BONE_HU = (-900, 2300)

SPACING_MM = 5.0
"""Hssayeni 2020, section 2.1: slices of 5 mm."""

SLICES, PATIENTS = "slices.csv", "patients.csv"


@dataclass(frozen=True)
class Person:
    """Age in years (NaN where unknown) and sex ("F", "M", empty where unknown) of a patient."""

    age_years: float = UNKNOWN
    sex: str = ""


def plan_pictures_of_ct_ich(request: Request, ledger: Ledger, progress: Progress) -> Plan:
    """A job a patient: `slices.csv`, `patients.csv` where it is there, pictures of both windows.

    Raises:
        PrepareError: a table cannot be read.
    """
    file = request.root / SLICES
    rows = read_table(file, "patient", "slice", "any", "brain", "bone")
    rows.sort(key=lambda row: (whole_number(file, row, "patient"), whole_number(file, row, "slice")))
    check_labels(file, rows)
    people = _people(request.root / PATIENTS)
    return Plan(_jobs(request.root, rows, people), len(rows), "slices")


def _people(file: Path) -> dict[int, Person]:
    if not file.exists():
        return {}
    rows = read_table(file, "patient", "age_years", "sex")
    return {
        whole_number(file, row, "patient"): Person(number_or_unknown(row["age_years"]), sex(row["sex"]))
        for row in rows
    }


def _jobs(root: Path, rows: list[Record], people: dict[int, Person]) -> Iterator[Job]:
    for patient, group in groupby(rows, key=lambda row: whole_number(root / SLICES, row, "patient")):
        slices = tuple(group)
        person = people.get(patient, Person())
        yield Job(name_of(patient), len(slices), partial(_read_patient, root, patient, slices, person))


def _read_patient(root: Path, patient: int, rows: Iterable[Record], person: Person) -> Reading:
    slices = [_labelled(root, patient, row, person) for row in rows]
    hu = [rebuild_hu(root / row["brain"], root / row["bone"] if row["bone"] else None) for row in rows]
    return Reading((LabelledStudy(tuple(slices), np.stack(hu)),))


def name_of(patient: int) -> str:
    """The patient's identifier over all data sets."""
    return f"CT-ICH-{patient:03d}"


def rebuild_hu(brain: Path, bone: Path | None) -> NDArray[np.int16]:
    """Rebuild HU from the two pictures of a slice.

    Args:
        brain: 8-bit picture of the brain window.
        bone: 8-bit picture of the bone window, of any size; None where it is missing.

    Returns:
        int16, the size of the brain picture, HU; clipped to the brain window without a bone picture.
    """
    picture = Image.open(brain).convert("L")
    grey = np.asarray(picture, dtype=np.float32)
    low, high = BRAIN_HU
    hu = low + grey * (high - low) / 255
    if bone is not None:
        resized = Image.open(bone).convert("L").resize(picture.size, Image.Resampling.BILINEAR)
        wide = np.asarray(resized, dtype=np.float32)
        coarse = BONE_HU[0] + wide * (BONE_HU[1] - BONE_HU[0]) / 255
        hu = np.where(grey <= 1, np.minimum(coarse, hu), np.where(grey >= 254, np.maximum(coarse, hu), hu))
        hu = np.where(wide < 1, -1000, hu)
    return np.round(hu).astype(np.int16)


def _labelled(root: Path, patient: int, row: Record, person: Person) -> LabelledSlice:
    name, number = name_of(patient), whole_number(root / SLICES, row, "slice")
    known_low, known_high = (UNKNOWN, UNKNOWN) if row["bone"] else BRAIN_HU
    return LabelledSlice(
        source="ct-ich",
        patient_id=name,
        study_instance_uid=name,
        sop_instance_uid=f"{patient:03d}_{number:02d}",
        number=number,
        complete_series=True,
        labels=labels_of(root / SLICES, row),
        age_years=person.age_years,
        sex=person.sex,
        spacing_mm=SPACING_MM,
        position_mm=number * SPACING_MM,
        known_low_hu=known_low,
        known_high_hu=known_high,
    )
