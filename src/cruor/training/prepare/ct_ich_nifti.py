"""PhysioNet ct-ich 1.3.1 (doi 10.13026/4nae-zg36): CT and masks in NIfTI, a file a patient.

`ct_scans/049.nii`, `masks/049.nii`, `hemorrhage_diagnosis_raw_ct.csv` with a row a slice, counted from the
lowest, and `Patient_demographics.csv`, whose header has two lines.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from cruor.dicom.pixels import AIR_HU, LEAST_HU
from cruor.training.prepare.ct_ich import Person, name_of
from cruor.training.prepare.ledger import Ledger
from cruor.training.prepare.plan import Job, NotRead, Plan, PrepareError, Progress, Reading, Request
from cruor.training.prepare.series import sex
from cruor.training.prepare.store import LABELS, UNKNOWN, LabelledSlice, LabelledStudy
from cruor.training.prepare.tables import label_of, number_or_unknown, read_table, whole_number

DIAGNOSES, PEOPLE = "hemorrhage_diagnosis_raw_ct.csv", "patient_demographics.csv"
SCANS, MASKS = "ct_scans", "masks"
_SUBTYPES = {label: label.capitalize() for label in LABELS if label != "any"}
_NONE = "No_Hemorrhage"

Diagnoses = dict[int, tuple[float, ...]]


def plan_nifti_of_ct_ich(request: Request, ledger: Ledger, progress: Progress) -> Plan:
    """A job a patient that the diagnoses name.

    Raises:
        PrepareError: a table cannot be read.
    """
    diagnoses = read_diagnoses(request.root / DIAGNOSES)
    people = read_people(request.root)
    scans = {int(file.name.split(".")[0]): file for file in _numbered(request.root / SCANS)}
    masks = {int(file.name.split(".")[0]): file for file in _numbered(request.root / MASKS)}
    named = sorted(patient for patient in diagnoses if patient in scans)
    missing = [
        NotRead(str(request.root / SCANS / f"{patient:03d}.nii"), f"is missing; {DIAGNOSES} names it")
        for patient in sorted(diagnoses.keys() - scans.keys())
    ]
    missing += [
        NotRead(str(scans[patient]), f"has no row in {DIAGNOSES}, so its labels are unknown")
        for patient in sorted(scans.keys() - diagnoses.keys())
    ]
    jobs = (
        Job(
            name_of(patient),
            len(diagnoses[patient]),
            partial(
                read_patient,
                patient,
                (scans[patient], masks.get(patient)),
                diagnoses[patient],
                people.get(patient, Person()),
            ),
        )
        for patient in named
    )
    return Plan(jobs, sum(len(diagnoses[patient]) for patient in named), "slices", tuple(missing))


def _numbered(folder: Path) -> Iterator[Path]:
    files = sorted(folder.glob("*.nii*")) if folder.is_dir() else []
    return (file for file in files if file.name.split(".")[0].isdigit())


def read_diagnoses(file: Path) -> dict[int, Diagnoses]:
    """Patient -> slice number from the lowest -> labels in the order of LABELS.

    Raises:
        PrepareError: the table cannot be read, or says both blood and no blood of a slice.
    """
    found: dict[int, Diagnoses] = defaultdict(dict)
    for row in read_table(file, "PatientNumber", "SliceNumber", *_SUBTYPES.values(), _NONE):
        if not row["PatientNumber"].strip():
            continue
        patient, number = whole_number(file, row, "PatientNumber"), whole_number(file, row, "SliceNumber")
        subtypes = {label: label_of(file, row[column]) for label, column in _SUBTYPES.items()}
        blood = 1.0 - label_of(file, row[_NONE])
        if 1.0 in subtypes.values() and blood == 0.0:
            raise PrepareError(f"{file}: patient {patient}, slice {number} has blood and {_NONE}")
        found[patient][number] = tuple({"any": blood, **subtypes}[label] for label in LABELS)
    return dict(found)


def read_people(root: Path) -> dict[int, Person]:
    """Age and sex from the table of patients; none where it is missing.

    Its header has two lines and names with line breaks, so columns are found by how their names begin.
    """
    file = next((file for file in sorted(root.iterdir()) if file.name.lower() == PEOPLE), None)
    if file is None:
        return {}
    with file.open(newline="", encoding="utf-8-sig") as lines:
        header, *rows = [*csv.reader(lines), list[str]()]
    places = [_place(header, beginning) for beginning in ("patient", "age", "gender")]
    people = {}
    for row in rows:
        patient, age, gender = (
            row[place] if place is not None and place < len(row) else "" for place in places
        )
        if patient.strip().isdigit():
            people[int(patient)] = Person(number_or_unknown(age), sex(gender))
    return people


def _place(header: list[str], beginning: str) -> int | None:
    found = (place for place, name in enumerate(header) if name.strip().lower().startswith(beginning))
    return next(found, None)


def read_patient(
    patient: int, files: tuple[Path, Path | None], diagnoses: Diagnoses, person: Person
) -> Reading:
    """Read CT and masks of a patient; slices without a diagnosis have unknown labels.

    Raises:
        One of plan.READ_ERRORS: a file is broken.
    """
    scan, mask = files
    image = nibabel.load(scan)
    hu = slices_upright(np.asanyarray(image.dataobj), image.affine)
    labels = [diagnoses.get(number, (UNKNOWN,) * len(LABELS)) for number in range(1, len(hu) + 1)]
    if max(diagnoses) > len(hu):
        return _refused(scan, f"has {len(hu)} slices, but {DIAGNOSES} names slice {max(diagnoses)}")
    masks: dict[int, NDArray[np.uint8]] = {}
    if mask is not None:
        # By index, whatever affine the mask has: the published script lays them over one another so.
        drawn = slices_upright(np.asanyarray(nibabel.load(mask).dataobj), image.affine)
        if drawn.shape != hu.shape:
            return _refused(mask, f"is of {drawn.shape} where the scan is of {hu.shape}")
        masks = {row: (one > 0).astype(np.uint8) for row, one in enumerate(drawn) if one.any()}
        if _upside_down(masks, labels):
            return _refused(
                mask, "fits the diagnoses only when slices are counted from the top; check the scan"
            )
    spacing, pixel_spacing = _spacings(image.affine)
    slices = tuple(
        LabelledSlice(
            source="ct-ich",
            patient_id=name_of(patient),
            study_instance_uid=name_of(patient),
            sop_instance_uid=f"{patient:03d}_{number:02d}",
            number=number,
            complete_series=True,
            labels=of_slice,
            age_years=person.age_years,
            sex=person.sex,
            spacing_mm=spacing,
            position_mm=number * spacing,
            pixel_spacing_mm=pixel_spacing,
        )
        for number, of_slice in enumerate(labels, start=1)
    )
    whole = np.where(hu < LEAST_HU, AIR_HU, np.round(hu)).astype(np.int16)
    return Reading((LabelledStudy(slices, whole, masks=masks),))


def slices_upright(voxels: NDArray[Any], affine: NDArray[np.float64]) -> NDArray[Any]:
    """Turn a volume of any orientation into slices as radiologists see them, the lowest first.

    Args:
        voxels: three axes in any order and direction, and perhaps further ones of length 1.
        affine: (4, 4), voxel -> mm to the patient's right, front and head (NIfTI: RAS+).

    Returns:
        (slices, rows, columns): the patient's front at the top and right on the left of each picture.
    """
    volume = voxels.reshape(voxels.shape[:3])
    oriented = nibabel.orientations.apply_orientation(volume, nibabel.io_orientation(affine))
    return np.asarray(oriented)[::-1, ::-1].transpose(2, 1, 0)


def _spacings(affine: NDArray[np.float64]) -> tuple[float, float]:
    """Distance of slices and of rows, mm."""
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    axes = nibabel.io_orientation(affine)[:, 0].tolist()
    return float(lengths[axes.index(2)]), float(lengths[axes.index(1)])


def _upside_down(masks: dict[int, NDArray[np.uint8]], labels: list[tuple[float, ...]]) -> bool:
    """Whether no mask lies in a slice with blood, but would if slices were counted from the top."""
    place = LABELS.index("any")
    blood = {row for row, of_slice in enumerate(labels) if of_slice[place] == 1.0}
    turned = {len(labels) - 1 - row for row in masks}
    return not blood & masks.keys() and bool(blood & turned)


def _refused(file: Path, why: str) -> Reading:
    return Reading(not_read=(NotRead(str(file), why),))
