"""What a run knows of its network from patients that it never saw, and what is fitted on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cruor.bundle.manifest import OperatingPoint, SliceCalibration, StudyHead
from cruor.reader.rules import PAPER_TENTHS, PROBABILITY, slices_needed
from cruor.training.calibration import (
    SENSITIVE_POINT,
    calibrated_logits,
    calls_by_other_folds,
    complete_studies,
    cross_fitted_logits,
    cross_fitted_studies,
    fit_slice_calibration,
    fit_study_head,
    operating_points,
    outputs_of,
    score_studies,
    sensitive_threshold,
)
from cruor.training.evaluation.metrics import sensitivity, specificity
from cruor.training.experiment import ExperimentError
from cruor.training.runs import TEST, VALIDATION

SLICE_THRESHOLD = 0.8
"""The paper's (section 2.4)."""

INTERVALS = "95 % intervals: exact binomial for shares of studies, else 1,000 bootstrap draws of patients"
"""What the origin of every figure says of its interval."""

OUT_OF_FOLD_ORIGIN = f"out of fold, `cruor crossval`; {INTERVALS}"

TEST_ORIGIN = f"test side of the split, `cruor train`; {INTERVALS}"


@dataclass(frozen=True, eq=False)
class Evidence:
    """What a run knows of its network from patients that it never saw.

    Attributes:
        slices: with logits; what slice figures are measured on.
        slice_logits: of `any` in each of them, calibrated by other patients, (slices,).
        studies: scored; what study figures are measured on.
        calls: by rule, what it says of each of those studies.
        point_calls: by operating point, what `probability` says at it.
        calibration, head, points: fitted on other patients than the studies were scored with.
        default, default_why: the rule to use, and why.
        seen: every slice that the bundle was made from.
        origin: of the figures, in words.
        fitted_on: slices with logits that calibration and head were fitted on.
        left_out: slices of sources that networks of the same experiment never saw, with logits; None where
            there are none.
    """

    slices: pd.DataFrame
    slice_logits: NDArray[np.float64]
    studies: pd.DataFrame
    calls: dict[str, NDArray[np.bool_]]
    point_calls: dict[str, NDArray[np.bool_]]
    calibration: SliceCalibration
    head: StudyHead
    points: tuple[OperatingPoint, ...]
    default: str
    default_why: str
    seen: pd.DataFrame
    origin: str
    fitted_on: pd.DataFrame
    left_out: pd.DataFrame | None = None


def evidence_of_folds(out_of_fold: pd.DataFrame) -> Evidence:
    """Of a cross-validated run: calibration and head are fitted on all folds, figures are cross-fitted."""
    calibration = fit_slice_calibration(out_of_fold)
    studies = cross_fitted_studies(out_of_fold, SLICE_THRESHOLD)
    calls = rule_calls(studies, calls_by_other_folds(studies))
    default = best_rule(studies, calls)
    folds = f"cross-fitted over {studies['fold'].nunique()} folds by patient"
    return Evidence(
        slices=out_of_fold,
        slice_logits=cross_fitted_logits(out_of_fold),
        studies=studies,
        calls=calls,
        point_calls={SENSITIVE_POINT: calls_by_other_folds(studies, sensitive_threshold)},
        calibration=calibration,
        head=fit_study_head(out_of_fold, calibration),
        points=operating_points(studies, folds),
        default=default,
        default_why=explain_default(studies, calls, default, "cross-validated"),
        seen=out_of_fold,
        origin=OUT_OF_FOLD_ORIGIN,
        fitted_on=out_of_fold,
    )


def evidence_of_sides(predictions: pd.DataFrame, index: pd.DataFrame) -> Evidence:
    """Of a run with a split: everything is fitted on the validation side and measured on the test side.

    Args:
        predictions: slices of both sides with logits and `side`.
        index: every slice of the experiment.
    """
    validation = predictions[predictions["side"] == VALIDATION]
    test = predictions[predictions["side"] == TEST]
    calibration = fit_slice_calibration(validation)
    head = fit_study_head(validation, calibration)
    fitted_on = score_studies(validation, calibration, head, SLICE_THRESHOLD)
    points = operating_points(fitted_on, "of the validation side, on which the study head was fitted, too")
    chosen = rule_calls(fitted_on, fitted_on["probability"].to_numpy() >= points[0].threshold)
    default = best_rule(fitted_on, chosen)
    studies = score_studies(test, calibration, head, SLICE_THRESHOLD)
    return Evidence(
        slices=test,
        slice_logits=calibrated_logits(test, calibration),
        studies=studies,
        calls=rule_calls(studies, studies["probability"].to_numpy() >= points[0].threshold),
        point_calls={
            point.name: studies["probability"].to_numpy() >= point.threshold for point in points[1:]
        },
        calibration=calibration,
        head=head,
        points=points,
        default=default,
        default_why=explain_default(fitted_on, chosen, default, "validation"),
        seen=index,
        origin=TEST_ORIGIN,
        fitted_on=validation,
    )


def check_measurable(scored: pd.DataFrame, run: Path) -> None:
    """Refuse a run of whose studies nothing can be fitted or measured.

    Raises:
        ExperimentError: a side has no complete study with, or none without hemorrhage.
    """
    sides = scored.groupby("side") if "side" in scored else [("out of fold", scored)]
    found = {name: {bool(one["any"].max()) for one in complete_studies(part)} for name, part in sides}
    for side in (VALIDATION, TEST) if "side" in scored else ("out of fold",):
        for kind, word in ((True, "with"), (False, "without")):
            if kind not in found.get(side, set()):
                raise ExperimentError(
                    f"{run}: {side}: no complete study {word} hemorrhage was held out, so no operating point "
                    "can be found or measured; take data with complete series, or another split"
                )


def check_calibration(calibration: SliceCalibration, scored: pd.DataFrame, run: Path) -> None:
    """Refuse a network that ranks held-out slices the wrong way round.

    Raises:
        ExperimentError: an output's logits fall where there is more blood; the sentence names it.
    """
    for output, slope in zip(outputs_of(scored), calibration.slope, strict=True):
        if slope <= 0:
            raise ExperimentError(
                f"{run}: output {output!r} is no higher on held-out slices that have it than on others: it "
                "has learned nothing; train longer or on more data"
            )


def rule_calls(studies: pd.DataFrame, by_probability: NDArray[np.bool_]) -> dict[str, NDArray[np.bool_]]:
    """What each rule says of each study; the rule `probability` says what is given."""
    calls = {PROBABILITY: by_probability}
    for rule, tenths in PAPER_TENTHS.items():
        needed = np.array([slices_needed(tenths, count) for count in studies["slice_count"]])
        calls[rule] = studies["positive_slices"].to_numpy() >= needed
    return calls


def best_rule(studies: pd.DataFrame, calls: dict[str, NDArray[np.bool_]]) -> str:
    """The rule with the highest balanced accuracy."""
    return max(calls, key=lambda rule: balanced_accuracy(studies, calls[rule]))


def balanced_accuracy(studies: pd.DataFrame, called: NDArray[np.bool_]) -> float:
    """Mean of sensitivity and specificity."""
    labels = studies["label"].to_numpy()
    return (sensitivity(labels, called).value + specificity(labels, called).value) / 2


def explain_default(
    studies: pd.DataFrame, calls: dict[str, NDArray[np.bool_]], default: str, kind: str
) -> str:
    """One sentence with every rule's balanced accuracy."""
    said = ", ".join(f"{rule} {balanced_accuracy(studies, called):.3f}" for rule, called in calls.items())
    return f"{default} has the highest balanced accuracy over {len(studies)} {kind} studies: {said}"
