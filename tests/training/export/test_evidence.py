"""`cruor.training.export.evidence`: rules and what chooses among them."""

from __future__ import annotations

import pandas as pd
import pytest

from cruor.bundle.manifest import RULES
from cruor.bundle.model import Bundle
from cruor.reader.rules import PROBABILITY
from cruor.training.calibration import calls_by_other_folds, cross_fitted_studies
from cruor.training.export.evidence import balanced_accuracy, rule_calls

pytestmark = pytest.mark.filterwarnings("ignore:::lightning")


def test_the_default_rule_is_the_one_with_the_best_balance(bundle: Bundle, out_of_fold: pd.DataFrame) -> None:
    studies = cross_fitted_studies(out_of_fold, 0.8)
    calls = rule_calls(studies, calls_by_other_folds(studies))
    balance = {rule: balanced_accuracy(studies, called) for rule, called in calls.items()}
    assert set(balance) == set(RULES)
    assert balance[bundle.manifest.rules.default] == max(balance.values())
    assert all(f"{rule} {value:.3f}" in bundle.manifest.rules.default_why for rule, value in balance.items())


def test_a_study_is_called_by_the_papers_rule_when_enough_slices_are_positive() -> None:
    studies = pd.DataFrame(
        {
            "label": [True, False, True, False],
            "probability": [0.9, 0.1, 0.8, 0.2],
            "positive_slices": [2, 1, 3, 0],
            "slice_count": [50, 20, 50, 20],
            "fold": [0, 0, 1, 1],
        }
    )
    calls = rule_calls(studies, calls_by_other_folds(studies))
    assert calls["paper-5"].tolist() == [False, True, True, False]
    assert calls["paper-2.5"].tolist() == [True, True, True, False]
    assert calls[PROBABILITY].tolist() == [True, False, True, False]
