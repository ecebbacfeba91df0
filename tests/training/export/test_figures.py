"""`cruor.training.export.figures`: each is measured on patients that no network of it saw."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from cruor.bundle.manifest import RULES, Figure
from cruor.bundle.model import Bundle
from cruor.training.calibration import calls_by_other_folds, sensitive_threshold
from cruor.training.export.evidence import evidence_of_folds
from cruor.training.export.figures import measured, slice_figures, study_figures
from tests.training.evaluation.making import table

pytestmark = pytest.mark.filterwarnings("ignore:::lightning")


@pytest.mark.usefixtures("few_rounds")
def test_a_subtype_is_measured_on_the_slices_where_it_is_known(out_of_fold: pd.DataFrame) -> None:
    slices = out_of_fold.copy()
    slices.loc[slices["any"] == 1, "subdural"] = [1.0, np.nan] * (int(slices["any"].sum()) // 2)
    figures = {figure.name: figure for figure in slice_figures(evidence_of_folds(slices))}
    known = int(slices["subdural"].notna().sum())
    assert (
        figures["slice.roc_auc[subdural]"].cases
        == f"{known} slices ({int((slices['subdural'] == 1).sum())} positive)"
    )


@pytest.mark.usefixtures("few_rounds")
def test_slices_are_called_by_the_calibration_of_the_other_folds() -> None:
    slices = table(folds=2, skill=8)
    higher = slices["logit_any"] + 100 * (slices["fold"] == 1)
    evidence = evidence_of_folds(slices.assign(logit_any=higher))
    figures = {figure.name: figure.value for figure in slice_figures(evidence)}
    # By the other fold, all of the higher fold is called and none of the other; by its own, nearly all right.
    positive, fold = slices["any"] == 1, slices["fold"]
    assert figures["slice.sensitivity@0.8[all]"] == pytest.approx((fold[positive] == 1).mean(), abs=1e-4)
    assert figures["slice.specificity@0.8[all]"] == pytest.approx((fold[~positive] == 0).mean(), abs=1e-4)


@pytest.mark.usefixtures("few_rounds")
def test_the_sensitive_point_is_measured_on_other_folds_than_it_was_found_on() -> None:
    evidence = evidence_of_folds(table(studies=40, folds=2))
    figures = {figure.name: figure for figure in study_figures(evidence)}
    called = calls_by_other_folds(evidence.studies, sensitive_threshold)
    labels = evidence.studies["label"].to_numpy()
    for name, wanted in (("sensitivity", called[labels]), ("specificity", ~called[~labels])):
        figure = figures[f"study.{name}[probability at sensitivity-95]"]
        assert figure.value == pytest.approx(wanted.mean(), abs=1e-4)
        assert figure.cases == "40 studies (20 positive)"


@pytest.mark.usefixtures("few_rounds")
def test_what_cannot_be_measured_is_left_out(out_of_fold: pd.DataFrame, bundle: Bundle) -> None:
    slices = out_of_fold.assign(epidural=0.0)
    names = {figure.name for figure in measured(slice_figures(evidence_of_folds(slices)))}
    assert "slice.roc_auc[epidural]" not in names
    assert "slice.roc_auc[all]" in names
    assert all(math.isfinite(figure.low + figure.high + figure.value) for figure in bundle.manifest.figures)


def test_every_source_is_measured_by_itself_and_over_all(bundle: Bundle) -> None:
    names = {figure.name for figure in bundle.manifest.figures}
    for source in ("all", "ct-ich", "rsna-sample"):
        kinds = ("slice.roc_auc", "slice.average_precision", "study.roc_auc")
        assert {f"{kind}[{source}]" for kind in kinds} <= names
    assert {f"study.{kind}[{rule}]" for kind in ("sensitivity", "specificity") for rule in RULES} <= names


def test_a_figure_lies_in_its_interval(bundle: Bundle) -> None:
    assert all(figure.low <= figure.value <= figure.high for figure in bundle.manifest.figures)


def test_study_probabilities_have_a_brier_score_and_a_reliability_curve(bundle: Bundle) -> None:
    figures = {one.name: one for one in bundle.manifest.figures}
    assert 0 <= figures["study.brier[all]"].value <= 1
    curve = [one for name, one in figures.items() if name.startswith("study.share_with_hemorrhage[")]
    assert sum(int(one.cases.split()[0]) for one in curve) == 24
    assert all("mean probability 0." in one.cases for one in curve)


class TestSourcesNeverSeen:
    def test_slices_and_studies_of_the_source_are_measured_and_called_so(
        self, never_seen: dict[str, Figure]
    ) -> None:
        assert {"slice.roc_auc[ct-ich, never seen]", "study.roc_auc[ct-ich, never seen]"} <= set(never_seen)
        assert all(one.origin == "network trained without ct-ich" for one in never_seen.values())
        assert all(one.low <= one.value <= one.high for one in measured(never_seen.values()))
