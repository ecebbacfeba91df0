"""Fitting what turns logits into slice and study probabilities, on out-of-fold logits only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from cruor.bundle.manifest import MapContext, OperatingPoint, SliceCalibration, StudyHead
from cruor.reader.along_scan import logits_along_scan
from cruor.reader.study_head import study_features, study_probability
from cruor.training.map_column import MAP_COLUMN, unpack_maps
from cruor.training.networks.blood_map import HOTTEST_SHARE, MAP_SHARE
from cruor.training.prepare.store import LABELS

FEATURES = ("highest",)
"""Of the study head. More of them ranked held-out studies no better: docs/reader.md has what was tried."""

FEWEST_OF_A_CLASS = 15
"""With fewer slices of either class an output keeps its raw logit: two numbers cannot be fitted to them."""


REACH_MM = 4.0
"""How near slices are whose logits are averaged; see docs/reader.md for what was tried."""

MAP_REACH_MM = 4.0
"""How near slices are whose maps are averaged: as near as those whose logits are."""

FEWEST_STUDIES = 5
"""With fewer complete studies of either class no study head is fitted: PLAIN_HEAD is taken."""

SENSITIVE_POINT, SENSITIVITY = "sensitivity-95", 0.95
"""The operating point that is meant to miss little."""

PLAIN_HEAD = StudyHead(FEATURES, (1.0,), 0.0)
"""The study is as probable as its most suspicious slice."""


def outputs_of(predictions: pd.DataFrame) -> tuple[str, ...]:
    """The network's outputs of which a table holds logits, in the order of LABELS: one, or all six."""
    return tuple(label for label in LABELS if f"logit_{label}" in predictions)


def fit_slice_calibration(out_of_fold: pd.DataFrame) -> SliceCalibration:
    """Platt scaling of each output, averaged along the scan, positives and negatives weighing the same.

    Fitted with the maps of neighbours. The study head takes the same scaling without them (`for_study`), and
    is fitted to what comes out.

    Equal weight keeps the meaning of the paper's 0.8, which was set for a network trained on as many
    slices with hemorrhage as without (section 2.3).
    """
    slopes, intercepts = [], []
    along_scan = _asked(out_of_fold)
    averaged = averaged_logits(out_of_fold, along_scan)
    for place, label in enumerate(outputs_of(out_of_fold)):
        known = out_of_fold[label].notna().to_numpy()
        target, logit = out_of_fold.loc[known, label].to_numpy() == 1, averaged[known, place, None]
        if min(target.sum(), (~target).sum()) < FEWEST_OF_A_CLASS:
            slopes.append(1.0)
            intercepts.append(0.0)
            continue
        fitted = LogisticRegression(C=100.0, class_weight="balanced").fit(logit, target)
        slopes.append(float(fitted.coef_[0, 0]))
        intercepts.append(float(fitted.intercept_[0]))
    return replace(along_scan, slope=tuple(slopes), intercept=tuple(intercepts))


def _asked(out_of_fold: pd.DataFrame) -> SliceCalibration:
    """How far neighbours are asked, with no slopes yet: nowhere where no place is known."""
    if not _placed(out_of_fold).any():
        return SliceCalibration((), ())
    context = MapContext(MAP_REACH_MM, HOTTEST_SHARE, MAP_SHARE) if MAP_COLUMN in out_of_fold else None
    return SliceCalibration((), (), REACH_MM, context)


def averaged_logits(slices: pd.DataFrame, calibration: SliceCalibration) -> NDArray[np.float64]:
    """Logits as the reader makes them before calibration, (slices, outputs), in the order of the rows.

    Slices of complete series are averaged with their neighbours; others, and those whose place is not known,
    stand for themselves.

    Raises:
        ValueError: the calibration asks maps, and the table has none.
    """
    if calibration.maps is not None and MAP_COLUMN not in slices:
        raise ValueError("the calibration asks the maps of neighbours, and the table holds none")
    logits = slices[[f"logit_{output}" for output in outputs_of(slices)]].to_numpy(dtype=np.float64)
    averaged: NDArray[np.float64] = logits.copy()
    numbered = slices.assign(row_number=np.arange(len(slices)))
    for _, study in numbered[_placed(slices)].groupby(["source", "study_instance_uid"]):
        rows = study["row_number"].to_numpy()
        positions = study["position_mm"].to_numpy(dtype=np.float64)
        maps = unpack_maps(study[MAP_COLUMN]) if calibration.maps is not None else None
        averaged[rows] = logits_along_scan(logits[rows], maps, positions, calibration)
    return averaged


def _placed(slices: pd.DataFrame) -> NDArray[np.bool_]:
    """Slices of complete series whose place along the scan is known, (slices,)."""
    if "position_mm" not in slices:
        return np.zeros(len(slices), dtype=bool)
    return np.asarray(slices["complete_series"].astype(bool) & slices["position_mm"].notna())


def fit_study_head(out_of_fold: pd.DataFrame, calibration: SliceCalibration) -> StudyHead:
    """Logistic regression on the features of the complete studies; PLAIN_HEAD where they are too few."""
    rows, targets = [], []
    for study in complete_studies(out_of_fold):
        rows.append(study_features(logits_for_study(study, calibration), FEATURES))
        targets.append(bool(study["any"].max()))
    if min(sum(targets), len(targets) - sum(targets)) < FEWEST_STUDIES:
        return PLAIN_HEAD
    fitted = LogisticRegression(C=1.0).fit(np.stack(rows), targets)
    weights = tuple(map(float, fitted.coef_[0]))
    return StudyHead(FEATURES, weights, float(fitted.intercept_[0]), prevalence=float(np.mean(targets)))


def by_fold(out_of_fold: pd.DataFrame) -> dict[int, tuple[pd.DataFrame, pd.DataFrame]]:
    """Of each fold its own rows, and those of the others."""
    fold = out_of_fold["fold"]
    return {int(one): (out_of_fold[fold == one], out_of_fold[fold != one]) for one in sorted(fold.unique())}


def cross_fitted_studies(out_of_fold: pd.DataFrame, slice_threshold: float) -> pd.DataFrame:
    """Score each complete study by calibration and head that were fitted on the other folds.

    Returns:
        One row a study: source, patient_id, study_instance_uid, label (bool), probability,
        positive_slices, slice_count, fold.
    """
    parts = []
    for fold, (held_out, others) in by_fold(out_of_fold).items():
        calibration = fit_slice_calibration(others)
        scored = score_studies(held_out, calibration, fit_study_head(others, calibration), slice_threshold)
        parts.append(scored.assign(fold=fold))
    return pd.concat(parts, ignore_index=True)


def score_studies(
    slices: pd.DataFrame, calibration: SliceCalibration, head: StudyHead, slice_threshold: float
) -> pd.DataFrame:
    """Score each complete study.

    Returns:
        One row a study: source, patient_id, study_instance_uid, label (bool), probability,
        positive_slices, slice_count.
    """
    records = []
    for study in complete_studies(slices):
        probabilities = _probability(calibrated_logits(study, calibration))
        records.append(
            {
                "source": study["source"].iloc[0],
                "patient_id": study["patient_id"].iloc[0],
                "study_instance_uid": study["study_instance_uid"].iloc[0],
                "label": bool(study["any"].max()),
                "probability": study_probability(_probability(logits_for_study(study, calibration)), head),
                "positive_slices": int((probabilities > slice_threshold).sum()),
                "slice_count": len(study),
            }
        )
    columns = ["source", "patient_id", "study_instance_uid", "label", "probability", "positive_slices"]
    return pd.DataFrame(records, columns=[*columns, "slice_count"])


def best_balance(labels: NDArray[np.bool_], probabilities: NDArray[np.float64]) -> float:
    """The threshold with the highest sensitivity + specificity; midway to the next lower probability.

    Between 0 and 1, both left out: a threshold that can never be met or never be missed makes no sense.
    """
    ranked = np.unique(np.concatenate([[0.0], probabilities, [1.0]]))
    thresholds = (ranked[:-1] + ranked[1:]) / 2
    called = probabilities[None, :] >= thresholds[:, None]
    balance = called[:, labels].mean(axis=1) - called[:, ~labels].mean(axis=1)
    return float(thresholds[int(balance.argmax())])


def sensitive_threshold(labels: NDArray[np.bool_], probabilities: NDArray[np.float64]) -> float:
    """The highest threshold that misses at most one positive study in twenty; midway to the next lower one.

    Between 0 and 1, both left out, as `best_balance`.
    """
    ranked = np.sort(probabilities[labels])
    reached = ranked[int((1 - SENSITIVITY) * len(ranked))]
    lower = probabilities[probabilities < reached].max(initial=0.0)
    return float((lower + min(reached, 1.0)) / 2)


def operating_points(studies: pd.DataFrame, how: str) -> tuple[OperatingPoint, OperatingPoint]:
    """Thresholds on study probabilities: for the best balance, and for a sensitivity of 95 %.

    Args:
        studies: scored, of both kinds.
        how: how the probabilities were made, in words.
    """
    labels, probabilities = studies["label"].to_numpy(), studies["probability"].to_numpy()
    over = f"over {len(studies)} studies ({int(labels.sum())} with hemorrhage), {how}"
    return (
        OperatingPoint(
            "balanced", best_balance(labels, probabilities), f"highest sensitivity + specificity {over}"
        ),
        OperatingPoint(
            SENSITIVE_POINT,
            sensitive_threshold(labels, probabilities),
            f"highest threshold with a sensitivity of {SENSITIVITY:.0%} {over}",
        ),
    )


def calls_by_other_folds(
    studies: pd.DataFrame, choose: Callable[[NDArray[np.bool_], NDArray[np.float64]], float] = best_balance
) -> NDArray[np.bool_]:
    """Decide each study by a threshold chosen on the other folds: an honest look at that choice.

    Args:
        studies: scored, with `fold`.
        choose: labels and probabilities to a threshold: `best_balance`, or `sensitive_threshold`.
    """
    called, fold = np.zeros(len(studies), dtype=bool), studies["fold"].to_numpy()
    for one, (held_out, others) in by_fold(studies).items():
        threshold = choose(others["label"].to_numpy(), others["probability"].to_numpy())
        called[fold == one] = held_out["probability"].to_numpy() >= threshold
    return called


def calibrated_logits(slices: pd.DataFrame, calibration: SliceCalibration) -> NDArray[np.float64]:
    """Calibrated logits of `any`, (slices,)."""
    return np.asarray(all_calibrated_logits(slices, calibration)[:, 0])


def logits_for_study(slices: pd.DataFrame, calibration: SliceCalibration) -> NDArray[np.float64]:
    """Calibrated logits of `any` by which a study is judged, (slices,): without the context of maps.

    A small bleed may be seen on one slice alone, and a study is as suspicious as its worst slice.
    """
    return calibrated_logits(slices, calibration.for_study)


def _probability(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-logits)))


def cross_fitted_logits(out_of_fold: pd.DataFrame) -> NDArray[np.float64]:
    """Logits of `any`, each fold's calibrated by the other folds, (slices,), in the order of the rows."""
    logits, fold = np.empty(len(out_of_fold)), out_of_fold["fold"].to_numpy()
    for one, (held_out, others) in by_fold(out_of_fold).items():
        logits[fold == one] = calibrated_logits(held_out, fit_slice_calibration(others))
    return logits


def all_calibrated_logits(slices: pd.DataFrame, calibration: SliceCalibration) -> NDArray[np.float64]:
    """Calibrated logits of each output, (slices, outputs)."""
    averaged = averaged_logits(slices, calibration)
    return np.asarray(averaged * np.asarray(calibration.slope) + np.asarray(calibration.intercept))


def complete_studies(slices: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Yield the slices of each complete study in scan order."""
    complete = slices[slices["complete_series"]]
    for _, study in complete.groupby("study_instance_uid", sort=True):
        yield study.sort_values("number")
