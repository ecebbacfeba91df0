"""PhysioNet ct-ich (Hssayeni 2020, Data 5:14), the version in pictures: HU rebuilt from both windows.

The workstation's brain window (level 40, width 120) keeps half an HU; what it clips is filled from the
bone window (level 700, width 3200), which is coarse: 12.5 HU a step and half the resolution.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cruor.training.prepare.store import LABELS, LabelledSlice, LabelledStudy

BRAIN_HU = (-20, 100)
BONE_HU = (-900, 2300)


def read_ct_ich(root: Path) -> Iterator[LabelledStudy]:
    """Yield every patient of the folder: `slices.csv`, `brain/*.jpg` and `bone/*.jpg` below root."""
    with (root / "slices.csv").open(newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: (int(row["patient"]), int(row["slice"])))
    for patient, group in groupby(rows, key=lambda row: int(row["patient"])):
        slices = list(group)
        yield LabelledStudy(
            tuple(_labelled(patient, row) for row in slices),
            np.stack([_rebuilt(root, row) for row in slices]),
        )


def _rebuilt(root: Path, row: dict[str, str]) -> NDArray[np.int16]:
    return rebuild_hu(root / row["brain"], root / row["bone"] if row["bone"] else None)


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


def _labelled(patient: int, row: dict[str, str]) -> LabelledSlice:
    name = f"CT-ICH-{patient:03d}"
    return LabelledSlice(
        source="ct-ich",
        patient_id=name,
        study_instance_uid=name,
        sop_instance_uid=f"{patient:03d}_{int(row['slice']):02d}",
        number=int(row["slice"]),
        complete_series=True,
        labels=tuple(float(row[label]) for label in LABELS),
    )
