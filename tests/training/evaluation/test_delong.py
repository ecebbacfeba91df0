"""`cruor.training.evaluation.delong`: the fast algorithm gives what the definition gives."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from cruor.training.evaluation.delong import areas, delong, delong_difference

RNG = np.random.default_rng(4)
LABELS = RNG.random(120) < 0.4
SCORES = np.round(np.stack([RNG.standard_normal(120) + LABELS, RNG.standard_normal(120) + 0.5 * LABELS]), 1)


def by_definition(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """DeLong 1988, equations 2 to 5, pair by pair: psi is 1 over, 1/2 at, 0 below."""
    auc, over, under = [], [], []
    for score in scores:
        positive, negative = score[labels][:, None], score[~labels][None, :]
        psi = (positive > negative) + 0.5 * (positive == negative)
        auc.append(psi.mean())
        over.append(psi.mean(axis=1))
        under.append(psi.mean(axis=0))
    m, n = labels.sum(), (~labels).sum()
    return np.array(auc), np.atleast_2d(np.cov(over)) / m + np.atleast_2d(np.cov(under)) / n


def test_it_is_the_definition_with_ties_and_two_models() -> None:
    for found, wanted in zip(areas(LABELS, SCORES), by_definition(LABELS, SCORES), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-12)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4)), min_size=4, max_size=25))
def test_it_is_the_definition_whatever_the_ties(cases: list[tuple[bool, int]]) -> None:
    labels, scores = np.array([one for one, _ in cases]), np.array([[float(one) for _, one in cases]])
    if min(labels.sum(), (~labels).sum()) < 2:
        return
    for found, wanted in zip(areas(labels, scores), by_definition(labels, scores), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-12)


def test_the_interval_is_normal() -> None:
    auc, covariance = by_definition(LABELS, SCORES[:1])
    reach = 1.959964 * math.sqrt(covariance[0, 0])
    found = delong(LABELS, SCORES[0])
    assert (found.low, found.high) == pytest.approx((auc[0] - reach, auc[0] + reach), abs=1e-6)


def test_a_difference_counts_what_both_share() -> None:
    auc, covariance = by_definition(LABELS, SCORES)
    error = math.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    found = delong_difference(LABELS, *SCORES)
    assert found.estimate.value == pytest.approx(auc[0] - auc[1])
    assert found.p_value == pytest.approx(2 * norm.sf(abs(auc[0] - auc[1]) / error))


def test_a_model_does_not_differ_from_itself() -> None:
    found = delong_difference(LABELS, SCORES[0], SCORES[0])
    assert found.estimate.value == 0 and found.estimate.reason and math.isnan(found.p_value)


def test_perfect_order_has_a_value_and_no_interval() -> None:
    found = delong(np.array([0, 0, 1, 1], bool), np.arange(4.0))
    assert found.value == 1 and math.isnan(found.low) and "no variance" in found.reason


def test_one_case_of_a_class_is_too_few() -> None:
    found = delong(np.array([0, 0, 1], bool), np.arange(3.0))
    assert math.isnan(found.value) and "fewer than 2" in found.reason


def test_its_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """Two normal classes one apart: the true AUC is Phi(1 / sqrt 2)."""
    truth, rng, held = norm.cdf(1 / math.sqrt(2)), np.random.default_rng(2), 0
    labels = np.arange(120) < 50
    for _ in range(400):
        found = delong(labels, rng.standard_normal(120) + labels)
        held += found.low <= truth <= found.high
    assert 0.92 <= held / 400 <= 0.98
