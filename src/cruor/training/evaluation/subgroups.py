"""The same figures in parts of the data: source, subtype, slice spacing, age, sex."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from cruor.bundle.manifest import OUTPUTS
from cruor.training.evaluation.counts import count, rates
from cruor.training.evaluation.figures import (
    Settings,
    area,
    slice_cases,
    slice_rates,
    study_calls,
    study_cases,
    tally,
)
from cruor.training.evaluation.metrics import Estimate, Labels, undefined

FEWEST = 5
"""Cases of either class below which a part of the data gets no figure: it would be about single patients."""

SPACING_MM = (0.0, 2.0, 4.0, 6.0, np.inf)
AGE_YEARS = (0.0, 18.0, 40.0, 65.0, 80.0, np.inf)

_PART = tuple[str, str, pd.DataFrame, pd.DataFrame]


def subgroups(
    slices: pd.DataFrame, studies: pd.DataFrame, rule: str, settings: Settings
) -> list[dict[str, Any]]:
    """One row for each part of the data; groups of which nothing is known are left out.

    Args:
        slices: as in `predictions`.
        studies: from `studies_of(slices)`.
        rule: that decides the studies.
        settings: thresholds and bootstrap.
    """
    return [
        {"group": group, "part": part, **_figures(some_slices, some_studies, rule, settings)}
        for group, part, some_slices, some_studies in _parts(slices, studies)
    ]


def unknown_groups(slices: pd.DataFrame) -> list[str]:
    """What is not known of any slice, in words."""
    known = {
        "slice spacing": slices["spacing_mm"].notna().any(),
        "age": slices["age_years"].notna().any(),
        "sex": (slices["sex"] != "").any(),
        "subtypes": slices[list(OUTPUTS[1:])].notna().any(axis=None),
    }
    return [group for group, any_known in known.items() if not any_known]


def _parts(slices: pd.DataFrame, studies: pd.DataFrame) -> Iterator[_PART]:
    for source in sorted(slices["source"].unique()):
        yield "source", str(source), slices[slices["source"] == source], studies[studies["source"] == source]
    for subtype in OUTPUTS[1:]:
        if slices[subtype].notna().any():
            yield "subtype", subtype, *_of_subtype(slices, studies, subtype)
    for group, column, edges, unit in (
        ("slice spacing", "spacing_mm", SPACING_MM, "mm"),
        ("age", "age_years", AGE_YEARS, "years"),
    ):
        for low, high in pairwise(edges):
            inside = [(table[column] >= low) & (table[column] < high) for table in (slices, studies)]
            if inside[0].any():
                yield group, _span(low, high, unit), slices[inside[0]], studies[inside[1]]
    for sex in sorted(set(slices["sex"]) - {""}):
        yield "sex", sex, slices[slices["sex"] == sex], studies[studies["sex"] == sex]


def _of_subtype(
    slices: pd.DataFrame, studies: pd.DataFrame, subtype: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Hemorrhage of one subtype against none at all; what shows other blood alone is left out."""
    with_it = set(slices.loc[slices[subtype] == 1, "study_instance_uid"])
    keep = ~studies["label"].astype(bool) | studies["study_instance_uid"].isin(with_it)
    return slices[(slices[subtype] == 1) | (slices["any"] == 0)], studies[keep]


def _figures(slices: pd.DataFrame, studies: pd.DataFrame, rule: str, settings: Settings) -> dict[str, Any]:
    seen, read = slice_cases(slices), study_cases(studies)
    labels = studies["label"].to_numpy(dtype=bool)
    few_slices, few_studies = _too_few(seen.labels), _too_few(labels)
    by_slice = {} if few_slices else slice_rates(seen, settings.slice_threshold, settings)
    by_study = {} if few_studies else rates(count(labels, study_calls(studies)[rule]))
    return {
        "slices": tally(seen),
        "slice_roc_auc": undefined(few_slices) if few_slices else area(seen, settings).bootstrap,
        "slice_tpr": by_slice.get("TPR", undefined(few_slices)),
        "slice_tnr": by_slice.get("TNR", undefined(few_slices)),
        "studies": {"cases": len(labels), "positive": int(labels.sum())},
        "study_roc_auc": _study_area(few_studies or _too_few(read.labels), studies, settings),
        "study_tpr": by_study.get("TPR", undefined(few_studies)),
        "study_tnr": by_study.get("TNR", undefined(few_studies)),
    }


def _study_area(few: str, studies: pd.DataFrame, settings: Settings) -> Estimate:
    return undefined(few) if few else area(study_cases(studies), settings).bootstrap


def _too_few(labels: Labels) -> str:
    """Why there is no figure; empty where there are enough cases."""
    positive = int(labels.sum())
    if min(positive, len(labels) - positive) >= FEWEST:
        return ""
    return f"fewer than {FEWEST} with or without hemorrhage ({positive} of {len(labels)})"


def _span(low: float, high: float, unit: str) -> str:
    if np.isinf(high):
        return f"{low:g} {unit} and more"
    return f"under {high:g} {unit}" if low == 0 else f"{low:g} to under {high:g} {unit}"
