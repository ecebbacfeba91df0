"""What a cross-validation gives, by source: out of fold, and of sources that a network never saw."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import pandas as pd
from rich.table import Table

from cruor.training.evaluation.figures import (
    Cases,
    Settings,
    area,
    precision_area,
    resampled,
    slice_cases,
    study_cases,
)
from cruor.training.evaluation.metrics import (
    ROUNDS,
    bootstrap,
    bootstrap_difference,
    roc_auc,
    roc_auc_within,
    with_width,
)
from cruor.training.evaluation.predictions import calibrated_by, cross_fit, studies_of, with_later_columns
from cruor.training.evaluation.tables import cell_text
from cruor.training.experiment import ExperimentError
from cruor.training.runs import LEFT_OUT, OUT_OF_FOLD
from cruor.training.together import SLICE, held_out_slices

ALL = "all"
"""All sources as one."""

BY_FOLDS = "out of fold"
"""How slices were held out, in words; else `without` and the group of sources."""


IN_FOLDS = ("slice ROC-AUC in folds", "study ROC-AUC in folds")
"""Columns over pairs of the same fold of the first run. Further runs may have other folds."""


def crossval_table(run: Path, beside: Sequence[Path] = (), together: Sequence[str] = ()) -> Table:
    """ROC-AUC of slices and studies with their intervals over patients, and average precision of slices.

    Out of fold, ROC-AUC twice: over all pairs, and at the end over those of the same fold of `run`
    (`metrics.roc_auc_within`).

    Out-of-fold logits are calibrated by the other folds; those of a source left out by the out-of-fold logits
    of the other sources.

    Args:
        run: folder of a finished cross-validation.
        beside: of others like it (`together.check_alike`); what is measured is the mean of their logits.
        together: sources that have a row as one, too, where slices of all of them were scored.

    Raises:
        ExperimentError: a run has no table, or one of other slices.
    """
    check_together(scored_sources([run, *beside]), together)
    table = Table("scored", "source", "slices (positive)", "patients", "slice ROC-AUC", box=None)
    for head in ("average precision", "studies (positive)", "study ROC-AUC", *IN_FOLDS):
        table.add_column(head)
    for how, slices in scored_slices([run, *beside]):
        for source, part in by_source(slices, together):
            in_folds = _figures_in_folds(part) if how == BY_FOLDS else ["-"] * len(IN_FOLDS)
            table.add_row(how, source, *_figures(part), *in_folds)
    return table


def difference_table(
    runs: Sequence[Path], than: Sequence[Path], together: Sequence[str] = (), rounds: int = ROUNDS
) -> Table:
    """ROC-AUC of runs beside that of others on the same slices, and the difference, paired over patients.

    Seeds, folds, input and network may differ: both say something of patients that they never saw. What
    both left out is compared, too.

    Args:
        runs: folders of finished cross-validations that are read together.
        than: of those they are compared with, as many times read together.
        together: as `crossval_table`.
        rounds: of the bootstrap.

    Raises:
        ExperimentError: a run has no table, or one of other slices.
    """
    held_out_slices([*runs, *than], OUT_OF_FOLD)  # of the same slices, or refused
    table = Table("scored", "source", "slice ROC-AUC", "the other's", "difference", box=None)
    for head in ("study ROC-AUC", "the other's", "difference"):
        table.add_column(head)
    others = dict(scored_slices(than))
    for how, slices in scored_slices(runs):
        if how not in others:
            continue
        other = others[how].loc[slices.index]
        for source, part in by_source(slices, together):
            first, second = cases_of(part), cases_of(other.loc[part.index])
            compared = [_compared(one, with_it, rounds) for one, with_it in zip(first, second, strict=True)]
            table.add_row(how, source, *(cell for cells in compared for cell in cells))
    return table


def check_together(known: Collection[str], together: Sequence[str]) -> None:
    """Refuse sources that cannot be read as one.

    Args:
        known: sources that there are.
        together: those named.

    Raises:
        ExperimentError: one alone is named, one twice, or one that there is not.
    """
    there_are = ", ".join(sorted(known))
    if len(together) == 1:
        raise ExperimentError(
            f"--together {together[0]}: one alone; name each of the sources, of {there_are}"
        )
    if len(set(together)) < len(together):
        raise ExperimentError(f"--together {' --together '.join(together)}: one stands there twice")
    for source in together:
        if source not in known:
            raise ExperimentError(f"--together {source}: no such source; there are: {there_are}")


def scored_sources(runs: Sequence[Path]) -> set[str]:
    """Sources of which cross-validated runs scored slices out of fold: those of the first, all are alike."""
    return set(held_out_slices(runs[:1], OUT_OF_FOLD)["source"])


def by_source(slices: pd.DataFrame, together: Sequence[str]) -> Iterator[tuple[str, pd.DataFrame]]:
    """All slices where they are of several sources, those of each, and of the sources named as one."""
    sources = sorted(slices["source"].unique())
    for source in [*([ALL] if len(sources) > 1 else []), *sources]:
        yield source, slices if source == ALL else slices[slices["source"] == source]
    if len(together) > 1 and set(together) <= set(sources):
        yield "+".join(together), slices[slices["source"].isin(together)]


def without(group: str) -> str:
    """How slices of a group of sources (`data: leave_out`, joined by +) were held out, in words."""
    return f"without {group}"


def scored_slices(runs: Sequence[Path]) -> Iterator[tuple[str, pd.DataFrame]]:
    """What runs together say of slices held out, calibrated by others: out of fold, then of sources left out.

    Yields:
        How the slices were held out, in words, and their table, by what tells a slice.

    Raises:
        ExperimentError: a run has no table, or one of other slices.
    """
    out_of_fold = with_later_columns(held_out_slices(runs, OUT_OF_FOLD))
    yield BY_FOLDS, _by_slice(cross_fit(out_of_fold, runs[0].name).slices)
    if (runs[0] / LEFT_OUT).exists():
        left_out = with_later_columns(held_out_slices(runs, LEFT_OUT))
        for group, held_out in left_out.groupby("left_out"):
            others = out_of_fold[~out_of_fold["source"].isin(held_out["source"].unique())]
            yield without(str(group)), _by_slice(calibrated_by(others, held_out))


def _by_slice(scored: pd.DataFrame) -> pd.DataFrame:
    """Numbered by what tells a slice: folds, and with them the order of rows, differ between runs."""
    return scored.set_axis(pd.MultiIndex.from_frame(scored[SLICE], names=[None, None]))


def cases_of(slices: pd.DataFrame) -> tuple[Cases, Cases]:
    """Slices and studies with their probabilities."""
    return slice_cases(slices), study_cases(studies_of(slices, Settings().slice_threshold))


def _figures_in_folds(slices: pd.DataFrame) -> list[str]:
    """ROC-AUC of slices and studies over pairs of the same fold."""
    studies = studies_of(slices, Settings().slice_threshold)
    studies = studies[studies["probability"].notna()]
    fold_of = slices.groupby("study_instance_uid")["fold"].first()
    known = slices[slices["any"].notna()]
    folds = (known["fold"].to_numpy(), studies["study_instance_uid"].map(fold_of).to_numpy())
    return [
        cell_text(resampled(roc_auc_within(fold), cases, Settings()), percent=False)
        for fold, cases in zip(folds, (slice_cases(known), study_cases(studies)), strict=True)
    ]


def _compared(first: Cases, second: Cases, rounds: int) -> tuple[str, ...]:
    """ROC-AUC of both and their difference; nothing where a class is missing, or one says nothing of some."""
    if not 0 < first.labels.sum() < len(first.labels) or len(first.labels) != len(second.labels):
        return "-", "-", "-"
    labels, patients = first.labels, first.patients
    one, other = (
        bootstrap(roc_auc, labels, cases.scores, patients, rounds=rounds) for cases in (first, second)
    )
    less = bootstrap_difference(roc_auc, labels, first.scores, second.scores, patients, rounds=rounds)
    found = (with_width(one), with_width(other), less)
    return tuple(cell_text(each, percent=False) for each in found)


def _figures(slices: pd.DataFrame) -> list[str]:
    settings = Settings()
    by_slice, by_study = cases_of(slices)
    return [
        f"{len(by_slice.labels)} ({by_slice.labels.sum()})",
        str(len(set(by_slice.patients))),
        cell_text(area(by_slice, settings).bootstrap, percent=False),
        cell_text(precision_area(by_slice, settings), percent=False),
        f"{len(by_study.labels)} ({by_study.labels.sum()})",
        cell_text(area(by_study, settings).bootstrap, percent=False),
    ]
