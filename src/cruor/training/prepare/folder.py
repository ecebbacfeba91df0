"""One folder a patient with DICOM in it, and `labels.csv` with a label a patient: the paper's clinical set.

Which slices bleed is not known.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from cruor.training.prepare.ledger import Ledger
from cruor.training.prepare.plan import Job, NotRead, Plan, PrepareError, Progress, Reading, Request
from cruor.training.prepare.series import UNKNOWN_LABELS, StudyFacts, read_chosen
from cruor.training.prepare.store import LABELS, UNKNOWN
from cruor.training.prepare.tables import label_of, read_table

LABEL_FILE = "labels.csv"


def plan_folder(request: Request, ledger: Ledger, progress: Progress) -> Plan:
    """A job a patient who has both a label and a folder; the others are put aside.

    Raises:
        PrepareError: the table cannot be read, or gives a patient two labels.
    """
    labels = read_patients(request.root / LABEL_FILE)
    folders = {path.name: path for path in sorted(request.root.iterdir()) if path.is_dir()}
    both = [name for name in folders if name in labels]
    aside = [
        NotRead(str(request.root / name), f"is named in {LABEL_FILE}, but there is no such folder")
        for name in labels
        if name not in folders
    ]
    aside += [
        NotRead(str(path), f"is not named in {LABEL_FILE}, so its label is unknown")
        for name, path in folders.items()
        if name not in labels
    ]
    jobs = (
        Job(name, 1, partial(read_patient, folders[name], request.root.name, labels[name])) for name in both
    )
    return Plan(jobs, len(both), "patients", tuple(aside))


def read_patients(file: Path) -> dict[str, float]:
    """Patient -> label.

    Raises:
        PrepareError: the table cannot be read, a label is not 0 or 1, or a patient has two.
    """
    labels: dict[str, float] = {}
    for row in read_table(file, "patient_id", "label"):
        patient, label = row["patient_id"].strip(), label_of(file, row["label"])
        if label != label:  # noqa: PLR0124 - NaN
            raise PrepareError(
                f"{file}: patient {patient!r} has no label; write 0 or 1, or leave the row out"
            )
        if labels.setdefault(patient, label) != label:
            raise PrepareError(f"{file}: patient {patient!r} stands there twice with different labels")
    return labels


def read_patient(folder: Path, source: str, label: float) -> Reading:
    """Read the patient's study by the series that `cruor triage` would choose."""
    known = {"any": label} if label else dict.fromkeys(LABELS, 0.0)
    study_labels = tuple(known.get(name, UNKNOWN) for name in LABELS)

    def facts(uid: str) -> StudyFacts:
        return StudyFacts(source, f"{source}-{folder.name}", uid, study_labels)

    return read_chosen(folder, facts, UNKNOWN_LABELS)
