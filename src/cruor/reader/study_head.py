"""Study probability from the slice logits in their order: few features, one logistic regression."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from cruor.bundle.manifest import StudyHead

TOP_SHARE = 0.1
"""Share of a study's slices that `top_mean` looks at: the same part of a head for thin and thick slices."""


def smooth_along_scan(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average each slice with its neighbours by 1/4, 1/2, 1/4: blood reaches over more than one slice."""
    padded = np.pad(logits, 1, mode="edge")
    return (padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4


def peak(logits: NDArray[np.float64]) -> float:
    """The highest smoothed logit."""
    return float(smooth_along_scan(logits).max())


def top_mean(logits: NDArray[np.float64]) -> float:
    """Mean of the highest tenth of the smoothed logits, at least one."""
    count = max(1, round(TOP_SHARE * len(logits)))
    return float(np.sort(smooth_along_scan(logits))[-count:].mean())


def highest(logits: NDArray[np.float64]) -> float:
    """The highest logit, as it is: where slices have a place, `along_scan` averaged them before."""
    return float(logits.max())


FEATURES = {"peak": peak, "top_mean": top_mean, "highest": highest}
"""Name in a bundle's manifest -> function of the calibrated logits of `any`, in scan order, (slices,)."""


def study_features(logits: NDArray[np.float64], names: tuple[str, ...]) -> NDArray[np.float64]:
    """Features of one study by name, (len(names),). Raises KeyError for a name that is not known."""
    return np.array([FEATURES[name](logits) for name in names])


def study_probability(probabilities: NDArray[np.float64], head: StudyHead) -> float:
    """Probability that the study shows hemorrhage.

    Args:
        probabilities: calibrated slice probabilities of `any` in scan order, (slices,), 0 to 1.
        head: the bundle's logistic regression.

    Returns:
        0 to 1; NaN where the sum is no number. An infinite one counts as none: whether a sum of products
        too large comes out as infinite or as NaN depends on the processor.
    """
    features = study_features(to_logits(probabilities), head.features)
    score = float((features * np.asarray(head.weights)).sum() + head.intercept)
    return float(1 / (1 + np.exp(-score))) if math.isfinite(score) else math.nan


def to_logits(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """log(p / (1 - p)), kept finite."""
    inside = np.clip(probabilities, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(inside / (1 - inside)))
