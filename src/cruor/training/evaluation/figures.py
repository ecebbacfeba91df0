"""Figures of one network on labelled slices and studies: the paper's two tables, and the areas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cruor.reader.rules import PAPER_TENTHS, PROBABILITY, slices_needed
from cruor.training.evaluation.counts import count, predictive_values, rates
from cruor.training.evaluation.delong import delong
from cruor.training.evaluation.metrics import (
    ROUNDS,
    Estimate,
    Labels,
    Metric,
    Patients,
    Scores,
    average_precision,
    bootstrap,
    called_share,
    clear_of_spared,
    right_share,
    roc_auc,
    spared_share,
    true_of_called,
    undefined,
    with_width,
)

SLICE_RATES: dict[str, Metric] = {
    "ACC": right_share,
    "TPR": called_share,
    "TNR": spared_share,
    "PPV": true_of_called,
    "NPV": clear_of_spared,
}
NATURAL, BALANCED = "natural", "balanced"


@dataclass(frozen=True)
class Settings:
    """How figures are made.

    Attributes:
        thresholds: of Table 1, on slice probabilities.
        slice_threshold: a slice is positive above it in the patient rule (paper section 2.4: 0.8).
        prevalence: share of studies with hemorrhage for which PPV and NPV are given.
        rounds, seed: of the bootstrap; the seed also draws the balanced slices.
    """

    thresholds: tuple[float, ...] = (0.5, 0.7, 0.9)
    slice_threshold: float = 0.8
    prevalence: float = 0.1
    rounds: int = ROUNDS
    seed: int = 1


@dataclass(frozen=True, eq=False)
class Cases:
    """Slices or studies with their truth and one score each; all (cases,)."""

    labels: Labels
    scores: Scores
    patients: Patients

    def some(self, rows: NDArray[Any]) -> Cases:
        """The cases of the given rows, by number or by mask."""
        return Cases(self.labels[rows], self.scores[rows], self.patients[rows])


@dataclass(frozen=True)
class Area:
    """A ROC-AUC by bootstrap over patients and by DeLong, which takes cases as independent."""

    bootstrap: Estimate
    delong: Estimate


def slice_cases(slices: pd.DataFrame, output: str = "any") -> Cases:
    """The slices whose label for `output` is known."""
    known = slices[slices[output].notna()]
    return Cases(
        known[output].to_numpy() == 1,
        known[f"probability_{output}"].to_numpy(dtype=float),
        known["patient_id"].to_numpy(dtype=object),
    )


def study_cases(studies: pd.DataFrame) -> Cases:
    """The studies whose probability is known."""
    known = studies[studies["probability"].notna()]
    return Cases(
        known["label"].to_numpy(dtype=bool),
        known["probability"].to_numpy(dtype=float),
        known["patient_id"].to_numpy(dtype=object),
    )


def resampled(metric: Metric, cases: Cases, settings: Settings) -> Estimate:
    """The metric on the scores with its bootstrap interval over patients."""
    found = bootstrap(
        metric, cases.labels, cases.scores, cases.patients, rounds=settings.rounds, seed=settings.seed
    )
    return with_width(found)


def area(cases: Cases, settings: Settings) -> Area:
    """ROC-AUC with both intervals."""
    if not 0 < cases.labels.sum() < len(cases.labels):
        missing = undefined(missing_class(cases.labels))
        return Area(missing, missing)
    return Area(resampled(roc_auc, cases, settings), delong(cases.labels, cases.scores))


def precision_area(cases: Cases, settings: Settings) -> Estimate:
    """Average precision; undefined where a class is missing (without negatives it is always 1)."""
    if not 0 < cases.labels.sum() < len(cases.labels):
        return undefined(missing_class(cases.labels))
    return resampled(average_precision, cases, settings)


def missing_class(labels: Labels) -> str:
    """Which class is missing, in words."""
    if len(labels) == 0:
        return "no cases with a known label"
    return "no cases without hemorrhage" if labels.all() else "no cases with hemorrhage"


def tally(cases: Cases) -> dict[str, int]:
    """How many cases, positives and patients."""
    return {
        "cases": len(cases.labels),
        "positive": int(cases.labels.sum()),
        "patients": len(set(cases.patients)),
    }


def balanced_rows(labels: Labels, seed: int) -> NDArray[np.int64]:
    """As many cases of each class: the larger drawn down to the smaller, in order (paper section 2.3)."""
    rng = np.random.default_rng(seed)
    classes = [np.flatnonzero(labels), np.flatnonzero(~labels)]
    fewest = min(map(len, classes))
    return np.sort(np.concatenate([rng.choice(rows, fewest, replace=False) for rows in classes]))


def table_1(cases: Cases, settings: Settings) -> list[dict[str, Any]]:
    """The paper's Table 1 on slices, at natural prevalence and balanced; intervals over patients."""
    draws = {NATURAL: cases, BALANCED: cases.some(balanced_rows(cases.labels, settings.seed))}
    rows = []
    for draw, drawn in draws.items():
        areas = {"PR": precision_area(drawn, settings), "ROC": area(drawn, settings).bootstrap}
        rows += [
            {
                "draw": draw,
                "threshold": threshold,
                **slice_rates(drawn, threshold, settings),
                **areas,
                "counts": count(drawn.labels, drawn.scores > threshold),
            }
            for threshold in settings.thresholds
        ]
    return rows


def slice_rates(cases: Cases, threshold: float, settings: Settings) -> dict[str, Estimate]:
    """ACC, TPR, TNR, PPV and NPV of `score > threshold`, with intervals over patients."""
    called = Cases(cases.labels, (cases.scores > threshold).astype(float), cases.patients)
    return {name: resampled(metric, called, settings) for name, metric in SLICE_RATES.items()}


def study_calls(studies: pd.DataFrame) -> dict[str, Labels]:
    """What each rule says of each study, as `reader.rules` decides it."""
    positive, slices = studies["positive_slices"].to_numpy(), studies["slice_count"].to_numpy()
    calls = {
        rule: positive >= np.array([slices_needed(tenths, int(total)) for total in slices], dtype=int)
        for rule, tenths in PAPER_TENTHS.items()
    }
    calls[PROBABILITY] = (studies["probability"] >= studies["threshold"]).to_numpy()
    return calls


def table_2(studies: pd.DataFrame) -> list[dict[str, Any]]:
    """The paper's Table 2, and the rule by probability; intervals as in the paper.

    The rule by probability is left out where the probability of a study is unknown.
    """
    labels, rows = studies["label"].to_numpy(dtype=bool), []
    for rule, called in study_calls(studies).items():
        if rule == PROBABILITY and studies["probability"].isna().any():
            continue
        counts = count(labels, called)
        rows.append({"rule": rule, **rates(counts), "N": len(labels), "counts": counts})
    return rows


def at_prevalence(table: list[dict[str, Any]], prevalence: float) -> list[dict[str, Any]]:
    """PPV and NPV of each row of Table 2 at a given prevalence."""
    return [
        {"rule": row["rule"], "prevalence": prevalence, **predictive_values(row["counts"], prevalence)}
        for row in table
    ]
