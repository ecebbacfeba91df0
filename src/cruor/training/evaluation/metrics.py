"""Slice and study figures, each with an interval; resampling is by patient, since slices of one are alike."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta
from sklearn.metrics import average_precision_score, roc_auc_score

Labels = NDArray[np.bool_]
Scores = NDArray[np.float64]
Metric = Callable[[Labels, Scores], float]


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


def roc_auc(labels: Labels, scores: Scores) -> float:
    """Area under the ROC curve; NaN where one class is missing."""
    return float(roc_auc_score(labels, scores)) if 0 < labels.sum() < len(labels) else float("nan")


def average_precision(labels: Labels, scores: Scores) -> float:
    """Average precision (not the trapezoid rule of the published code); NaN without positives."""
    return float(average_precision_score(labels, scores)) if labels.any() else float("nan")


def called_share(labels: Labels, called: Scores) -> float:
    """Sensitivity as a metric to resample: the share of positive cases with `called` 1 rather than 0."""
    return float(called[labels].mean()) if labels.any() else float("nan")


def spared_share(labels: Labels, called: Scores) -> float:
    """Specificity as a metric to resample: the share of negative cases with `called` 0 rather than 1."""
    return float(1 - called[~labels].mean()) if not labels.all() else float("nan")


def bootstrap(
    metric: Metric,
    labels: Labels,
    scores: Scores,
    patients: NDArray[np.object_],
    *,
    rounds: int = 1000,
    seed: int = 1,
) -> Estimate:
    """Percentile interval over resampled patients; a draw in which the metric is NaN does not count.

    NaN where the metric is NaN on all cases or in every draw.
    """
    rng = np.random.default_rng(seed)
    _, patient = np.unique(patients, return_inverse=True)
    rows = [np.flatnonzero(patient == number) for number in range(patient.max() + 1)]
    values = []
    for _ in range(rounds):
        drawn = np.concatenate([rows[number] for number in rng.integers(0, len(rows), len(rows))])
        values.append(metric(labels[drawn], scores[drawn]))
    counted = [value for value in values if not math.isnan(value)]
    low, high = np.percentile(counted, [2.5, 97.5]) if counted else (math.nan, math.nan)
    return Estimate(metric(labels, scores), float(low), float(high))


def proportion(successes: int, cases: int) -> Estimate:
    """Share with its exact binomial interval (Clopper-Pearson, as the paper's Table 2); NaN without cases."""
    if cases == 0:
        return Estimate(float("nan"), float("nan"), float("nan"))
    low = 0.0 if successes == 0 else float(beta.ppf(0.025, successes, cases - successes + 1))
    high = 1.0 if successes == cases else float(beta.ppf(0.975, successes + 1, cases - successes))
    return Estimate(successes / cases, low, high)


def sensitivity(labels: Labels, called: Labels) -> Estimate:
    """Share of the positive cases that are called, with its exact interval."""
    return proportion(int((labels & called).sum()), int(labels.sum()))


def specificity(labels: Labels, called: Labels) -> Estimate:
    """Share of the negative cases that are not called, with its exact interval."""
    return proportion(int((~labels & ~called).sum()), int((~labels).sum()))
