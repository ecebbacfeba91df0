"""`cruor.training.crossval_table`: what a cross-validation gives, by source."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from cruor.training.crossval_table import crossval_table
from cruor.training.runs import LEFT_OUT, OUT_OF_FOLD
from tests.training.evaluation.making import table

WIDE = 200


def shown(run: Path, *beside: Path, together: tuple[str, ...] = ()) -> list[list[str]]:
    """The lines of the table, as words apart by two blanks or more."""
    console = Console(width=WIDE, record=True, file=(run / "shown.txt").open("w"))
    console.print(crossval_table(run, beside, together))
    lines = console.export_text().splitlines()
    return [[part.strip() for part in line.split("  ") if part.strip()] for line in lines if line.strip()]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Out-of-fold logits of two sources, each of ten studies."""
    table(folds=2).to_parquet(tmp_path / OUT_OF_FOLD)
    return tmp_path


def test_all_and_each_source_have_a_row_out_of_fold(run: Path) -> None:
    head, *rows = shown(run)
    assert head[0] == "scored"
    assert [row[:3] for row in rows] == [
        ["out of fold", "all", "200 (40)"],
        ["out of fold", "here", "100 (20)"],
        ["out of fold", "there", "100 (20)"],
    ]


def test_a_source_left_out_has_a_row_of_its_own(run: Path) -> None:
    slices = table()
    slices[slices["source"] == "there"].assign(left_out="there").to_parquet(run / LEFT_OUT)
    last = shown(run)[-1]
    assert last[:3] == ["without there", "there", "100 (20)"]
    assert last[6] == "10 (5)"


def test_sources_named_together_have_a_row_as_one(run: Path) -> None:
    last = shown(run, together=("there", "here"))[-1]
    assert last[:3] == ["out of fold", "there+here", "200 (40)"]
    assert last[3:] == shown(run)[1][3:]


def test_sources_together_have_no_row_where_one_of_them_was_not_scored(run: Path) -> None:
    assert len(shown(run, together=("here", "nowhere"))) == len(shown(run))


def test_figures_have_their_intervals(run: Path) -> None:
    for row in shown(run)[1:]:
        auc, rest = row[4].split(" (")
        low, high = rest.rstrip(")").split(" to ")
        assert 0 < float(low) < float(auc) < float(high) <= 1


def test_of_runs_beside_each_other_the_mean_is_measured(run: Path) -> None:
    other = run / "other"
    other.mkdir()
    slices = table(folds=2)
    noise = np.random.default_rng(1).normal(0, 100, len(slices))
    slices.assign(logit_any=noise).to_parquet(other / OUT_OF_FOLD)
    alone, both = (float(row[4].split()[0]) for row in (shown(run)[1], shown(run, other)[1]))
    assert alone > 0.9 > 0.7 > both
