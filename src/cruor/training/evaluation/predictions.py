"""What a bundle, or a cross-validation, says of labelled slices: one table, made, written and read here.

The table has the index's columns (`prepare.store`), `logit_<output>` and `probability_<output>` for each
output, `study_probability` and `study_threshold` (the operating point that decides that study), and
`fold` where the logits are out of fold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cruor.bundle.model import Bundle
from cruor.preprocessing.channels import crop_head, to_channels
from cruor.reader.study import BATCH
from cruor.reader.study_head import study_probability
from cruor.training.calibration import (
    all_calibrated_logits,
    averaged_logits,
    best_balance,
    by_fold,
    complete_studies,
    fit_slice_calibration,
    fit_study_head,
    logits_for_study,
    outputs_of,
)
from cruor.training.data import why_unreadable
from cruor.training.experiment import ExperimentError
from cruor.training.map_column import MAP_COLUMN, pack_maps
from cruor.training.prepare.store import read_index, read_slices, write_table
from cruor.training.together import check_maps

PREDICTIONS_FILE, SLICES_FILE, STUDIES_FILE = "predictions.parquet", "slices.csv", "studies.csv"
KEY = ["source", "study_instance_uid", "sop_instance_uid", "row"]
"""What tells one slice from every other: frames of one instance differ by row."""

STORAGE = ["file", "row", "drawn", "masked", MAP_COLUMN]
"""Columns that say where the pixels are, or hold some; of no use in a table for people."""

BUNDLE, CROSS_FITTED = "bundle", "cross-fitted"
Progress = Callable[[int, int], None]
"""Called with slices done and slices in all."""


class EvaluationError(Exception):
    """Something that cannot be evaluated: the message says what, why, and what to do."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """Slices with labels and what a network said of them.

    Attributes:
        slices: one row a slice, columns as above.
        made_by: `name`, `how` (BUNDLE or CROSS_FITTED), and what the figures' ancestry needs.
    """

    slices: pd.DataFrame
    made_by: dict[str, Any]

    @property
    def name(self) -> str:
        """What tables call it."""
        return str(self.made_by["name"])

    @property
    def outputs(self) -> tuple[str, ...]:
        """The network's outputs, `any` first."""
        return outputs_of(self.slices)


def load_index(folders: tuple[Path, ...]) -> pd.DataFrame:
    """The indices of prepared folders one below the other, with the column `folder`.

    Raises:
        EvaluationError: a slice stands in two folders, or a folder is not prepared.
    """
    try:
        parts = [read_index(folder).assign(folder=str(folder)) for folder in folders]
    except OSError as error:
        raise EvaluationError(str(error)) from error
    index = with_later_columns(pd.concat(parts, ignore_index=True))
    twice = index.duplicated(KEY)
    if twice.any():
        slice_id = index.loc[twice, "sop_instance_uid"].iloc[0]
        raise EvaluationError(f"slice {slice_id} stands twice in the data; name each prepared folder once")
    return index


def with_later_columns(index: pd.DataFrame) -> pd.DataFrame:
    """Fill in the columns that tables from before them lack: unknown, but for the study's label."""
    filled = index.copy()
    if "study_any" not in index:
        label = index.groupby(["source", "study_instance_uid"])["any"].transform("max")
        filled["study_any"] = label.where(index["complete_series"])
    for column in ("age_years", "spacing_mm"):
        if column not in index:
            filled[column] = np.nan
    if "sex" not in index:
        filled["sex"] = ""
    return filled


def run_bundle(
    bundle: Bundle, index: pd.DataFrame, progress: Progress = lambda done, total: None
) -> Predictions:
    """Read prepared slices with a bundle as `read_study` reads a series; memory holds one study.

    Args:
        bundle: an open bundle.
        index: rows of `load_index`.
        progress: told of slices done.

    Raises:
        EvaluationError: no slices, a study's file is missing, heads cannot be found in pictures, or the
            network gave no number for a slice.
    """
    if index.empty:
        raise EvaluationError("there are no slices to evaluate; look at --data, --split and --side")
    if reason := why_unreadable(index, bundle):
        raise EvaluationError(reason)
    parts, done = [], 0
    for (folder, _), rows in index.groupby(["folder", "file"], sort=False):
        study = rows.sort_values("number", kind="stable")
        logits, maps = _study_logits(bundle, Path(folder), study)
        said: dict[str, Any] = {
            f"logit_{output}": logits[:, place] for place, output in enumerate(bundle.manifest.outputs)
        }
        calibration = bundle.manifest.calibration
        if maps is not None and calibration.maps is not None:
            said[MAP_COLUMN] = pack_maps(maps)
        table = study.assign(**said)
        averaged = averaged_logits(table, calibration)
        probabilities = bundle.slice_probabilities(averaged)
        judged = bundle.slice_probabilities(averaged_logits(table, calibration.for_study))
        columns = _columns(bundle.manifest.outputs, logits, probabilities)
        columns["study_probability"] = study_probability(judged[:, 0], bundle.manifest.study_head)
        parts.append(study.assign(**columns))
        done += len(study)
        progress(done, len(index))
    manifest = bundle.manifest
    slices = pd.concat(parts, ignore_index=True).drop(columns="folder")
    made_by = {
        "name": bundle.label,
        "how": BUNDLE,
        "version": manifest.version,
        "digest": manifest.digest,
        "terms": manifest.terms,
        "learned_from": [source.name for source in manifest.data],
        "left_out_patients": manifest.made_by.get("left_out_patients", []),
        "default_rule": manifest.rules.default,
        "slice_threshold": manifest.rules.slice_threshold,
    }
    return Predictions(slices.assign(study_threshold=manifest.rules.operating_point.threshold), made_by)


def _study_logits(
    bundle: Bundle, folder: Path, study: pd.DataFrame
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Raw logits, (slices, outputs), and maps of one study in scan order, in batches as the reader's."""
    settings = bundle.manifest.input
    said: list[tuple[NDArray[np.float32], NDArray[np.float32] | None]] = []
    waiting: list[NDArray[np.float32]] = []
    try:
        for stored in read_slices(folder, study):
            waiting.append(to_channels(crop_head(stored.hu, settings)[0], settings))
            if len(waiting) == BATCH:
                said.append(bundle.run(np.stack(waiting)))
                waiting = []
    except OSError as error:
        raise EvaluationError(f"{folder}: {error}; run `cruor prepare` again") from error
    if waiting:
        said.append(bundle.run(np.stack(waiting)))
    found = np.concatenate([logits for logits, _ in said])
    maps = [one for _, one in said if one is not None]
    found_maps = np.concatenate(maps) if maps else None
    numbers = np.isfinite(found).all(axis=1)
    if found_maps is not None:
        numbers &= np.isfinite(found_maps).all(axis=(1, 2))
    if not numbers.all():
        broken = study["sop_instance_uid"].iloc[int(np.argmin(numbers))]
        raise EvaluationError(f"the network gave no number for slice {broken}; check the bundle")
    return found, found_maps


def cross_fit(out_of_fold: pd.DataFrame, name: str) -> Predictions:
    """Calibrate out-of-fold logits: each fold's with what is fitted on the other folds.

    Slice calibration, study head and operating point are fitted on the other folds, so that no label of a
    patient touches its own probability. Where the other folds lack a class among their studies, the study
    probability is unknown.
    """
    parts = [calibrated_by(others, held_out) for held_out, others in by_fold(out_of_fold).values()]
    made_by = {"name": name, "how": CROSS_FITTED, "folds": int(out_of_fold["fold"].nunique())}
    return Predictions(pd.concat(parts, ignore_index=True), made_by)


def calibrated_by(others: pd.DataFrame, held_out: pd.DataFrame) -> pd.DataFrame:
    """Probabilities of held-out logits; calibration, study head and operating point are fitted on others."""
    outputs = outputs_of(held_out)
    calibration = fit_slice_calibration(others)
    logits = held_out[[f"logit_{output}" for output in outputs]].to_numpy(dtype=float)
    probabilities = 1 / (1 + np.exp(-all_calibrated_logits(held_out, calibration)))
    fitted = held_out.assign(
        **_columns(outputs, logits, probabilities), study_probability=np.nan, study_threshold=np.nan
    )
    truths = [bool(study["any"].max()) for study in complete_studies(others)]
    if len(set(truths)) < 2:
        return fitted
    head = fit_study_head(others, calibration)

    def chance(study: pd.DataFrame) -> float:
        return study_probability(1 / (1 + np.exp(-logits_for_study(study, calibration))), head)

    learned = np.array([chance(study) for study in complete_studies(others)])
    fitted["study_threshold"] = best_balance(np.array(truths), learned)
    for study in complete_studies(held_out):
        fitted.loc[study.index, "study_probability"] = chance(study)
    return fitted


def _columns(
    outputs: tuple[str, ...], logits: NDArray[Any], probabilities: NDArray[np.float64]
) -> dict[str, Any]:
    said = {f"logit_{output}": logits[:, place] for place, output in enumerate(outputs)}
    return said | {f"probability_{output}": probabilities[:, place] for place, output in enumerate(outputs)}


def read_predictions(file: Path) -> Predictions:
    """Read `predictions.parquet` of an evaluation, or `out_of_fold.parquet` of a cross-validation.

    Raises:
        EvaluationError: neither of both; or of a cross-validation whose experiment cannot be read, or whose
            network has maps that an older cruor did not keep.
    """
    try:
        table = pd.read_parquet(file)
    except (OSError, ValueError) as error:
        raise EvaluationError(f"{file}: cannot be read as Parquet ({error})") from error
    made_by = table.attrs.get("made_by")
    slices = table.reset_index(drop=True)
    wanted = {*KEY, "patient_id", "number", "complete_series", "any", "logit_any"}
    if missing := sorted(wanted - set(slices)):
        raise EvaluationError(f"{file}: no column {missing[0]!r}; `cruor crossval` and `evaluate` write such")
    slices = with_later_columns(slices)
    if made_by is not None and "probability_any" in slices:
        return Predictions(slices, made_by)
    if "fold" not in slices:
        raise EvaluationError(f"{file}: no column 'fold'; logits need the folds they were made in")
    if slices["fold"].nunique() < 2:
        raise EvaluationError(f"{file}: one fold alone; calibration needs at least two")
    try:
        check_maps(slices, file.parent, file.name)
    except ExperimentError as error:
        raise EvaluationError(str(error)) from error
    return cross_fit(slices, f"{file.parent.name}, out of fold")


def write_predictions(predictions: Predictions, folder: Path) -> None:
    """Write predictions.parquet, which `read_predictions` gives back, and slices.csv for people."""
    table = predictions.slices.copy()
    table.attrs = {"made_by": predictions.made_by}
    write_table(table, folder / PREDICTIONS_FILE)
    shown = predictions.slices.drop(columns=STORAGE, errors="ignore")
    shown.to_csv(folder / SLICES_FILE, index=False, float_format="%.6g")


def studies_of(slices: pd.DataFrame, slice_threshold: float) -> pd.DataFrame:
    """One row a study whose label is known.

    Returns:
        source, patient_id, study_instance_uid, label (bool), probability (NaN where it is unknown),
        threshold, positive_slices, slice_count, age_years, sex, spacing_mm.
    """
    return pd.DataFrame(_study_rows(slices[slices["study_any"].notna()], slice_threshold), columns=_STUDY)


def by_patient(studies: pd.DataFrame) -> pd.DataFrame:
    """Rows of `studies_of`, all studies of a patient as one, as the paper counts (section 3.1).

    Slices add up. A patient is as probable as the most probable study, and has hemorrhage when one study has.
    """
    merged = studies.groupby(["source", "patient_id"], sort=True, as_index=False).agg(
        study_instance_uid=("study_instance_uid", "first"),
        label=("label", "max"),
        probability=("probability", "max"),
        threshold=("threshold", "first"),
        positive_slices=("positive_slices", "sum"),
        slice_count=("slice_count", "sum"),
        age_years=("age_years", "first"),
        sex=("sex", "first"),
        spacing_mm=("spacing_mm", "first"),
    )
    return merged[_STUDY].astype(studies.dtypes)


_STUDY = [
    "source",
    "patient_id",
    "study_instance_uid",
    "label",
    "probability",
    "threshold",
    "positive_slices",
    "slice_count",
    "age_years",
    "sex",
    "spacing_mm",
]


def _study_rows(slices: pd.DataFrame, slice_threshold: float) -> Iterator[tuple[Any, ...]]:
    for (source, uid), study in slices.groupby(["source", "study_instance_uid"], sort=True):
        first = study.iloc[0]
        yield (
            source,
            first["patient_id"],
            uid,
            bool(study["study_any"].max()),
            float(first["study_probability"]),
            float(first["study_threshold"]),
            int((study["probability_any"] > slice_threshold).sum()),
            len(study),
            float(first["age_years"]),
            str(first["sex"]),
            float(first["spacing_mm"]),
        )
