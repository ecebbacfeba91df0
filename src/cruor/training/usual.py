"""What the studies of a training look like, so that a reader can say when one does not."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cruor.bundle.manifest import MEASURES, UsualRange
from cruor.dicom.head import inside_skull
from cruor.reader.unlike import measure
from cruor.training.experiment import DataSettings
from cruor.training.prepare.store import read_index, read_slices

FEWEST = 20
"""Studies below which no range is told: their extremes say little."""

MARGIN = 0.1
"""Share of the range that is added at either end: the next study may lie a little outside."""


SHARES = ("brain_share",)
"""Measures that are shares: their range ends at 1."""


def usual_ranges(data: DataSettings) -> tuple[UsualRange, ...]:
    """The ranges of the complete series of the prepared folders."""
    return ranges_of([measures for folder in data.folders for measures in _of_folder(Path(folder), data)])


def ranges_of(studies: Sequence[dict[str, float]]) -> tuple[UsualRange, ...]:
    """Lowest and highest of each measure (`reader.unlike`), with a margin; none of fewer than FEWEST."""
    measured = pd.DataFrame(studies)
    if len(measured) < FEWEST:
        return ()
    ranges = []
    for name in MEASURES:
        low, high = float(measured[name].min()), float(measured[name].max())
        margin = MARGIN * (high - low)
        most = 1.0 if name in SHARES else math.inf
        ranges.append(UsualRange(name, low - margin, min(high + margin, most)))
    return tuple(ranges)


def _of_folder(folder: Path, data: DataSettings) -> Iterator[dict[str, float]]:
    for slices, spacing in complete_series(folder, data.left_out_patients):
        if measures := measure([inside_skull(hu, spacing) for hu in slices]):
            yield measures


def complete_series(
    folder: Path, left_out: Sequence[str] = ()
) -> Iterator[tuple[list[NDArray[np.int16]], tuple[float, float] | None]]:
    """Slices, (rows, columns) in HU, and pixel spacing in mm of each labelled complete series of a folder.

    Raises:
        FileNotFoundError: the folder was not prepared, or a file of a study is missing.
    """
    index = read_index(folder)
    labelled = index["complete_series"] & index["any"].notna()
    for _, study in index[labelled & ~index["patient_id"].isin(left_out)].groupby("study_instance_uid"):
        spacing = float(study["pixel_spacing_mm"].iloc[0])
        known = None if np.isnan(spacing) else (spacing, spacing)
        yield [stored.hu for stored in read_slices(folder, study)], known
