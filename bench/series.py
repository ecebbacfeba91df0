"""The series that is measured."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from bench.machine import ROOT
from cruor.demo import copy_heads
from cruor.dicom.choice import choose_series
from cruor.dicom.instances import Series
from cruor.dicom.studies import find_studies


@dataclass(frozen=True)
class Measured:
    """A folder with one series, and what to call it."""

    folder: Path
    name: str
    series: Series


def measured_series(temporary: Path) -> Measured:
    """The RSNA series of median length where the shared data are, else a real head of the demo."""
    shared = Path(os.environ.get("CRUOR_SHARED", ROOT.parent / "shared")) / "data" / "rsna-sample"
    if shared.is_dir():
        folder, source = median_folder(shared), "RSNA series"
    else:
        folder, source = copy_heads(temporary)[1], "no RSNA data under $CRUOR_SHARED: demo head"
    series = _series(folder)
    header = series.header
    size = f"{len(series.frames)} slices of {header.Rows} x {header.Columns}"
    return Measured(folder, f"{source} {folder.name}, {size}", series)


def median_folder(parent: Path) -> Path:
    """The folder with the median number of DICOM files; of two in the middle the longer or later named."""
    counts = sorted(
        (len(list(folder.glob("*.dcm"))), folder.name) for folder in parent.iterdir() if folder.is_dir()
    )
    return parent / counts[len(counts) // 2][1]


def _series(folder: Path) -> Series:
    (study,) = find_studies([folder]).studies
    choice = choose_series(study)
    if choice.series is None:
        raise RuntimeError(f"{folder}: {choice.reason}")
    return choice.series
