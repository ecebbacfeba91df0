"""Fitting what turns logits into slice and study probabilities, on out-of-fold logits only."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from cruor.bundle.manifest import OperatingPoint, SliceCalibration, StudyHead
from cruor.reader.study_head import study_features, study_probability
from cruor.training.prepare.store import LABELS

FEATURES = ("peak", "top_mean")
FEWEST_OF_A_CLASS = 15
"""With fewer slices of either class an output keeps its raw logit: two numbers cannot be fitted to them."""


def outputs_of(predictions: pd.DataFrame) -> tuple[str, ...]:
    """The network's outputs of which a table holds logits, in the order of LABELS: one, or all six."""
    return tuple(label for label in LABELS if f"logit_{label}" in predictions)


def fit_slice_calibration(out_of_fold: pd.DataFrame) -> SliceCalibration:
    """Platt scaling of each output, positives and negatives weighing the same.

    Equal weight keeps the meaning of the paper's 0.8, which was set for a network trained on as many
    slices with hemorrhage as without (section 2.3).
    """
    slopes, intercepts = [], []
    for label in outputs_of(out_of_fold):
        known = out_of_fold[out_of_fold[label].notna()]
        target, logit = known[label].to_numpy() == 1, known[[f"logit_{label}"]].to_numpy(dtype=float)
        if min(target.sum(), (~target).sum()) < FEWEST_OF_A_CLASS:
            slopes.append(1.0)
            intercepts.append(0.0)
            continue
        fitted = LogisticRegression(C=100.0, class_weight="balanced").fit(logit, target)
        slopes.append(float(fitted.coef_[0, 0]))
        intercepts.append(float(fitted.intercept_[0]))
    return SliceCalibration(tuple(slopes), tuple(intercepts))


def fit_study_head(out_of_fold: pd.DataFrame, calibration: SliceCalibration) -> StudyHead:
    """Logistic regression on the features of the complete studies."""
    rows, targets = [], []
    for study in complete_studies(out_of_fold):
        rows.append(study_features(calibrated_logits(study, calibration), FEATURES))
        targets.append(bool(study["any"].max()))
    fitted = LogisticRegression(C=1.0).fit(np.stack(rows), targets)
    return StudyHead(FEATURES, tuple(map(float, fitted.coef_[0])), float(fitted.intercept_[0]))


def cross_fitted_studies(out_of_fold: pd.DataFrame, slice_threshold: float) -> pd.DataFrame:
    """Score each complete study by calibration and head that were fitted on the other folds.

    Returns:
        One row a study: source, patient_id, study_instance_uid, label (bool), probability,
        positive_slices, slice_count, fold.
    """
    records = []
    for fold in sorted(out_of_fold["fold"].unique()):
        others, held_out = out_of_fold[out_of_fold["fold"] != fold], out_of_fold[out_of_fold["fold"] == fold]
        calibration = fit_slice_calibration(others)
        head = fit_study_head(others, calibration)
        for study in complete_studies(held_out):
            probabilities = 1 / (1 + np.exp(-calibrated_logits(study, calibration)))
            records.append(
                {
                    "source": study["source"].iloc[0],
                    "patient_id": study["patient_id"].iloc[0],
                    "study_instance_uid": study["study_instance_uid"].iloc[0],
                    "label": bool(study["any"].max()),
                    "probability": study_probability(probabilities, head),
                    "positive_slices": int((probabilities > slice_threshold).sum()),
                    "slice_count": len(study),
                    "fold": fold,
                }
            )
    return pd.DataFrame(records)


def best_balance(labels: NDArray[np.bool_], probabilities: NDArray[np.float64]) -> float:
    """The threshold with the highest sensitivity + specificity; midway to the next lower probability."""
    ranked = np.unique(probabilities)
    thresholds = np.concatenate([[0.0], (ranked[:-1] + ranked[1:]) / 2, [1.0]])
    called = probabilities[None, :] >= thresholds[:, None]
    balance = called[:, labels].mean(axis=1) - called[:, ~labels].mean(axis=1)
    return float(thresholds[int(balance.argmax())])


def operating_point(studies: pd.DataFrame) -> OperatingPoint:
    """The best-balance threshold on cross-fitted study probabilities."""
    threshold = best_balance(studies["label"].to_numpy(), studies["probability"].to_numpy())
    origin = (
        f"highest sensitivity + specificity over {len(studies)} studies "
        f"({int(studies['label'].sum())} with hemorrhage), "
        f"cross-fitted over {studies['fold'].nunique()} folds by patient"
    )
    return OperatingPoint("balanced", threshold, origin)


def calls_by_other_folds(studies: pd.DataFrame) -> NDArray[np.bool_]:
    """Decide each study by the best-balance threshold of the other folds: an honest look at that choice."""
    called = np.zeros(len(studies), dtype=bool)
    for fold in studies["fold"].unique():
        others, held_out = studies[studies["fold"] != fold], (studies["fold"] == fold).to_numpy()
        threshold = best_balance(others["label"].to_numpy(), others["probability"].to_numpy())
        called[held_out] = studies["probability"].to_numpy()[held_out] >= threshold
    return called


def calibrated_logits(slices: pd.DataFrame, calibration: SliceCalibration) -> NDArray[np.float64]:
    """Calibrated logits of `any`, (slices,)."""
    logits = slices["logit_any"].to_numpy(dtype=float)
    return np.asarray(calibration.slope[0] * logits + calibration.intercept[0])


def complete_studies(slices: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Yield the slices of each complete study in scan order."""
    complete = slices[slices["complete_series"]]
    for _, study in complete.groupby("study_instance_uid", sort=True):
        yield study.sort_values("number")
