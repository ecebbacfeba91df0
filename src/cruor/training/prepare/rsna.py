"""RSNA 2019: DICOM anywhere below a folder, labels in its `stage_2_train.csv`."""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cruor.dicom.choice import MIN_BRAIN_SLICES
from cruor.dicom.files import find_instances
from cruor.dicom.instances import Frame, Instance, Series, Study, UnreadableError
from cruor.dicom.pixels import read_hu
from cruor.dicom.series import group_studies
from cruor.training.prepare.store import LABELS, LabelledSlice, LabelledStudy

LABEL_FILE = "stage_2_train.csv"
Labels = dict[str, dict[str, float]]

log = logging.getLogger(__name__)


def read_rsna(root: Path) -> Iterator[LabelledStudy]:
    """Yield every series below root; slices that the label file does not name get unknown labels (NaN).

    Files that cannot be read are logged and left out.

    Raises:
        ValueError: the label file contradicts itself.
    """
    labels = read_labels(root / LABEL_FILE)
    instances = [found for found in find_instances([root]) if isinstance(found, Instance)]
    for study in group_studies(instances):
        for series in study.series:
            labelled = _labelled_series(root.name, study, series, labels)
            if labelled is not None:
                yield labelled


def read_labels(file: Path) -> Labels:
    """Read `ID_<slice>_<label>,0|1` rows into slice -> label -> value.

    The published file repeats a few rows; a repetition that says the same counts once.

    Raises:
        ValueError: two rows of one slice and label disagree.
    """
    labels: Labels = {}
    with file.open(newline="") as lines:
        for row in csv.DictReader(lines):
            slice_id, _, label = row["ID"].rpartition("_")
            value = float(row["Label"])
            if labels.setdefault(slice_id, {}).setdefault(label, value) != value:
                raise ValueError(f"{file}: {row['ID']} stands there twice with different labels")
    return labels


def _labelled_series(source: str, study: Study, series: Series, labels: Labels) -> LabelledStudy | None:
    read: list[tuple[Frame, NDArray[np.int16]]] = []
    for frame in series.frames:
        try:
            read.append((frame, read_hu(frame)))
        except UnreadableError as error:
            log.warning("left out: %s", error)
    if not read:
        return None
    unknown = dict.fromkeys(LABELS, float("nan"))
    slices = []
    for number, (frame, _) in enumerate(read, start=1):
        uid = frame.instance.sop_instance_uid
        known = {**unknown, **labels.get(uid, {})}
        slices.append(
            LabelledSlice(
                source=source,
                patient_id=study.patient_id,
                study_instance_uid=series.series_instance_uid,
                sop_instance_uid=uid,
                number=number,
                complete_series=len(series.frames) >= MIN_BRAIN_SLICES,
                labels=tuple(known[label] for label in LABELS),
            )
        )
    return LabelledStudy(tuple(slices), np.stack([hu for _, hu in read]))
