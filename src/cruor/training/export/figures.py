"""Figures of a bundle, each with its interval."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from functools import partial

import numpy as np
import pandas as pd

from cruor.bundle.manifest import Figure
from cruor.reader.rules import PROBABILITY
from cruor.training.calibration import averaged_logits, outputs_of
from cruor.training.evaluation.figures import Cases
from cruor.training.evaluation.metrics import (
    Estimate,
    average_precision,
    bootstrap,
    brier,
    called_share,
    roc_auc,
    sensitivity,
    spared_share,
    specificity,
)
from cruor.training.evaluation.predictions import calibrated_by, studies_of, with_later_columns
from cruor.training.evaluation.reliability import reliability_curve
from cruor.training.export.evidence import SLICE_THRESHOLD, Evidence

NEVER_SEEN = ", never seen"
"""In a figure's name: its source was left out of the training."""


def slice_figures(evidence: Evidence) -> Iterator[Figure]:
    """ROC-AUC and average precision of slices, by source, by subtype and over all."""
    slices, calibration, figure = evidence.slices, evidence.calibration, partial(_figure_of, evidence.origin)
    of_source = slices["source"].to_numpy()
    rows = {"all": np.ones(len(slices), dtype=bool)}
    rows |= {str(name): of_source == name for name in np.unique(of_source.astype(str))}
    for name, own in rows.items():
        part, scores = slices[own], evidence.slice_logits[own]
        labels = part["any"].to_numpy() == 1
        patients = part["patient_id"].to_numpy(dtype=object)
        cases = f"{len(part)} slices ({int(labels.sum())} positive), {part['patient_id'].nunique()} patients"
        yield figure(f"slice.roc_auc[{name}]", bootstrap(roc_auc, labels, scores, patients), cases)
        yield figure(
            f"slice.average_precision[{name}]", bootstrap(average_precision, labels, scores, patients), cases
        )
        called = (1 / (1 + np.exp(-scores)) > SLICE_THRESHOLD).astype(float)
        at = f"@{SLICE_THRESHOLD}[{name}]"
        yield figure(f"slice.sensitivity{at}", bootstrap(called_share, labels, called, patients), cases)
        yield figure(f"slice.specificity{at}", bootstrap(spared_share, labels, called, patients), cases)
    averaged = averaged_logits(slices, calibration)
    for place, label in enumerate(outputs_of(slices)[1:], start=1):
        is_known = slices[label].notna().to_numpy()
        known = slices[is_known]
        labels, scores = known[label].to_numpy() == 1, averaged[is_known, place]
        patients = known["patient_id"].to_numpy(dtype=object)
        cases = f"{len(known)} slices ({int(labels.sum())} positive)"
        yield figure(f"slice.roc_auc[{label}]", bootstrap(roc_auc, labels, scores, patients), cases)


def study_figures(evidence: Evidence) -> Iterator[Figure]:
    """ROC-AUC of studies by source and over all; Brier score, reliability curve; what each rule reaches."""
    studies, calls, figure = evidence.studies, evidence.calls, partial(_figure_of, evidence.origin)
    sources = {"all": studies, **{str(name): part for name, part in studies.groupby("source")}}
    for name, part in sources.items():
        labels = part["label"].to_numpy()
        if labels.all() or not labels.any():
            continue
        patients = part["patient_id"].to_numpy(dtype=object)
        estimate = bootstrap(roc_auc, labels, part["probability"].to_numpy(), patients)
        yield figure(
            f"study.roc_auc[{name}]", estimate, f"{len(part)} studies ({int(labels.sum())} positive)"
        )
    labels = studies["label"].to_numpy()
    cases = f"{len(studies)} studies ({int(labels.sum())} positive)"
    chances, patients = studies["probability"].to_numpy(), studies["patient_id"].to_numpy(dtype=object)
    yield figure("study.brier[all]", bootstrap(brier, labels, chances, patients), cases)
    for part in reliability_curve(Cases(labels, chances, patients)):
        said = f"{part['cases']} studies, mean probability {part['probability']:.2f}"
        yield figure(
            f"study.share_with_hemorrhage[{part['from']:.1f} to {part['to']:.1f}]", part["share"], said
        )
    of_points = {f"{PROBABILITY} at {name}": called for name, called in evidence.point_calls.items()}
    for rule, called in (calls | of_points).items():
        yield figure(f"study.sensitivity[{rule}]", sensitivity(labels, called), cases)
        yield figure(f"study.specificity[{rule}]", specificity(labels, called), cases)


def left_out_figures(left_out: pd.DataFrame, out_of_fold: pd.DataFrame) -> Iterator[Figure]:
    """ROC-AUC of slices and studies of sources that a network of the same experiment never saw.

    Args:
        left_out: slices with logits and `left_out`, the name of the group that was left out.
        out_of_fold: the same of all sources; those that were not left out calibrate.
    """
    for group, held_out in left_out.groupby("left_out"):
        figure = partial(_figure_of, f"network trained without {group}")
        others = out_of_fold[~out_of_fold["source"].isin(held_out["source"].unique())]
        scored = calibrated_by(with_later_columns(others), with_later_columns(held_out))
        for source, part in scored.groupby("source"):
            labels, patients = part["any"].to_numpy() == 1, part["patient_id"].to_numpy(dtype=object)
            cases = f"{len(part)} slices ({int(labels.sum())} positive), {len(set(patients))} patients"
            name = f"[{source}{NEVER_SEEN}]"
            area = bootstrap(roc_auc, labels, part["probability_any"].to_numpy(), patients)
            yield figure(f"slice.roc_auc{name}", area, cases)
            studies = studies_of(part, SLICE_THRESHOLD)
            truths, chances = studies["label"].to_numpy(dtype=bool), studies["probability"].to_numpy()
            if truths.any() and not truths.all() and np.isfinite(chances).all():
                area = bootstrap(roc_auc, truths, chances, studies["patient_id"].to_numpy(dtype=object))
                yield figure(
                    f"study.roc_auc{name}", area, f"{len(studies)} studies ({int(truths.sum())} positive)"
                )


def measured(figures: Iterable[Figure]) -> Iterator[Figure]:
    """Leave out what could not be measured since a class is missing: JSON knows no NaN."""
    return (figure for figure in figures if math.isfinite(figure.value) and math.isfinite(figure.low))


def _figure_of(origin: str, name: str, estimate: Estimate, cases: str) -> Figure:
    return Figure(
        name=name,
        value=round(estimate.value, 4),
        low=round(estimate.low, 4),
        high=round(estimate.high, 4),
        cases=cases,
        origin=origin,
    )
