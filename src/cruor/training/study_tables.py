"""From slices to studies in a cross-validation: head and rules side by side, other slices, fewer studies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.table import Table

from cruor.bundle.manifest import SliceCalibration
from cruor.reader.rules import PROBABILITY
from cruor.training.calibration import (
    by_fold,
    calls_by_other_folds,
    complete_studies,
    cross_fitted_studies,
    fit_slice_calibration,
    fit_study_head,
    logits_for_study,
    score_studies,
)
from cruor.training.evaluation.metrics import (
    Labels,
    Scores,
    Weights,
    bootstrap,
    bootstrap_difference,
    brier,
    called_share,
    roc_auc,
    sensitivity,
    spared_share,
    specificity,
)
from cruor.training.evaluation.tables import cell_text
from cruor.training.export.evidence import SLICE_THRESHOLD, check_measurable, rule_calls
from cruor.training.runs import OUT_OF_FOLD
from cruor.training.together import held_out_slices

Slices = Callable[[pd.DataFrame, np.random.Generator], pd.DataFrame]
"""A complete study's slices in scan order, and chance, to other slices of the same head."""

DROPPED_SHARE = 0.1
THINNER = 8
"""A slice of 5 mm as so many of 0.6 mm."""

PAPER_RULE = "paper-2.5"
"""Of the paper's rules the most sensitive, and the default bundle's."""

FITTED_ON = (10, 20, 40)
"""Studies that the head learns from, as far as there are more."""

DRAWS = 10
"""Of the studies that the head learns from; held-out studies count once for each."""


def study_tables(run: Path, beside: Sequence[Path] = ()) -> list[Table]:
    """Every table of this module.

    Args:
        run: folder of a finished cross-validation.
        beside: as `crossval_table`.

    Raises:
        ExperimentError: no complete study of one kind was held out, or a run has no table.
    """
    check_measurable(held_out_slices([run, *beside], OUT_OF_FOLD), run)
    return [made(run, beside) for made in (rules_table, other_slices_table, fewer_studies_table)]


def rules_table(run: Path, beside: Sequence[Path] = ()) -> Table:
    """Study head, highest slice and the paper's n % rules on the same held-out studies.

    The head's threshold, and that of the highest slice, is the best balance of the other folds. Differences
    are paired: both ways on each bootstrap draw of patients.

    Args:
        run: folder of a finished cross-validation.
        beside: as `crossval_table`.
    """
    slices = held_out_slices([run, *beside], OUT_OF_FOLD)
    studies = cross_fitted_studies(slices, SLICE_THRESHOLD)
    highest = _highest_slices(slices, studies)
    ways: list[tuple[str, Scores | None, Labels]] = [
        ("highest slice", highest["probability"].to_numpy(), calls_by_other_folds(highest)),
        *(
            (rule, None, called)
            for rule, called in rule_calls(studies, calls_by_other_folds(studies)).items()
        ),
    ]
    ways.sort(key=lambda way: way[0] != PROBABILITY)
    labels, patients = studies["label"].to_numpy(), studies["patient_id"].to_numpy(dtype=object)
    chances, by_head = studies["probability"].to_numpy(), ways[0][2]
    table = Table("studies by", "ROC-AUC", "less the head's", "sensitivity", "specificity", box=None)
    table.add_column("balanced accuracy")
    table.add_column("less the head's")
    for name, scores, called in ways:
        head = name == PROBABILITY
        ranked = chances if head else scores
        area = (
            "-" if ranked is None else cell_text(bootstrap(roc_auc, labels, ranked, patients), percent=False)
        )
        less_area = (
            "-"
            if head or scores is None
            else cell_text(bootstrap_difference(roc_auc, labels, scores, chances, patients), percent=False)
        )
        balance = bootstrap(_balance, labels, called.astype(float), patients)
        less = bootstrap_difference(_balance, labels, called.astype(float), by_head.astype(float), patients)
        table.add_row(
            "study head" if head else name,
            area,
            less_area,
            cell_text(sensitivity(labels, called), percent=False),
            cell_text(specificity(labels, called), percent=False),
            cell_text(balance, percent=False),
            "-" if head else cell_text(less, percent=False),
        )
    return table


def other_slices_table(run: Path, beside: Sequence[Path] = ()) -> Table:
    """The same studies through other slices: fewer, thinner, with some missing.

    Calibration and head are those of the other folds, fitted on all slices. `moved` is the mean distance of
    a study's probability from that through all of its slices; the last column counts the studies of which
    the paper's rule says another thing than through all of them.

    Args:
        run: folder of a finished cross-validation.
        beside: as `crossval_table`.
    """
    slices = held_out_slices([run, *beside], OUT_OF_FOLD)
    table = Table("studies through", "slices (median)", "ROC-AUC", "Brier score", "moved", box=None)
    table.add_column(f"{PAPER_RULE} says otherwise")
    through = {name: _through(slices, change) for name, change in OTHER_SLICES.items()}
    usual = next(iter(through.values()))
    for name, studies in through.items():
        table.add_row(
            name,
            f"{studies['slice_count'].median():g}",
            *_area_and_brier(studies),
            f"{(studies['probability'] - usual['probability']).abs().mean():.3f}",
            f"{(_by_paper(studies) != _by_paper(usual)).sum()} of {len(studies)}",
        )
    return table


def fewer_studies_table(run: Path, beside: Sequence[Path] = ()) -> Table:
    """The learning curve of the study head: fitted on so many studies of the other folds, drawn by chance.

    A head of one feature cannot change the order of studies within a fold: its ROC-AUC moves by what lies
    between folds and draws alone; whether it learns is seen by the Brier score.

    Args:
        run: folder of a finished cross-validation.
        beside: as `crossval_table`.
    """
    slices = held_out_slices([run, *beside], OUT_OF_FOLD)
    table = Table("study head learned from", "ROC-AUC", "Brier score", box=None)
    most = min(len(_study_labels(others)) for _, others in by_fold(slices).values())
    for count in (*(one for one in FITTED_ON if one < most), most):
        table.add_row(f"{count} studies", *_area_and_brier(_by_head_of(slices, count)))
    return table


def _highest_slices(slices: pd.DataFrame, studies: pd.DataFrame) -> pd.DataFrame:
    """The studies with their highest slice probability, calibrated by the other folds, as theirs."""
    logits = pd.concat(
        pd.Series(logits_for_study(own, fit_slice_calibration(others)), index=own.index)
        for own, others in by_fold(slices).values()
    )
    highest = logits[slices["complete_series"]].groupby(slices["study_instance_uid"]).max()
    found = studies["study_instance_uid"].map(highest)
    return studies.assign(probability=1 / (1 + np.exp(-found)))


def _balance(labels: Labels, called: Scores, weights: Weights) -> NDArray[np.float64]:
    """Balanced accuracy as a metric to resample."""
    both: NDArray[np.float64] = called_share(labels, called, weights) + spared_share(labels, called, weights)
    return both / 2


def _through(slices: pd.DataFrame, change: Slices) -> pd.DataFrame:
    """Held-out studies through other slices, scored by what the other folds' own slices fitted."""
    chance, parts = np.random.default_rng(1), []
    for own, others in by_fold(slices).values():
        calibration = fit_slice_calibration(others)
        head = fit_study_head(others, calibration)
        changed = pd.concat([_relabelled(study, change(study, chance)) for study in complete_studies(own)])
        parts.append(score_studies(changed, calibration, head, SLICE_THRESHOLD))
    return pd.concat(parts, ignore_index=True)


def _by_paper(studies: pd.DataFrame) -> NDArray[np.bool_]:
    """What the paper's rule says of each study."""
    return rule_calls(studies, np.zeros(len(studies), dtype=bool))[PAPER_RULE]


def _relabelled(study: pd.DataFrame, changed: pd.DataFrame) -> pd.DataFrame:
    """The changed slices, numbered anew, labelled as the study is: blood that is left out is still there."""
    return changed.assign(number=np.arange(1, len(changed) + 1), any=study["any"].max())


def _by_head_of(slices: pd.DataFrame, count: int) -> pd.DataFrame:
    """Held-out studies of every draw, scored by a head that so many studies of the other folds fitted."""
    parts = []
    for fold, (own, others) in by_fold(slices).items():
        calibration = fit_slice_calibration(others)
        for draw in range(DRAWS):
            chance = np.random.default_rng([fold, draw])
            some = others[others["study_instance_uid"].isin(_some_studies(others, count, chance))]
            parts.append(_score(own, calibration, some).assign(draw=draw))
    return pd.concat(parts, ignore_index=True)


def _score(own: pd.DataFrame, calibration: SliceCalibration, teaching: pd.DataFrame) -> pd.DataFrame:
    return score_studies(own, calibration, fit_study_head(teaching, calibration), SLICE_THRESHOLD)


def _some_studies(others: pd.DataFrame, count: int, chance: np.random.Generator) -> list[str]:
    """So many complete studies, as many of each kind as their shares say."""
    labels = _study_labels(others)
    with_blood, without = labels.index[labels], labels.index[~labels]
    positive = round(count * len(with_blood) / len(labels))
    drawn = [*chance.permutation(with_blood)[:positive], *chance.permutation(without)[: count - positive]]
    return [str(uid) for uid in drawn]


def _study_labels(slices: pd.DataFrame) -> pd.Series:
    """Of each complete study whether it has hemorrhage."""
    return slices[slices["complete_series"]].groupby("study_instance_uid")["any"].max() == 1


def _area_and_brier(studies: pd.DataFrame) -> tuple[str, str]:
    labels, patients = studies["label"].to_numpy(), studies["patient_id"].to_numpy(dtype=object)
    chances = studies["probability"].to_numpy()
    area, error = (bootstrap(metric, labels, chances, patients) for metric in (roc_auc, brier))
    return cell_text(area, percent=False), cell_text(error, percent=False)


def _every(step: int) -> Slices:
    return lambda study, chance: study.iloc[int(chance.integers(min(step, len(study)))) :: step]


def _some_missing(study: pd.DataFrame, chance: np.random.Generator) -> pd.DataFrame:
    """One slice in ten left out, which ones by chance."""
    return study[chance.random(len(study)) >= DROPPED_SHARE]


def _thinner(study: pd.DataFrame, chance: np.random.Generator) -> pd.DataFrame:
    """Each slice as several thinner ones, side by side along the scan, that show the same."""
    thin = study.loc[study.index.repeat(THINNER)]
    if "position_mm" not in study:
        return thin
    place = np.tile(np.arange(THINNER) / THINNER, len(study))
    step = np.gradient(study["position_mm"].to_numpy(dtype=float)) if len(study) > 1 else np.zeros(1)
    return thin.assign(position_mm=thin["position_mm"].to_numpy() + place * np.repeat(step, THINNER))


OTHER_SLICES: dict[str, Slices] = {
    "all slices": lambda study, chance: study,
    "every second slice": _every(2),
    "every third slice": _every(3),
    "one in ten missing": _some_missing,
    "each as eight thin ones": _thinner,
}
"""What a study is looked at through, the usual first."""
