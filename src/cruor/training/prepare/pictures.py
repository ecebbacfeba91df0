"""Single slices as 8-bit pictures of one window, with `labels.csv`.

HU are known inside the window only; at its ends they may be anything beyond, which the index says.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cruor.training.prepare.ledger import Ledger
from cruor.training.prepare.plan import (
    READ_ERRORS,
    Job,
    NotRead,
    Plan,
    PrepareError,
    Progress,
    Reading,
    Request,
)
from cruor.training.prepare.store import LabelledSlice, LabelledStudy
from cruor.training.prepare.tables import Record, check_labels, labels_of, read_table

LABEL_FILE = "labels.csv"
LEAST_WIDTH_HU, GREATEST_HU = 1.0, 32767.0


def plan_pictures(request: Request, ledger: Ledger, progress: Progress) -> Plan:
    """A job for the pictures of one series, or for one picture where its series is not known.

    Raises:
        PrepareError: the table cannot be read, or there is no window or an impossible one.
    """
    bounds = _bounds(request.window)
    file = request.root / LABEL_FILE
    rows = read_table(file, "sop_instance_uid", "any", "file")
    check_labels(file, rows)
    rows.sort(key=lambda row: (_series_of(row), row["sop_instance_uid"]))
    return Plan(_jobs(request.root, rows, bounds), len(rows), "slices")


def _bounds(window: tuple[float, float] | None) -> tuple[float, float]:
    if window is None:
        raise PrepareError("pictures need the window they were made with: --window LEVEL WIDTH, in HU")
    level, width = window
    low, high = level - width / 2, level + width / 2
    if not (width >= LEAST_WIDTH_HU and low >= -GREATEST_HU and high <= GREATEST_HU):
        raise PrepareError(f"--window {level:g} {width:g} is no window of CT: LEVEL and WIDTH are in HU")
    return low, high


def _jobs(root: Path, rows: list[Record], bounds: tuple[float, float]) -> Iterator[Job]:
    for series, group in groupby(rows, key=_series_of):
        slices = tuple(group)
        yield Job(series, len(slices), partial(read_rows, root, slices, bounds))


def _series_of(row: Record) -> str:
    return row.get("series_instance_uid") or row["sop_instance_uid"]


def read_rows(root: Path, rows: tuple[Record, ...], bounds: tuple[float, float]) -> Reading:
    """Read the pictures of a series. They are numbered as they stand: their place in the scan is not known.

    Pictures of another size than the first are studies of their own, as arrays have one shape.
    """
    read: list[tuple[Record, NDArray[np.int16]]] = []
    not_read = []
    for row in rows:
        try:
            read.append((row, picture_hu(root / row["file"], bounds)))
        except READ_ERRORS as error:
            not_read.append(
                NotRead(str(root / row["file"]), f"is no picture that can be read ({type(error).__name__})")
            )
    if not read:
        return Reading(not_read=tuple(not_read))
    shape = read[0][1].shape
    odd = [row for row, hu in read if hu.shape != shape]
    not_read += [
        NotRead(str(root / row["file"]), "has another size than others of its series") for row in odd
    ]
    kept = [(row, hu) for row, hu in read if hu.shape == shape]
    slices = tuple(_labelled(root, row, number, bounds) for number, (row, _) in enumerate(kept, start=1))
    return Reading((LabelledStudy(slices, np.stack([hu for _, hu in kept])),), tuple(not_read))


def picture_hu(file: Path, bounds: tuple[float, float]) -> NDArray[np.int16]:
    """HU of an 8-bit picture whose 0 and 255 are the bounds, int16, (rows, columns).

    Raises:
        One of plan.READ_ERRORS: it cannot be read, or has more than 8 bits.
    """
    with Image.open(file) as picture:
        if picture.mode not in ("L", "P", "RGB", "RGBA", "1"):
            raise ValueError(f"has pixels of {picture.mode}, not of 8 bits")
        grey = np.asarray(picture.convert("L"), dtype=np.float32)
    low, high = bounds
    return np.round(low + grey * (high - low) / 255).astype(np.int16)


def _labelled(root: Path, row: Record, number: int, bounds: tuple[float, float]) -> LabelledSlice:
    return LabelledSlice(
        source=root.name,
        patient_id=row.get("patient_id") or _series_of(row),
        study_instance_uid=_series_of(row),
        sop_instance_uid=row["sop_instance_uid"],
        number=number,
        complete_series=False,
        labels=labels_of(root / LABEL_FILE, row),
        known_low_hu=bounds[0],
        known_high_hu=bounds[1],
    )
