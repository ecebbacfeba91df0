"""Two networks on the same slices: every difference is paired, and has its interval."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from cruor.training.evaluation.delong import delong_difference
from cruor.training.evaluation.figures import (
    Cases,
    Settings,
    area,
    missing_class,
    precision_area,
    resampled,
    slice_cases,
    study_calls,
    study_cases,
)
from cruor.training.evaluation.metrics import (
    Estimate,
    Labels,
    Metric,
    average_precision,
    bootstrap_difference,
    called_share,
    roc_auc,
    spared_share,
    undefined,
    with_width,
)
from cruor.training.evaluation.predictions import KEY, EvaluationError, Predictions, studies_of


def same_slices(first: Predictions, second: Predictions) -> tuple[Predictions, Predictions]:
    """Both predictions on the slices that both hold, in one order.

    Raises:
        EvaluationError: they share no slice, or differ in a label.
    """
    left, right = (one.slices.set_index(KEY) for one in (first, second))
    shared = left.index.intersection(right.index)
    if shared.empty:
        raise EvaluationError(
            f"{first.name} and {second.name} share no slice; evaluate both on the same data"
        )
    left, right = left.loc[shared], right.loc[shared]
    for column in ("any", "study_any"):
        if not left[column].equals(right[column]):
            raise EvaluationError(
                f"{first.name} and {second.name} differ in the label {column!r} of a slice; "
                "evaluate both on the same prepared data"
            )
    return (
        replace(first, slices=left.reset_index()),
        replace(second, slices=right.reset_index()),
    )


def compare(first: Predictions, second: Predictions, settings: Settings) -> dict[str, Any]:
    """Differences (first minus second) of slice and study figures on the slices that both hold."""
    first, second = same_slices(first, second)
    studies = [studies_of(one.slices, settings.slice_threshold) for one in (first, second)]
    known = (studies[0]["probability"].notna() & studies[1]["probability"].notna()).to_numpy()
    slices = (slice_cases(first.slices), slice_cases(second.slices))
    whole = (study_cases(studies[0][known]), study_cases(studies[1][known]))
    return {
        "first": first.name,
        "second": second.name,
        "slices": len(slices[0].labels),
        "studies": len(studies[0]),
        "differences": [
            *_areas("slice", slices, settings),
            *_decisions("slice", f"> {settings.slice_threshold:g}", _called(slices, settings), settings),
            *_areas("study", whole, settings),
            *(
                row
                for rule, called in _rule_calls(studies).items()
                if rule != "probability" or known.all()
                for row in _decisions("study", rule, called, settings)
            ),
        ],
        "mcnemar": [
            {"rule": rule, **mcnemar(pair[0].labels, pair[0].scores == 1, pair[1].scores == 1)}
            for rule, pair in _rule_calls(studies).items()
            if rule != "probability" or known.all()
        ],
    }


def mcnemar(labels: Labels, first: Labels, second: Labels) -> dict[str, Any]:
    """Exact McNemar test on right and wrong decisions: of those decided differently, who is right."""
    first_right, second_right = first == labels, second == labels
    only_first = int((first_right & ~second_right).sum())
    only_second = int((~first_right & second_right).sum())
    differing = only_first + only_second
    p_value = float(binomtest(only_first, differing).pvalue) if differing else 1.0
    return {"only_first_right": only_first, "only_second_right": only_second, "p_value": p_value}


def _areas(what: str, pair: tuple[Cases, Cases], settings: Settings) -> list[dict[str, Any]]:
    first, second = pair
    if not 0 < first.labels.sum() < len(first.labels):
        why = undefined(missing_class(first.labels))
        row = {"first": why, "second": why, "difference": why}
        return [{"figure": f"{what} {name}", **row} for name in ("ROC-AUC", "average precision")]
    paired = delong_difference(first.labels, first.scores, second.scores)
    return [
        {
            "figure": f"{what} ROC-AUC",
            "first": area(first, settings).bootstrap,
            "second": area(second, settings).bootstrap,
            "difference": _difference(roc_auc, first, second, settings),
            "delong": paired.estimate,
            "delong_p_value": paired.p_value,
        },
        {
            "figure": f"{what} average precision",
            "first": precision_area(first, settings),
            "second": precision_area(second, settings),
            "difference": _difference(average_precision, first, second, settings),
        },
    ]


def _decisions(what: str, by: str, pair: tuple[Cases, Cases], settings: Settings) -> list[dict[str, Any]]:
    first, second = pair
    metrics: dict[str, Metric] = {"sensitivity": called_share, "specificity": spared_share}
    return [
        {
            "figure": f"{what} {name} ({by})",
            "first": resampled(metric, first, settings),
            "second": resampled(metric, second, settings),
            "difference": _difference(metric, first, second, settings),
        }
        for name, metric in metrics.items()
    ]


def _difference(metric: Metric, first: Cases, second: Cases, settings: Settings) -> Estimate:
    found = bootstrap_difference(
        metric,
        first.labels,
        first.scores,
        second.scores,
        first.patients,
        rounds=settings.rounds,
        seed=settings.seed,
    )
    return with_width(found)


def _called(pair: tuple[Cases, Cases], settings: Settings) -> tuple[Cases, Cases]:
    first, second = (
        replace(one, scores=(one.scores > settings.slice_threshold).astype(float)) for one in pair
    )
    return first, second


def _rule_calls(studies: list[pd.DataFrame]) -> dict[str, tuple[Cases, Cases]]:
    """Decisions of both by each rule, as cases with scores 0 and 1."""
    calls = [study_calls(one) for one in studies]
    labels = studies[0]["label"].to_numpy(dtype=bool)
    patients = studies[0]["patient_id"].to_numpy(dtype=object)
    return {
        rule: (
            Cases(labels, calls[0][rule].astype(np.float64), patients),
            Cases(labels, calls[1][rule].astype(np.float64), patients),
        )
        for rule in calls[0]
    }
