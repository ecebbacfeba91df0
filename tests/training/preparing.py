"""What the tests of preparing share: data sets small enough to prepare in a moment, and reading them back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from cruor.training.prepare import KINDS, Prepared, prepare_data
from cruor.training.prepare.ledger import Ledger
from cruor.training.prepare.plan import Reading, Request, no_progress
from cruor.training.prepare.store import LABELS, LabelledStudy, read_index, read_slices


def picture(path: Path, grey: NDArray[np.generic]) -> Path:
    """Write a picture without loss, whatever its name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        Image.fromarray(grey.astype(np.uint8)).save(file, format="PNG")
    return path


def flat(path: Path, grey: int, side: int = 4) -> Path:
    return picture(path, np.full((side, side), grey))


def readings(kind: str, root: Path, out: Path, window: tuple[float, float] | None = None) -> list[Reading]:
    """What the jobs of a data set give; what the plan put aside comes first."""
    out.mkdir(exist_ok=True)
    with Ledger(out, "test") as ledger:
        plan = KINDS[kind](Request(kind, root, out, window=window), ledger, no_progress)
        found = [Reading(not_read=(*plan.not_read, *ledger.not_read()))]
        return found + [job.read() for job in plan.jobs]


def studies_of(kind: str, root: Path, out: Path) -> list[LabelledStudy]:
    return [study for reading in readings(kind, root, out) for study in reading.studies]


def prepared(kind: str, root: Path, out: Path, **options: object) -> Prepared:
    return prepare_data(Request(kind, root, out, **options))[0]  # type: ignore[arg-type]


def contents(folder: Path) -> tuple[pd.DataFrame, list[NDArray[np.int16]]]:
    index = read_index(folder)
    return index, [stored.hu for stored in read_slices(folder, index)]


def picture_set(root: Path, count: int) -> Path:
    """A set of the kind `pictures`: slice `s<n>` is grey n everywhere; every second one bleeds."""
    lines = [f"sop_instance_uid,patient_id,series_instance_uid,{','.join(LABELS)},file"]
    for number in range(count):
        flat(root / "png" / f"{number}.png", number)
        values = ",".join(str(int(label == "any" and number % 2)) for label in LABELS)
        lines.append(f"s{number:03d},,,{values},png/{number}.png")
    (root / "labels.csv").write_text("\n".join(lines) + "\n")
    return root


WINDOW = (36.0, 80.0)
