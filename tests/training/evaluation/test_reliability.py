"""`cruor.training.evaluation.reliability`: a probability that means its share is seen to."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cruor.training.evaluation.figures import Cases, Settings
from cruor.training.evaluation.reliability import calibration_line, reliability, reliability_curve

QUICK = Settings(rounds=40)


def drawn(cases: int = 4000, *, slope: float = 1.0, intercept: float = 0.0, seed: int = 1) -> Cases:
    """Cases whose true log odds are intercept + slope x those of the probability."""
    rng = np.random.default_rng(seed)
    logits = 1.5 * rng.standard_normal(cases) - 1
    truth = rng.random(cases) < 1 / (1 + np.exp(-(intercept + slope * logits)))
    patients = np.array([f"P{i}" for i in range(cases)], dtype=object)
    return Cases(truth, 1 / (1 + np.exp(-logits)), patients)


def line(cases: Cases):
    return calibration_line(cases, np.ones(len(cases.labels)))


def test_a_right_probability_has_slope_one_and_intercept_zero() -> None:
    intercept, slope = line(drawn())
    assert slope.low < 1 < slope.high and intercept.low < 0 < intercept.high
    assert slope.high - slope.low < 0.2


def test_the_line_that_was_put_in_is_found() -> None:
    intercept, slope = line(drawn(20000, slope=0.5, intercept=1.0))
    assert (intercept.value, slope.value) == pytest.approx((1.0, 0.5), abs=0.07)


def test_copies_of_a_patients_slices_do_not_narrow_the_interval() -> None:
    one = drawn(300)
    many = Cases(*(np.repeat(values, 10) for values in (one.labels, one.scores, one.patients)))
    for alone, copied in zip(line(one), line(many), strict=True):
        assert copied.high - copied.low == pytest.approx(alone.high - alone.low, rel=1e-3)


def test_intervals_of_the_slope_cover_it_about_as_often_as_they_say() -> None:
    held = [line(drawn(300, seed=seed))[1] for seed in range(200)]
    assert 0.9 <= np.mean([slope.low <= 1 <= slope.high for slope in held]) <= 0.99


@pytest.mark.parametrize("labels", [np.arange(8) > 3, np.arange(8) <= 3])
def test_where_the_probability_parts_the_classes_there_is_no_slope(labels: np.ndarray) -> None:
    cases = Cases(labels, np.linspace(0.1, 0.9, 8), np.array(list("abcdefgh"), dtype=object))
    intercept, slope = line(cases)
    assert math.isnan(slope.value) and math.isnan(intercept.value) and "no finite slope" in slope.reason


def test_the_curve_shows_the_share_of_each_tenth() -> None:
    cases = drawn()
    for point in reliability_curve(cases):
        held = (cases.scores >= point["from"]) & (cases.scores < point["to"])
        assert point["cases"] == held.sum()
        assert point["share"].value == pytest.approx(cases.labels[held].mean())
        assert point["share"].low <= point["share"].value <= point["share"].high


def test_few_cases_are_shown_in_fewer_parts() -> None:
    assert len(reliability_curve(drawn(199))) <= 5 < len(reliability_curve(drawn(4000)))


def test_a_probability_of_one_stands_in_the_last_part() -> None:
    cases = Cases(np.array([True]), np.array([1.0]), np.array(["a"], dtype=object))
    (point,) = reliability_curve(cases)
    assert point["to"] == 1.0


def test_classes_weighing_alike_undo_the_prevalence() -> None:
    """Made for equal classes, a probability is right only with both weighing the same."""
    rng = np.random.default_rng(2)
    labels = rng.random(20000) < 0.1
    logits = 2 * (
        rng.standard_normal(20000) + 2 * labels - 1
    )  # two normal classes two apart: right at one half
    cases = Cases(labels, 1 / (1 + np.exp(-logits)), np.arange(20000).astype(str).astype(object))
    alike, natural = (reliability(cases, QUICK, classes_alike=value) for value in (True, False))
    assert abs(alike["intercept"].value) < 0.15 < 2 < abs(natural["intercept"].value)
    assert alike["slope"].value == pytest.approx(1, abs=0.1)
    for point in alike["curve"]:
        assert point["share"].value == pytest.approx(point["probability"], abs=0.06)


def test_the_brier_score_is_the_mean_squared_distance() -> None:
    cases = drawn(200)
    found = reliability(cases, QUICK, classes_alike=False)["brier"]
    assert found.value == pytest.approx(((cases.scores - cases.labels) ** 2).mean())
    assert found.low < found.value < found.high


@pytest.mark.parametrize("classes_alike", [True, False])
def test_one_class_or_none_is_said_and_does_not_crash(classes_alike: bool) -> None:
    for labels in (np.ones(5, bool), np.zeros(5, bool), np.zeros(0, bool)):
        cases = Cases(labels, np.full(len(labels), 0.3), np.array(["P"] * len(labels), dtype=object))
        found = reliability(cases, QUICK, classes_alike=classes_alike)
        assert math.isnan(found["slope"].value) and found["slope"].reason
