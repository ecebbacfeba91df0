"""DeLong's variance of the ROC-AUC (Biometrics 1988, 44:837) by the fast algorithm of Sun and Xu (2014).

It takes the cases as independent: on slices, of which a patient has many, its interval is too narrow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

from cruor.training.evaluation.metrics import NORMAL_95, Estimate, Labels, undefined

FEWEST = 2
"""Cases of a class below which there is no variance."""


@dataclass(frozen=True)
class Difference:
    """First AUC minus second, its interval and the two-sided p-value of no difference."""

    estimate: Estimate
    p_value: float


def areas(labels: Labels, scores: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """AUC of each model and their covariance.

    Args:
        labels: (cases,), at least two of each class.
        scores: (models, cases), on the same cases.

    Returns:
        (models,) and (models, models).
    """
    positive, negative = scores[:, labels], scores[:, ~labels]
    m, n = positive.shape[1], negative.shape[1]
    # rankdata gives midranks: ties share the mean of their ranks.
    among_all = rankdata(np.concatenate([positive, negative], axis=1), axis=1)
    auc = (among_all[:, :m].sum(axis=1) - m * (m + 1) / 2) / (m * n)
    # Share of the negatives below each positive, and of the positives above each negative.
    over_negatives = (among_all[:, :m] - rankdata(positive, axis=1)) / n
    under_positives = 1 - (among_all[:, m:] - rankdata(negative, axis=1)) / m
    return auc, np.atleast_2d(np.cov(over_negatives)) / m + np.atleast_2d(np.cov(under_positives)) / n


def delong(labels: Labels, scores: NDArray[np.float64]) -> Estimate:
    """AUC with DeLong's normal interval, cut off at 0 and 1."""
    if _too_few(labels):
        return undefined(f"fewer than {FEWEST} of a class")
    auc, covariance = areas(labels, scores[None])
    return _normal(float(auc[0]), float(covariance[0, 0]), 0.0)


def delong_difference(labels: Labels, first: NDArray[np.float64], second: NDArray[np.float64]) -> Difference:
    """First AUC minus second on the same cases, by their paired covariance."""
    if _too_few(labels):
        return Difference(undefined(f"fewer than {FEWEST} of a class"), math.nan)
    auc, covariance = areas(labels, np.stack([first, second]))
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    difference = float(auc[0] - auc[1])
    estimate = _normal(difference, variance, -1.0)
    if estimate.reason:
        return Difference(estimate, math.nan)
    return Difference(estimate, float(2 * norm.sf(abs(difference) / math.sqrt(variance))))


def _too_few(labels: Labels) -> bool:
    return bool(min(labels.sum(), (~labels).sum()) < FEWEST)


def _normal(value: float, variance: float, least: float) -> Estimate:
    if variance <= 1e-15:
        return Estimate(value, math.nan, math.nan, "no variance: DeLong gives no interval")
    reach = NORMAL_95 * math.sqrt(variance)
    return Estimate(value, max(least, value - reach), min(1.0, value + reach))
