"""What a cross-validation gives, by source: out of fold, and of sources that a network never saw."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
from rich.table import Table

from cruor.training.evaluation.figures import Settings, area, precision_area, slice_cases, study_cases
from cruor.training.evaluation.predictions import calibrated_by, cross_fit, studies_of, with_later_columns
from cruor.training.evaluation.tables import cell_text
from cruor.training.runs import LEFT_OUT, OUT_OF_FOLD
from cruor.training.together import held_out_slices

ALL = "all"


def crossval_table(run: Path, beside: Sequence[Path] = (), together: Sequence[str] = ()) -> Table:
    """ROC-AUC of slices and studies with their intervals over patients, and average precision of slices.

    Out-of-fold logits are calibrated by the other folds; those of a source left out by the out-of-fold logits
    of the other sources.

    Args:
        run: folder of a finished cross-validation.
        beside: of others like it (`together.check_alike`); what is measured is the mean of their logits.
        together: sources that have a row as one, too, where slices of all of them were scored.

    Raises:
        ExperimentError: a run has no table, or one of other slices.
    """
    table = Table("scored", "source", "slices (positive)", "patients", "slice ROC-AUC", box=None)
    for head in ("average precision", "studies (positive)", "study ROC-AUC"):
        table.add_column(head)
    for how, slices in _scored([run, *beside]):
        sources = sorted(slices["source"].unique())
        for source in [*([ALL] if len(sources) > 1 else []), *sources]:
            part = slices if source == ALL else slices[slices["source"] == source]
            table.add_row(how, source, *_figures(part))
        if len(together) > 1 and set(together) <= set(sources):
            table.add_row(how, "+".join(together), *_figures(slices[slices["source"].isin(together)]))
    return table


def _scored(runs: Sequence[Path]) -> Iterator[tuple[str, pd.DataFrame]]:
    out_of_fold = with_later_columns(held_out_slices(runs, OUT_OF_FOLD))
    yield "out of fold", cross_fit(out_of_fold, runs[0].name).slices
    if (runs[0] / LEFT_OUT).exists():
        left_out = with_later_columns(held_out_slices(runs, LEFT_OUT))
        for group, held_out in left_out.groupby("left_out"):
            others = out_of_fold[~out_of_fold["source"].isin(held_out["source"].unique())]
            yield f"without {group}", calibrated_by(others, held_out)


def _figures(slices: pd.DataFrame) -> list[str]:
    settings = Settings()
    by_slice, by_study = slice_cases(slices), study_cases(studies_of(slices, settings.slice_threshold))
    return [
        f"{len(by_slice.labels)} ({by_slice.labels.sum()})",
        str(len(set(by_slice.patients))),
        cell_text(area(by_slice, settings).bootstrap, percent=False),
        cell_text(precision_area(by_slice, settings), percent=False),
        f"{len(by_study.labels)} ({by_study.labels.sum()})",
        cell_text(area(by_study, settings).bootstrap, percent=False),
    ]
