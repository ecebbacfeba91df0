"""`cruor.training.evaluation.comparison`: two networks on the same slices."""

from __future__ import annotations

import numpy as np
import pytest

from cruor.training.evaluation.comparison import compare, mcnemar, same_slices
from cruor.training.evaluation.metrics import bootstrap, bootstrap_difference, roc_auc, value_of
from cruor.training.evaluation.predictions import EvaluationError
from tests.training.evaluation.making import NAN, QUICK, predicted, table

GOOD, POOR = predicted(table(40, skill=3.5), "good"), predicted(table(40, skill=0.5, seed=2), "poor")


def difference(comparison: dict, figure: str):
    (row,) = [row for row in comparison["differences"] if row["figure"] == figure]
    return row


def test_the_difference_is_the_first_minus_the_second_with_an_interval() -> None:
    row = difference(compare(GOOD, POOR, QUICK), "slice ROC-AUC")
    assert row["difference"].value == pytest.approx(row["first"].value - row["second"].value)
    assert 0 < row["difference"].low < row["difference"].value < row["difference"].high
    assert row["delong"].value == pytest.approx(row["difference"].value) and row["delong_p_value"] < 0.001


def test_the_other_way_round_it_changes_its_sign() -> None:
    there, back = (
        difference(compare(*pair, QUICK), "slice ROC-AUC")["difference"]
        for pair in ((GOOD, POOR), (POOR, GOOD))
    )
    assert (back.value, back.low, back.high) == pytest.approx((-there.value, -there.high, -there.low))


def test_a_network_does_not_differ_from_itself() -> None:
    comparison = compare(GOOD, GOOD, QUICK)
    assert {row["difference"].value for row in comparison["differences"]} == {0.0}
    assert {row["p_value"] for row in comparison["mcnemar"]} == {1.0}


def test_pairing_narrows_the_interval_of_networks_that_agree() -> None:
    """Both are measured on each draw: what is hard for both does not count as a difference."""
    slices = POOR.slices
    labels, patients = slices["any"].to_numpy() == 1, slices["patient_id"].to_numpy(dtype=object)
    score = slices["logit_any"].to_numpy()
    other = score + 0.1 * np.random.default_rng(1).standard_normal(len(score))
    paired = bootstrap_difference(roc_auc, labels, score, other, patients, rounds=200)
    alone = bootstrap(roc_auc, labels, score, patients, rounds=200)
    assert paired.high - paired.low < (alone.high - alone.low) / 2
    assert paired.value == pytest.approx(value_of(roc_auc, labels, score) - value_of(roc_auc, labels, other))


def test_slices_and_studies_are_compared_by_sensitivity_and_specificity_too() -> None:
    figures = {row["figure"] for row in compare(GOOD, POOR, QUICK)["differences"]}
    assert {
        "slice sensitivity (> 0.8)",
        "slice specificity (> 0.8)",
        "study ROC-AUC",
        "study sensitivity (paper-5)",
        "study specificity (probability)",
    } <= figures


def test_only_slices_that_both_hold_are_compared_whatever_their_order() -> None:
    some = predicted(table(40, skill=0.5, seed=2).query("number > 2").sample(frac=1, random_state=1), "poor")
    first, second = same_slices(GOOD, some)
    assert len(first.slices) == len(second.slices) == 40 * 8
    assert first.slices["sop_instance_uid"].tolist() == second.slices["sop_instance_uid"].tolist()


def test_networks_without_a_shared_slice_are_refused() -> None:
    with pytest.raises(EvaluationError, match="share no slice"):
        compare(GOOD, predicted(table(4).assign(source="elsewhere")), QUICK)


def test_labels_that_contradict_each_other_are_refused() -> None:
    turned = table(40)
    turned.loc[0, "any"] = 1.0
    with pytest.raises(EvaluationError, match="differ in the label 'any'"):
        compare(GOOD, predicted(turned), QUICK)


def test_without_a_class_the_difference_is_undefined_and_says_why() -> None:
    unknown = predicted(table(20).assign(any=NAN))
    row = difference(compare(unknown, unknown, QUICK), "slice ROC-AUC")
    assert np.isnan(row["difference"].value) and row["difference"].reason == "no cases with a known label"


def test_mcnemar_looks_only_at_studies_decided_differently() -> None:
    labels = np.ones(12, bool)
    first, second = np.arange(12) < 9, np.arange(12) < 3
    found = mcnemar(labels, first, second)
    assert (found["only_first_right"], found["only_second_right"]) == (6, 0)
    assert found["p_value"] == pytest.approx(2 / 2**6)
