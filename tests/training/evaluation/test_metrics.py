"""`cruor.training.evaluation.metrics`: figures and their intervals."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cruor.training.evaluation.metrics import (
    average_precision,
    bootstrap,
    proportion,
    roc_auc,
    roc_auc_within,
    sensitivity,
    specificity,
    value_of,
)

RNG = np.random.default_rng(5)
LABELS = RNG.random(400) < 0.3
SCORES = RNG.standard_normal(400) + 1.2 * LABELS
PATIENTS = np.array([f"P{i // 5}" for i in range(400)], dtype=object)

# Rows of the paper's Table 2: successes, cases, value and interval in percent.
PAPER = [
    ("RSNA 5 %, TPR", 352, 371, 94.9, 92.1, 96.9),
    ("RSNA 5 %, TNR", 552, 576, 95.8, 93.9, 97.3),
    ("RSNA 5 %, ACC", 904, 947, 95.5, 93.9, 96.7),
    ("RSNA 10 %, TPR", 327, 371, 88.1, 84.4, 91.2),
    ("clinical 2.5 %, TNR", 5, 8, 62.5, 24.5, 91.5),
    ("clinical 5 %, TNR", 6, 8, 75.0, 34.9, 96.8),
    ("clinical 10 %, TPR", 47, 47, 100.0, 92.5, 100.0),
    ("clinical 10 %, TNR", 8, 8, 100.0, 63.1, 100.0),
    ("Aidoc, TPR", 88, 94, 93.6, 86.6, 97.6),
]


@pytest.mark.parametrize(
    ("successes", "cases", "value", "low", "high"), [row[1:] for row in PAPER], ids=[row[0] for row in PAPER]
)
def test_a_proportion_has_the_interval_of_the_paper(
    successes: int, cases: int, value: float, low: float, high: float
) -> None:
    found = proportion(successes, cases)
    percent = [round(100 * number, 1) for number in (found.value, found.low, found.high)]
    assert percent == [value, low, high]


def test_none_of_some_has_an_interval_from_nothing() -> None:
    found = proportion(0, 8)
    assert (found.value, found.low, round(found.high, 3)) == (0.0, 0.0, 0.369)


def test_a_proportion_of_no_cases_is_not_a_number() -> None:
    assert math.isnan(proportion(0, 0).value)


def test_sensitivity_and_specificity_are_the_shares_of_their_class() -> None:
    labels, called = np.array([1, 1, 1, 0, 0], bool), np.array([1, 1, 0, 1, 0], bool)
    assert sensitivity(labels, called) == proportion(2, 3)
    assert specificity(labels, called) == proportion(1, 2)


def test_roc_auc_is_the_share_of_pairs_in_the_right_order() -> None:
    pairs = SCORES[LABELS][:, None] > SCORES[~LABELS][None, :]
    assert value_of(roc_auc, LABELS, SCORES) == pytest.approx(pairs.mean())


def test_roc_auc_of_one_class_is_not_a_number() -> None:
    assert math.isnan(value_of(roc_auc, np.ones(3, bool), np.arange(3.0)))
    assert math.isnan(value_of(roc_auc, np.zeros(3, bool), np.arange(3.0)))


class TestRocAucWithin:
    """Pairs across groups do not count."""

    LABELS = np.array([True, False, False, True, False, True])
    SCORES = np.array([0.9, 0.8, 0.1, 0.2, 0.3, 0.5])
    GROUPS = np.array(["a", "a", "a", "b", "b", "b"])

    def test_one_group_is_the_plain_area(self) -> None:
        within = roc_auc_within(np.zeros(6))
        assert value_of(within, self.LABELS, self.SCORES) == value_of(roc_auc, self.LABELS, self.SCORES)

    def test_it_is_the_share_of_pairs_within_groups_in_the_right_order(self) -> None:
        # a: 0.9 over 0.8 and 0.1; b: 0.5 over 0.3, 0.2 not
        assert value_of(roc_auc_within(self.GROUPS), self.LABELS, self.SCORES) == pytest.approx(3 / 4)

    def test_what_lies_between_groups_does_not_count(self) -> None:
        shifted = self.SCORES + 10 * (self.GROUPS == "b")
        within = roc_auc_within(self.GROUPS)
        assert value_of(within, self.LABELS, shifted) == value_of(within, self.LABELS, self.SCORES)
        assert value_of(roc_auc, self.LABELS, shifted) != value_of(roc_auc, self.LABELS, self.SCORES)

    def test_cases_drawn_twice_count_twice(self) -> None:
        weights = np.array([[2.0, 1, 1, 1, 1, 1]])
        (area,) = roc_auc_within(self.GROUPS)(self.LABELS, self.SCORES, weights)
        assert area == pytest.approx(5 / 6)

    def test_a_group_of_one_class_has_no_pairs(self) -> None:
        labels = np.array([True, False, False, True, True, True])
        assert value_of(roc_auc_within(self.GROUPS), labels, self.SCORES) == 1
        assert math.isnan(value_of(roc_auc_within(self.GROUPS), np.ones(6, dtype=bool), self.SCORES))


def test_average_precision_is_not_the_area_by_trapezoids() -> None:
    labels, scores = np.array([1, 0, 1], bool), np.array([3.0, 2.0, 1.0])
    assert value_of(average_precision, labels, scores) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


def test_average_precision_without_positives_is_not_a_number() -> None:
    assert math.isnan(value_of(average_precision, np.zeros(3, bool), np.arange(3.0)))


def test_a_bootstrap_interval_holds_the_value() -> None:
    found = bootstrap(roc_auc, LABELS, SCORES, PATIENTS, rounds=200)
    assert found.low < found.value == value_of(roc_auc, LABELS, SCORES) < found.high


def test_a_bootstrap_is_the_same_by_seed() -> None:
    first, again, other = (
        bootstrap(roc_auc, LABELS, SCORES, PATIENTS, rounds=50, seed=seed) for seed in (1, 1, 2)
    )
    assert first == again != other


def test_patients_are_drawn_whole() -> None:
    """Slices that say the same ten times over tell no more than one: the interval stays as wide."""
    one = bootstrap(roc_auc, LABELS[::5], SCORES[::5], PATIENTS[::5], rounds=100)
    tenfold = [np.repeat(values[::5], 10) for values in (LABELS, SCORES, PATIENTS)]
    many = bootstrap(roc_auc, *tenfold, rounds=100)
    assert (many.low, many.high) == pytest.approx((one.low, one.high))


def test_a_draw_without_one_class_does_not_count() -> None:
    labels, patients = np.array([1, 0, 0], bool), np.array(["a", "b", "c"], dtype=object)
    found = bootstrap(roc_auc, labels, np.array([2.0, 1.0, 0.0]), patients, rounds=50)
    assert (found.low, found.high) == (1.0, 1.0)


def test_a_bootstrap_of_one_class_is_not_a_number_and_says_nothing() -> None:
    found = bootstrap(roc_auc, np.zeros(3, bool), np.arange(3.0), PATIENTS[:3], rounds=5)
    assert math.isnan(found.value) and math.isnan(found.low) and math.isnan(found.high)
