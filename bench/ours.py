"""cruor's way in one process with an open bundle, as a worklist server or a long triage runs it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from bench.measures import Measure, median_seconds
from cruor.bundle.model import Bundle
from cruor.dicom.instances import Series
from cruor.dicom.pixels import read_hu
from cruor.dicom.studies import find_studies
from cruor.preprocessing.channels import crop_head, to_channels
from cruor.reader.results import Status
from cruor.reader.study import BATCH, read_study
from cruor.report.files import RESULT_NAME, write_atomically
from cruor.report.record import record_json, study_record


def measure_warm(folder: Path, bundle: Bundle) -> Measure:
    """Files to decision, all heatmaps and result.json."""
    with tempfile.TemporaryDirectory() as out:
        seconds = median_seconds(lambda: _read_once(folder, bundle, Path(out) / RESULT_NAME), times=5)
    how = "files to decision, all heatmaps, result.json; bundle open; median of 5"
    return Measure("warm", seconds, "s", 2.5, how)


def measure_network(series: Series, bundle: Bundle) -> Measure:
    """The forward pass by itself: logits and maps of one batch."""
    middle = len(series.frames) // 2
    frames = series.frames[max(middle - BATCH // 2, 0) :][:BATCH]
    settings = bundle.manifest.input
    channels = np.stack([to_channels(crop_head(read_hu(frame), settings)[0], settings) for frame in frames])
    seconds = median_seconds(lambda: bundle.run(channels), times=5)
    how = f"onnxruntime, {len(frames)} slices a batch, heatmaps with it; median of 5"
    return Measure("network alone, a slice", 1000 * seconds / len(frames), "ms", None, how)


def _read_once(folder: Path, bundle: Bundle, file: Path) -> None:
    (study,) = find_studies([folder]).studies
    result = read_study(study, bundle)
    if result.status is not Status.DECIDED or len(result.slices) != result.slice_count:
        raise RuntimeError(f"{folder}: {result.status}: {result.reason}; the benchmark needs a decided study")
    write_atomically(file, record_json(study_record(result), indent=2).encode("ascii"))
