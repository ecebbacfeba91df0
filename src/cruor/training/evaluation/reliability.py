"""Whether a probability means its share: reliability curve, Brier score, calibration slope and intercept."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from cruor.reader.study_head import to_logits
from cruor.training.evaluation.figures import Cases, Settings, missing_class, resampled
from cruor.training.evaluation.metrics import (
    NORMAL_95,
    Estimate,
    Labels,
    Scores,
    Weights,
    brier,
    proportion,
    undefined,
)

BINS, FEW_BINS, FEW = 10, 5, 200
"""Parts of the curve; fewer parts where there are fewer cases than FEW."""


def reliability(cases: Cases, settings: Settings, *, classes_alike: bool) -> dict[str, Any]:
    """Brier score, calibration line and curve.

    Args:
        cases: with probabilities as scores.
        settings: of the bootstrap.
        classes_alike: both classes weigh the same. Slice probabilities are made for as many positives as
            negatives (`calibration.fit_slice_calibration`), study probabilities are not.
    """
    weight = _class_weight(cases.labels) if classes_alike else np.ones(len(cases.labels))

    def weighted_brier(labels: Labels, scores: Scores, weights: Weights) -> NDArray[np.float64]:
        return brier(labels, scores, weights * weight)

    intercept, slope = calibration_line(cases, weight)
    return {
        "classes_alike": classes_alike,
        "brier": resampled(weighted_brier, cases, settings),
        "slope": slope,
        "intercept": intercept,
        "curve": reliability_curve(cases, _odds_factor(cases.labels) if classes_alike else 1.0),
    }


def calibration_line(cases: Cases, weight: NDArray[np.float64]) -> tuple[Estimate, Estimate]:
    """Intercept and slope of log odds(truth) = intercept + slope x log odds(probability).

    A perfect probability has 0 and 1. Intervals are normal, by the sandwich variance with a patient as one
    cluster, so that slices of one patient do not count as independent.
    """
    labels, logits = cases.labels, to_logits(cases.scores)
    why = _no_line(labels, logits)
    if why:
        return undefined(why), undefined(why)
    fitted = LogisticRegression(C=1e12).fit(logits[:, None], labels, sample_weight=weight)
    line = np.array([fitted.intercept_[0], fitted.coef_[0, 0]])
    design = np.stack([np.ones_like(logits), logits], axis=1)
    chance = 1 / (1 + np.exp(-design @ line))
    bread = np.linalg.inv((design * (weight * chance * (1 - chance))[:, None]).T @ design)
    patients, number = np.unique(cases.patients.astype(str), return_inverse=True)
    pull = np.zeros((len(patients), 2))
    np.add.at(pull, number, design * (weight * (labels - chance))[:, None])
    clusters = len(patients)
    variance = bread @ (pull.T @ pull) @ bread * clusters / max(1, clusters - 1)
    reach = NORMAL_95 * np.sqrt(np.diag(variance))
    first, second = (
        Estimate(float(value), float(value - width), float(value + width))
        for value, width in zip(line, reach, strict=True)
    )
    return first, second


def _no_line(labels: Labels, logits: NDArray[np.float64]) -> str:
    """Why no line can be fitted; empty where it can."""
    if not 0 < labels.sum() < len(labels):
        return missing_class(labels)
    positive, negative = logits[labels], logits[~labels]
    if positive.min() >= negative.max() or negative.min() >= positive.max():
        return "the probability parts the classes wholly: no finite slope"
    return ""


def reliability_curve(cases: Cases, odds_factor: float = 1.0) -> list[dict[str, Any]]:
    """In equal parts of probability: its mean, share with hemorrhage, exact interval, cases.

    Args:
        cases: with probabilities as scores.
        odds_factor: the odds of the share are multiplied by it, to show another prevalence.
    """
    bins = FEW_BINS if len(cases.labels) < FEW else BINS
    place = np.minimum((cases.scores * bins).astype(int), bins - 1)
    curve = []
    for number in range(bins):
        held = place == number
        if not held.any():
            continue
        share = proportion(int(cases.labels[held].sum()), int(held.sum()))
        value, low, high = (_scaled(at, odds_factor) for at in (share.value, share.low, share.high))
        curve.append(
            {
                "from": number / bins,
                "to": (number + 1) / bins,
                "probability": float(cases.scores[held].mean()),
                "share": Estimate(value, low, high),
                "cases": int(held.sum()),
            }
        )
    return curve


def _class_weight(labels: Labels) -> NDArray[np.float64]:
    """Weights by which both classes weigh half of all cases; ones where a class is missing."""
    if not 0 < labels.sum() < len(labels):
        return np.ones(len(labels))
    share = labels.mean()
    return np.asarray(np.where(labels, 0.5 / share, 0.5 / (1 - share)))


def _odds_factor(labels: Labels) -> float:
    """From the odds at the data's prevalence to those at one half."""
    positives = int(labels.sum())
    return (len(labels) - positives) / positives if positives else 1.0


def _scaled(share: float, odds_factor: float) -> float:
    if share >= 1 or math.isnan(share):
        return share
    odds = share / (1 - share) * odds_factor
    return odds / (1 + odds)
