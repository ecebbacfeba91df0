"""`cruor.training.evaluation.counts`: every row of the paper's tables follows from its counts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cruor.training.evaluation.counts import RATES, Counts, count, predictive_values, rates

NONE = None
"""The paper's "impossible to calculate"."""

# The paper's Table 2: TP, FN, FP, TN, then ACC, TPR, TNR, PPV, NPV in percent with their intervals. Two last
# digits of the paper are slips: it has ACC 94.6 for 52/55, and 91.3 for the upper bound of 327/371.
TABLE_2 = {
    "RSNA test, 5 %": (
        (352, 19, 24, 552),
        [(95.5, 93.9, 96.7), (94.9, 92.1, 96.9), (95.8, 93.9, 97.3), (93.6, 90.8, 95.6), (96.7, 94.9, 97.8)],
    ),
    "RSNA test, 10 %": (
        (327, 44, 17, 559),
        [(93.6, 91.8, 95.0), (88.1, 84.4, 91.2), (97.0, 95.3, 98.3), (95.1, 92.3, 96.9), (92.7, 90.6, 94.4)],
    ),
    "clinical, 2.5 %": (
        (47, 0, 3, 5),
        [(94.5, 84.9, 98.9), (100, 92.5, 100), (62.5, 24.5, 91.5), (94.0, 86.5, 97.5), (100, NONE, NONE)],
    ),
    "clinical, 5 %": (
        (47, 0, 2, 6),
        [(96.4, 87.5, 99.6), (100, 92.5, 100), (75.0, 34.9, 96.8), (95.9, 87.6, 98.7), (100, NONE, NONE)],
    ),
    "clinical, 10 %": (
        (47, 0, 0, 8),
        [(100, 93.5, 100), (100, 92.5, 100), (100, 63.1, 100), (100, NONE, NONE), (100, NONE, NONE)],
    ),
    # The paper gives no interval for these three: ours are not compared.
    "Aidoc, FDA 510(k)": (
        (88, 6, 8, 96),
        [(92.9, ..., ...), (93.6, 86.6, 97.6), (92.3, 85.4, 96.6), (91.7, ..., ...), (94.1, ..., ...)],
    ),
    "Aidoc, Voter 2021": (
        (322, 27, 74, 3182),
        [(97.2, ..., ...), (92.3, 88.9, 94.8), (97.7, 97.2, 98.2), (81.3, 77.6, 84.5), (99.2, 98.8, 99.4)],
    ),
}

# Table 1, 5,007 slices of each class: threshold -> TP, FP, and ACC, TPR, TNR, PPV, NPV. The
# paper gives no counts: these are among the few that give all five of its rounded figures.
TABLE_1 = {
    0.5: (4576, 300, (0.927, 0.914, 0.940, 0.938, 0.916)),
    0.7: (4365, 176, (0.918, 0.872, 0.965, 0.961, 0.883)),
    0.9: (3876, 64, (0.881, 0.774, 0.987, 0.984, 0.814)),
}
SLICES_OF_A_CLASS = 5007


@pytest.mark.parametrize("row", TABLE_2)
def test_every_row_of_table_2_follows_from_its_counts(row: str) -> None:
    counts, wanted = TABLE_2[row]
    found = rates(Counts(*counts))
    for name, (value, low, high) in zip(RATES, wanted, strict=True):
        assert round(100 * found[name].value, 1) == value, name
        for ours, theirs in ((found[name].low, low), (found[name].high, high)):
            if theirs is NONE:
                assert math.isnan(ours), name
            elif theirs is not ...:
                assert round(100 * ours, 1) == theirs, name


@pytest.mark.parametrize("threshold", TABLE_1)
def test_every_row_of_table_1_follows_from_its_counts(threshold: float) -> None:
    tp, fp, wanted = TABLE_1[threshold]
    found = rates(Counts(tp, SLICES_OF_A_CLASS - tp, fp, SLICES_OF_A_CLASS - fp))
    assert [round(found[name].value, 3) for name in RATES] == list(wanted)


def test_an_interval_that_cannot_be_had_says_why() -> None:
    found = rates(Counts(47, 0, 3, 5))["NPV"]
    assert found.value == 1 and math.isnan(found.low) and "100 %" in found.reason


def test_what_is_never_decided_has_no_predictive_value() -> None:
    found = rates(Counts(0, 4, 0, 6))["PPV"]
    assert math.isnan(found.value) and found.reason == "nothing is decided so"


def test_each_case_is_counted_in_one_of_four() -> None:
    labels, called = np.array([1, 1, 1, 0, 0], bool), np.array([1, 0, 0, 1, 0], bool)
    assert count(labels, called) == Counts(tp=1, fn=2, fp=1, tn=1)


@given(*[st.integers(0, 60)] * 4)
def test_whatever_the_counts_no_rate_crashes_and_an_interval_holds_its_value(
    tp: int, fn: int, fp: int, tn: int
) -> None:
    counts = Counts(tp, fn, fp, tn)
    found = [*rates(counts).values(), *predictive_values(counts, 0.1).values()]
    for estimate in found:
        whole = [estimate.low, estimate.value, estimate.high]
        if math.isnan(sum(whole)):
            assert estimate.reason
        else:
            assert 0 <= whole[0] <= whole[1] + 1e-12 and whole[1] <= whole[2] + 1e-12 <= 1 + 2e-12


class TestAtAPrevalence:
    def test_the_prevalence_of_the_data_gives_the_values_of_the_data(self) -> None:
        counts = Counts(352, 19, 24, 552)
        shifted, own = predictive_values(counts, 371 / 947), rates(counts)
        for name in ("PPV", "NPV"):
            assert shifted[name].value == pytest.approx(own[name].value)
            assert shifted[name].low == pytest.approx(own[name].low)
            assert shifted[name].high == pytest.approx(own[name].high)

    def test_it_is_bayes(self) -> None:
        found = predictive_values(Counts(90, 10, 20, 80), 0.1)
        assert found["PPV"].value == pytest.approx(0.9 * 0.1 / (0.9 * 0.1 + 0.2 * 0.9))
        assert found["NPV"].value == pytest.approx(0.8 * 0.9 / (0.8 * 0.9 + 0.1 * 0.1))

    def test_rarer_hemorrhage_makes_an_alarm_worth_less(self) -> None:
        rare, frequent = (predictive_values(Counts(90, 10, 20, 80), share)["PPV"] for share in (0.05, 0.5))
        assert rare.high < frequent.low

    def test_without_one_class_it_is_undefined_and_says_so(self) -> None:
        found = predictive_values(Counts(0, 0, 2, 8), 0.1)["PPV"]
        assert math.isnan(found.value) and found.reason == "a class is missing"


def test_no_interval_of_no_width_is_given() -> None:
    found = rates(Counts(tp=1, fn=0, fp=1, tn=0))["PPV"]
    assert found.value == 0.5
    assert math.isnan(found.low) and math.isnan(found.high)
    assert found.reason
