"""RSNA 2019: DICOM anywhere below a folder, labels in its `stage_2_train.csv`.

The published set is 752,803 files in one folder. So files are first sorted into series by their headers
(`scan`), and then read series by series: memory holds a row of labels for each slice, and the series that
are being read.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from cruor.dicom.files import find_instances
from cruor.dicom.instances import Instance
from cruor.dicom.series import group_studies
from cruor.training.prepare.ledger import Ledger
from cruor.training.prepare.plan import Job, NotRead, Plan, PrepareError, Progress, Reading, Request
from cruor.training.prepare.rsna_labels import SliceLabels, read_labels
from cruor.training.prepare.scan import scan
from cruor.training.prepare.series import UNKNOWN_LABELS, StudyFacts, read_series
from cruor.training.prepare.store import LabelledStudy

LABEL_FILE = "stage_2_train.csv"
TRAIN_FOLDER = "stage_2_train"
"""Where it is there, only it is read: the test folder beside it has no labels."""

SeriesLabels = dict[str, tuple[float, ...]]


def plan_rsna(request: Request, ledger: Ledger, progress: Progress) -> Plan:
    """Read all headers; then each series is a job. Slices that the labels do not name have unknown ones.

    Raises:
        PrepareError: the label file contradicts itself or cannot be read, or there is no DICOM.
    """
    labels = read_labels(request.root / LABEL_FILE)
    published = request.root / TRAIN_FOLDER
    scan(published if published.is_dir() else request.root, ledger, request.workers, progress)
    series = ledger.series()
    if not series:
        raise PrepareError(
            f"{request.root}: no DICOM file in it; name the folder that holds them and {LABEL_FILE}"
        )
    jobs = _jobs(request.root.name, ledger, series, labels)
    return Plan(jobs, sum(count for *_, count in series), "slices")


def _jobs(
    source: str, ledger: Ledger, series: list[tuple[str, str, int]], labels: SliceLabels
) -> Iterator[Job]:
    for study_uid, series_uid, count in series:
        files = ledger.files_of(study_uid, series_uid)
        of_series = {name: labels.of(name) for _, name in files}
        read = partial(read_files, source, tuple(Path(path) for path, _ in files), of_series)
        yield Job(f"{study_uid} {series_uid}", count, read)


def read_files(source: str, files: tuple[Path, ...], labels: SeriesLabels) -> Reading:
    """Read the files of one series; parts of it that differ in size or orientation are studies apart."""
    instances: list[Instance] = []
    not_read: list[NotRead] = []
    for found in find_instances(files):
        if isinstance(found, Instance):
            instances.append(found)
        else:
            not_read.append(NotRead.of(found))
    studies: list[LabelledStudy] = []
    for study in group_studies(instances):
        not_read += [NotRead.of(aside) for aside in study.put_aside]
        for number, series in enumerate(study.series, start=1):
            uid = series.series_instance_uid + (f" part {number}" if number > 1 else "")
            facts = StudyFacts(source, study.patient_id, uid)
            reading = read_series(series, facts, lambda name: labels.get(name, UNKNOWN_LABELS))
            studies += reading.studies
            not_read += reading.not_read
    return Reading(tuple(studies), tuple(not_read))
