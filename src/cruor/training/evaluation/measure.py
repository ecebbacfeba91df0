"""All figures of an evaluation, with what must be said of them and where they come from."""

from __future__ import annotations

import dataclasses
import datetime
import math
from typing import Any

import pandas as pd

from cruor import __version__
from cruor.training.evaluation.counts import Counts
from cruor.training.evaluation.figures import (
    Area,
    Settings,
    area,
    at_prevalence,
    missing_class,
    precision_area,
    slice_cases,
    study_cases,
    table_1,
    table_2,
    tally,
)
from cruor.training.evaluation.metrics import Estimate
from cruor.training.evaluation.predictions import CROSS_FITTED, Predictions, by_patient, studies_of
from cruor.training.evaluation.reliability import reliability
from cruor.training.evaluation.subgroups import subgroups, unknown_groups
from cruor.training.evaluation.tables import RESEARCH_ONLY

SUBGROUP_RULE = "paper-5"
"""Decides the studies of subgroups where predictions name no default rule: the paper's best on RSNA."""


def measure(predictions: Predictions, settings: Settings) -> dict[str, Any]:
    """All figures of one network; Estimates stand where `plain` makes mappings of them."""
    slices = predictions.slices
    studies = studies_of(slices, settings.slice_threshold)
    by_slice, by_study = slice_cases(slices), study_cases(studies)
    rule = predictions.made_by.get("default_rule", SUBGROUP_RULE)
    second_table = table_2(by_patient(studies))
    return {
        "settings": dataclasses.asdict(settings) | {"subgroup_rule": rule},
        "said": list(_said(predictions, studies)),
        "slice": tally(by_slice)
        | {"roc_auc": area(by_slice, settings), "average_precision": precision_area(by_slice, settings)}
        | {"outputs": _outputs(predictions, settings)},
        "study": tally(by_study)
        | {"roc_auc": area(by_study, settings), "average_precision": precision_area(by_study, settings)},
        "table1": table_1(by_slice, settings),
        "table2": second_table,
        "at_prevalence": at_prevalence(second_table, settings.prevalence),
        "calibration": [
            {"what": "slices", **reliability(by_slice, settings, classes_alike=True)},
            {"what": "slices", **reliability(by_slice, settings, classes_alike=False)},
            {"what": "studies", **reliability(by_study, settings, classes_alike=False)},
        ],
        "subgroups": subgroups(slices, studies, rule, settings),
    }


def _outputs(predictions: Predictions, settings: Settings) -> dict[str, Area]:
    """ROC-AUC of each subtype's own output, on the slices whose label for it is known."""
    return {
        output: area(slice_cases(predictions.slices, output), settings) for output in predictions.outputs[1:]
    }


def _said(predictions: Predictions, studies: pd.DataFrame) -> list[str]:
    """What the reader of the figures must know, in sentences."""
    slices, sentences = predictions.slices, []
    for what, labels in (
        ("slice", slice_cases(slices).labels),
        ("study", studies["label"].to_numpy(dtype=bool)),
    ):
        if not 0 < labels.sum() < len(labels):
            sentences.append(f"No {what} figures that need both classes: {missing_class(labels)}.")
    if predictions.made_by["how"] == CROSS_FITTED:
        sentences.append(
            f"Out-of-fold logits of {predictions.made_by['folds']} folds. Slice calibration, study head and "
            "operating point of each fold were fitted on the others: no label of a patient touched its own "
            "probability. Folds are thus calibrated apart, and their slices are ranked together."
        )
    unknown = int(studies["probability"].isna().sum())
    if unknown:
        sentences.append(f"{unknown} studies have no study probability: the other folds lack a class.")
    loose = slices.loc[slices["study_any"].isna(), "study_instance_uid"].nunique()
    if loose:
        sentences.append(
            f"{loose} studies are not decided: their series are not complete, or their label is unknown."
        )
    groups = unknown_groups(slices)
    if groups:
        sentences.append(f"Not known in this data, so no figures by it: {', '.join(groups)}.")
    return sentences


def ancestry(first: Predictions, second: Predictions | None, command: str) -> dict[str, Any]:
    """Where the figures come from."""
    both = [first] if second is None else [first, second]
    return {
        "research_use_only": RESEARCH_ONLY,
        "cruor": __version__,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "command": command,
        "evaluated": first.made_by,
        "against": None if second is None else second.made_by,
        "warnings": [sentence for one in both for sentence in may_have_taught(one)],
        "intervals": {
            "level": 0.95,
            "bootstrap": "percentiles over resampled patients, each with all of its slices and studies",
            "delong": "normal; takes all cases as independent, so too narrow for slices",
            "table2": "exact binomial (ACC, TPR, TNR), logit (PPV, NPV); takes studies as independent",
        },
    }


def may_have_taught(predictions: Predictions) -> list[str]:
    """A warning for each source that the bundle learned from and is evaluated on."""
    made_by, slices = predictions.made_by, predictions.slices
    sentences = []
    for source in sorted(set(made_by.get("learned_from", [])) & set(slices["source"])):
        patients = set(slices.loc[slices["source"] == source, "patient_id"])
        taught = patients - set(made_by.get("left_out_patients", []))
        if not taught:
            continue
        sentences.append(
            f"{predictions.name} learned from {source}: {len(taught)} of the {len(patients)} patients "
            "evaluated here may have stood in its training, and the figures may be too good; "
            f"{_advice(made_by.get('split'))}."
        )
    return sentences


def _advice(split: dict[str, str] | None) -> str:
    if split is None:
        return "name a split, or evaluate out-of-fold predictions"
    return f"side {split['side']!r} of {split['file']} keeps them apart only if training kept to that split"


def plain(value: Any) -> Any:
    """What JSON can hold: an Estimate becomes a mapping, NaN becomes null beside its reason."""
    if isinstance(value, Area):
        return plain(value.bootstrap) | {"delong": plain(value.delong)}
    if isinstance(value, (Estimate, Counts)):
        fields = {key: plain(item) for key, item in dataclasses.asdict(value).items()}
        return {key: item for key, item in fields.items() if item != ""}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
