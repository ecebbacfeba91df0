"""CQ500 (Chilamkurthy 2018, Lancet 392:2388): a folder a scan, `reads.csv` with three readers a scan."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from cruor.training.prepare.ledger import Ledger
from cruor.training.prepare.plan import Job, NotRead, Plan, PrepareError, Progress, Reading, Request
from cruor.training.prepare.series import UNKNOWN_LABELS, StudyFacts, read_chosen
from cruor.training.prepare.store import LABELS
from cruor.training.prepare.tables import label_of, read_table

READS = "reads.csv"
_READERS = ("R1", "R2", "R3")
_FINDINGS = {
    "any": "ICH",
    "epidural": "EDH",
    "intraparenchymal": "IPH",
    "intraventricular": "IVH",
    "subarachnoid": "SAH",
    "subdural": "SDH",
}
_NAME = re.compile(r"CQ500-?CT-?(\d+)")


def plan_cq500(request: Request, ledger: Ledger, progress: Progress) -> Plan:
    """A job a scan whose folder is there. The set comes in parts, so reads without a folder are no loss.

    Raises:
        PrepareError: the reads cannot be read, or no folder is one of a scan.
    """
    reads = read_reads(request.root / READS)
    folders = {
        int(match[1]): path
        for path in sorted(request.root.iterdir())
        if path.is_dir() and (match := _NAME.match(path.name))
    }
    if not folders:
        raise PrepareError(
            f"{request.root}: no folder of a scan (CQ500CT0 CQ500CT0 and so on); unpack the scans there"
        )
    aside = tuple(
        NotRead(str(path), f"is not named in {READS}, so its labels are unknown")
        for number, path in folders.items()
        if number not in reads
    )
    known = sorted(folders.keys() & reads.keys())
    jobs = (
        Job(f"CQ500-CT-{number}", 1, partial(read_scan, folders[number], number, reads[number]))
        for number in known
    )
    return Plan(jobs, len(known), "scans", aside)


def read_reads(file: Path) -> dict[int, tuple[float, ...]]:
    """Number of the scan -> what at least two of three readers saw, in the order of LABELS.

    `any` is their answer to ICH.

    Raises:
        PrepareError: the table cannot be read, or a reader's answer is missing.
    """
    columns = [f"{reader}:{finding}" for reader in _READERS for finding in _FINDINGS.values()]
    reads = {}
    for row in read_table(file, "name", *columns):
        match = _NAME.match(row["name"])
        if match is None:
            raise PrepareError(f"{file}: {row['name']!r} is no name of a scan")
        answers = [
            sum(label_of(file, row[f"{reader}:{_FINDINGS[label]}"]) for reader in _READERS)
            for label in LABELS
        ]
        if any(count != count for count in answers):  # noqa: PLR0124 - NaN
            raise PrepareError(f"{file}: {row['name']} lacks a reader's answer")
        reads[int(match[1])] = tuple(float(count >= 2) for count in answers)
    return reads


def read_scan(folder: Path, number: int, study_labels: tuple[float, ...]) -> Reading:
    """Read a scan by the series that `cruor triage` would choose.

    Slices of a scan without hemorrhage have none; which slices of another bleed is not known.
    """
    name = f"CQ500-CT-{number}"

    def facts(uid: str) -> StudyFacts:
        return StudyFacts("cq500", name, name, study_labels)

    return read_chosen(folder, facts, study_labels if not any(study_labels) else UNKNOWN_LABELS)
