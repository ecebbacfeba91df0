"""Slice and study figures, each with an interval; resampling is by patient, since slices of one are alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, norm

Labels = NDArray[np.bool_]
Scores = NDArray[np.float64]
Patients = NDArray[np.object_]
Weights = NDArray[np.float64]
"""(draws, cases): how often each draw holds each case."""
Metric = Callable[[Labels, Scores, Weights], NDArray[np.float64]]
"""Labels (cases,), scores (cases,) and weights (draws, cases) to one value a draw, NaN where undefined."""

ROUNDS = 1000
AT_ONCE = 4_000_000
"""Weights held at once: draws come in blocks, so that memory does not grow with rounds times cases."""

NORMAL_95 = float(norm.ppf(0.975))


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval; NaN where there is none, and then the reason."""

    value: float
    low: float
    high: float
    reason: str = ""


def undefined(reason: str) -> Estimate:
    """An estimate that cannot be had."""
    return Estimate(math.nan, math.nan, math.nan, reason)


def roc_auc(labels: Labels, scores: Scores, weights: Weights) -> NDArray[np.float64]:
    """Area under the ROC curve, ties counting half; NaN where one class is missing."""
    positive, negative = _by_score(labels, scores, weights)
    below = np.cumsum(negative, axis=1) - negative / 2
    return _divided((positive * below).sum(axis=1), positive.sum(axis=1) * negative.sum(axis=1))


def roc_auc_within(groups: NDArray[Any]) -> Metric:
    """ROC-AUC over pairs of cases of the same group, so that what lies between groups does not count.

    Of a cross-validation, whose folds are of different networks: pairs across folds compare logits of two
    networks, which no reader ever does, and cost some of the area (Forman and Scholz 2010, "Apples-to-apples
    in cross-validation studies").

    Args:
        groups: of each case, (cases,).
    """
    members = [np.flatnonzero(groups == one) for one in np.unique(groups)]

    def metric(labels: Labels, scores: Scores, weights: Weights) -> NDArray[np.float64]:
        right, pairs = np.zeros(len(weights)), np.zeros(len(weights))
        for rows in members:
            some = weights[:, rows]
            of_group = (some @ labels[rows].astype(float)) * (some @ (~labels[rows]).astype(float))
            right += np.nan_to_num(roc_auc(labels[rows], scores[rows], some)) * of_group
            pairs += of_group
        return _divided(right, pairs)

    return metric


def average_precision(labels: Labels, scores: Scores, weights: Weights) -> NDArray[np.float64]:
    """Average precision (not the trapezoid rule of the published code); NaN without positives."""
    positive, negative = (part[:, ::-1] for part in _by_score(labels, scores, weights))
    called = np.cumsum(positive + negative, axis=1)
    precision = np.cumsum(positive, axis=1) / np.where(called > 0, called, 1)
    return _divided((positive * precision).sum(axis=1), positive.sum(axis=1))


def called_share(labels: Labels, called: Scores, weights: Weights) -> NDArray[np.float64]:
    """Sensitivity as a metric to resample: the share of positive cases with `called` 1 rather than 0."""
    return _divided(weights @ (labels * called), weights @ labels.astype(float))


def spared_share(labels: Labels, called: Scores, weights: Weights) -> NDArray[np.float64]:
    """Specificity as a metric to resample: the share of negative cases with `called` 0 rather than 1."""
    return _divided(weights @ (~labels * (1 - called)), weights @ (~labels).astype(float))


def right_share(labels: Labels, called: Scores, weights: Weights) -> NDArray[np.float64]:
    """Accuracy as a metric to resample."""
    return _divided(weights @ (labels == (called == 1)).astype(float), weights.sum(axis=1))


def true_of_called(labels: Labels, called: Scores, weights: Weights) -> NDArray[np.float64]:
    """PPV as a metric to resample; NaN where nothing is called."""
    return _divided(weights @ (labels * called), weights @ called)


def clear_of_spared(labels: Labels, called: Scores, weights: Weights) -> NDArray[np.float64]:
    """NPV as a metric to resample; NaN where everything is called."""
    return _divided(weights @ (~labels * (1 - called)), weights @ (1 - called))


def brier(labels: Labels, probabilities: Scores, weights: Weights) -> NDArray[np.float64]:
    """Brier score: the mean squared distance of the probability from the truth (0 is best)."""
    return _divided(weights @ (probabilities - labels) ** 2, weights.sum(axis=1))


def value_of(metric: Metric, labels: Labels, scores: Scores) -> float:
    """The metric with each case counted once."""
    return float(metric(labels, scores, np.ones((1, len(labels))))[0])


def bootstrap(
    metric: Metric,
    labels: Labels,
    scores: Scores,
    patients: Patients,
    *,
    rounds: int = ROUNDS,
    seed: int = 1,
) -> Estimate:
    """Percentile interval over resampled patients; a draw in which the metric is NaN does not count.

    NaN where the metric is NaN on all cases or in every draw.
    """
    if len(labels) == 0:
        return undefined("no cases")
    draws = [metric(labels, scores, weights) for weights in patient_draws(patients, rounds, seed)]
    return percentiles(value_of(metric, labels, scores), np.concatenate(draws))


def bootstrap_difference(
    metric: Metric,
    labels: Labels,
    first: Scores,
    second: Scores,
    patients: Patients,
    *,
    rounds: int = ROUNDS,
    seed: int = 1,
) -> Estimate:
    """`first` minus `second` on the same cases: both are measured on each draw of patients."""
    if len(labels) == 0:
        return undefined("no cases")
    draws = [
        metric(labels, first, weights) - metric(labels, second, weights)
        for weights in patient_draws(patients, rounds, seed)
    ]
    value = value_of(metric, labels, first) - value_of(metric, labels, second)
    return percentiles(value, np.concatenate(draws))


def with_width(estimate: Estimate) -> Estimate:
    """Take away an interval of no width: where all draws agree, the bootstrap knows no uncertainty."""
    if estimate.low < estimate.high or math.isnan(estimate.value):
        return estimate
    return Estimate(estimate.value, math.nan, math.nan, "every draw gives the same: no bootstrap interval")


def patient_draws(patients: Patients, rounds: int, seed: int) -> Iterator[Weights]:
    """Blocks of weights (draws, cases): patients drawn with replacement, each with all its cases."""
    rng = np.random.default_rng(seed)
    _, patient = np.unique(patients.astype(str), return_inverse=True)
    count = int(patient.max()) + 1
    block = max(1, AT_ONCE // len(patients))
    for start in range(0, rounds, block):
        draws = min(block, rounds - start)
        drawn = rng.integers(0, count, (draws, count)) + count * np.arange(draws)[:, None]
        times = np.bincount(drawn.ravel(), minlength=draws * count).reshape(draws, count)
        yield times[:, patient].astype(np.float64)


def proportion(successes: int, cases: int) -> Estimate:
    """Share with its exact binomial interval (Clopper-Pearson, as the paper's Table 2); NaN without cases."""
    if cases == 0:
        return undefined("no cases")
    low = 0.0 if successes == 0 else float(beta.ppf(0.025, successes, cases - successes + 1))
    high = 1.0 if successes == cases else float(beta.ppf(0.975, successes + 1, cases - successes))
    return Estimate(successes / cases, low, high)


def sensitivity(labels: Labels, called: Labels) -> Estimate:
    """Share of the positive cases that are called, with its exact interval."""
    return proportion(int((labels & called).sum()), int(labels.sum()))


def specificity(labels: Labels, called: Labels) -> Estimate:
    """Share of the negative cases that are not called, with its exact interval."""
    return proportion(int((~labels & ~called).sum()), int((~labels).sum()))


def _by_score(labels: Labels, scores: Scores, weights: Weights) -> tuple[Weights, Weights]:
    """Weight of the positives and of the negatives at each distinct score, ascending: (draws, scores)."""
    order = np.argsort(scores, kind="stable")
    first = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))
    ordered, truth = weights[:, order], labels[order]
    return (
        np.add.reduceat(ordered * truth, first, axis=1),
        np.add.reduceat(ordered * ~truth, first, axis=1),
    )


def _divided(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    """above / below, NaN where below is 0."""
    share: NDArray[np.float64] = np.divide(above, below, out=np.full(len(below), np.nan), where=below > 0)
    return share


def percentiles(
    value: float, draws: NDArray[np.float64], method: Literal["linear", "inverted_cdf"] = "linear"
) -> Estimate:
    """A value with the 95 % interval of its draws; those that are NaN do not count.

    Args:
        value: of all cases.
        draws: (draws,).
        method: of numpy's percentile; `inverted_cdf` takes values that were drawn, which may be infinite.
    """
    counted = draws[~np.isnan(draws)]
    if math.isnan(value) or len(counted) == 0:
        return undefined("a class is missing, or nothing is called")
    low, high = np.percentile(counted, [2.5, 97.5], method=method)
    return Estimate(value, float(low), float(high))
