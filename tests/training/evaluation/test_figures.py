"""`cruor.training.evaluation.figures`: the paper's two tables on slices and studies."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from cruor.bundle.manifest import OperatingPoint, Rules
from cruor.reader.rules import is_suspected
from cruor.training.evaluation.counts import RATES, count, rates
from cruor.training.evaluation.figures import (
    Cases,
    Settings,
    area,
    at_prevalence,
    balanced_rows,
    precision_area,
    study_calls,
    table_1,
    table_2,
)

RNG = np.random.default_rng(3)
LABELS = RNG.random(300) < 0.2
CASES = Cases(
    LABELS,
    1 / (1 + np.exp(-RNG.standard_normal(300) - 2 * LABELS)),
    np.array([f"P{i // 6}" for i in range(300)], dtype=object),
)
QUICK = Settings(rounds=40)


def studies(**changes: object) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    total = rng.integers(18, 50, 40)
    columns = {
        "source": "made up",
        "patient_id": [f"P{i}" for i in range(40)],
        "study_instance_uid": [f"S{i}" for i in range(40)],
        "label": np.arange(40) % 2 == 0,
        "probability": rng.random(40),
        "threshold": 0.4,
        "positive_slices": rng.integers(0, 6, 40),
        "slice_count": total,
    }
    return pd.DataFrame({**columns, **changes})


class TestTable1:
    def test_it_has_both_draws_at_every_threshold(self) -> None:
        rows = table_1(CASES, Settings((0.3, 0.6), rounds=5))
        assert [(row["draw"], row["threshold"]) for row in rows] == [
            ("natural", 0.3),
            ("natural", 0.6),
            ("balanced", 0.3),
            ("balanced", 0.6),
        ]

    def test_its_rates_are_those_of_its_counts(self) -> None:
        for row in table_1(CASES, QUICK):
            wanted = rates(row["counts"])
            assert [row[name].value for name in RATES] == pytest.approx(
                [wanted[name].value for name in RATES]
            )

    def test_a_slice_at_the_threshold_is_not_called(self) -> None:
        cases = Cases(np.array([True, False]), np.array([0.5, 0.4]), np.array(["a", "b"], dtype=object))
        assert table_1(cases, Settings((0.5,), rounds=5))[0]["counts"].tp == 0

    def test_the_balanced_draw_has_as_many_of_each_class(self) -> None:
        counts = table_1(CASES, QUICK)[-1]["counts"]
        assert counts.positives == counts.negatives == LABELS.sum()

    def test_every_interval_holds_its_value(self) -> None:
        row = table_1(CASES, QUICK)[0]
        assert all(row[name].low <= row[name].value <= row[name].high for name in (*RATES, "PR", "ROC"))


class TestBalancing:
    def test_all_of_the_smaller_class_stay(self) -> None:
        rows = balanced_rows(LABELS, 1)
        assert set(np.flatnonzero(LABELS)) <= set(rows) and len(rows) == 2 * LABELS.sum()

    def test_fewer_negatives_draw_the_positives_down(self) -> None:
        assert LABELS[balanced_rows(~LABELS, 1)].sum() == LABELS.sum()

    def test_the_seed_decides(self) -> None:
        first, again, other = (balanced_rows(LABELS, seed).tolist() for seed in (1, 1, 2))
        assert first == again != other


class TestTable2:
    def test_each_study_is_decided_as_the_reader_decides_it(self) -> None:
        table = studies()
        rules = Rules("probability", "", 0.8, OperatingPoint("balanced", 0.4, ""))
        for rule, called in study_calls(table).items():
            wanted = [
                is_suspected(rule, rules, one.probability, one.positive_slices, one.slice_count)
                for one in table.itertuples()
            ]
            assert called.tolist() == wanted

    def test_its_rows_are_the_rules_with_the_papers_intervals(self) -> None:
        table = studies()
        rows = table_2(table)
        assert [row["rule"] for row in rows] == ["paper-2.5", "paper-5", "paper-10", "probability"]
        wanted = rates(count(table["label"].to_numpy(), study_calls(table)["paper-5"]))
        assert {name: rows[1][name] for name in RATES} == wanted

    def test_the_rule_by_probability_is_left_out_where_a_probability_is_unknown(self) -> None:
        rows = table_2(studies(probability=[math.nan, *[0.5] * 39]))
        assert [row["rule"] for row in rows] == ["paper-2.5", "paper-5", "paper-10"]

    def test_predictive_values_follow_at_the_prevalence_asked_for(self) -> None:
        rows = at_prevalence(table_2(studies()), 0.05)
        assert {row["prevalence"] for row in rows} == {0.05} and len(rows) == 4


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (np.ones(4, bool), "no cases without hemorrhage"),
        (np.zeros(4, bool), "no cases with hemorrhage"),
        (np.zeros(0, bool), "no cases with a known label"),
    ],
)
def test_without_a_class_areas_are_undefined_and_say_which_is_missing(
    labels: np.ndarray, reason: str
) -> None:
    cases = Cases(labels, np.linspace(0, 1, len(labels)), np.array(["P"] * len(labels), dtype=object))
    for found in (area(cases, QUICK).bootstrap, area(cases, QUICK).delong, precision_area(cases, QUICK)):
        assert math.isnan(found.value) and found.reason == reason


def test_a_bootstrap_that_gives_the_same_in_every_draw_has_no_interval() -> None:
    cases = Cases(
        np.arange(8) > 3, np.arange(8.0), np.array([f"P{i}" for i in range(8)], dtype=object)
    )  # in perfect order
    found = area(cases, QUICK).bootstrap
    assert found.value == 1 and math.isnan(found.low) and "every draw gives the same" in found.reason
