"""`cruor.training.crossval_table`: what a cross-validation gives, by source."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from rich.table import Table

from cruor.training.crossval_table import crossval_table, difference_table
from cruor.training.experiment import ExperimentError
from cruor.training.runs import LEFT_OUT, OUT_OF_FOLD
from tests.training.evaluation.making import table

WIDE = 200


def shown(run: Path, *beside: Path, together: tuple[str, ...] = ()) -> list[list[str]]:
    return lines_of(crossval_table(run, beside, together))


def lines_of(made: Table) -> list[list[str]]:
    """The lines of a table, as words apart by two blanks or more."""
    console = Console(width=WIDE, record=True, file=io.StringIO())
    console.print(made)
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
    assert last[-2:] == ["-", "-"], "left out, so of no fold"


def test_out_of_fold_figures_also_stand_over_pairs_of_the_same_fold(run: Path) -> None:
    head, every, *_ = shown(run)
    assert head[-2:] == ["slice ROC-AUC in folds", "study ROC-AUC in folds"]
    assert every[4] != every[-2]
    slices = table(folds=2)
    one_fold_higher = slices.assign(logit_any=slices["logit_any"] + 9 * (slices["fold"] == 0))
    alone = run / "alone"
    alone.mkdir()
    one_fold_higher.to_parquet(alone / OUT_OF_FOLD)
    assert shown(alone)[1][-2] == every[-2]


def test_sources_named_together_have_a_row_as_one(run: Path) -> None:
    last = shown(run, together=("there", "here"))[-1]
    assert last[:3] == ["out of fold", "there+here", "200 (40)"]
    assert last[3:] == shown(run)[1][3:]


def test_sources_together_have_no_row_where_one_of_them_was_not_scored(run: Path) -> None:
    slices = table()
    slices[slices["source"] == "there"].assign(left_out="there").to_parquet(run / LEFT_OUT)
    rows = [row[:2] for row in shown(run, together=("here", "there"))]
    assert ["out of fold", "here+there"] in rows
    assert ["without there", "here+there"] not in rows


def test_a_source_of_no_slice_cannot_be_read_together(run: Path) -> None:
    with pytest.raises(ExperimentError, match="--together nowhere: no such source; there are: here, there"):
        crossval_table(run, together=("here", "nowhere"))


def test_a_source_named_twice_is_no_group(run: Path) -> None:
    with pytest.raises(ExperimentError, match="--together here --together here: one stands there twice"):
        crossval_table(run, together=("here", "here"))


def test_one_source_alone_cannot_be_read_together(run: Path) -> None:
    with pytest.raises(ExperimentError, match="--together here: one alone"):
        crossval_table(run, together=("here",))


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


class TestDifference:
    @pytest.fixture
    def worse(self, run: Path) -> Path:
        """The same slices in another order and other folds, with noise on their logits."""
        other = run / "worse"
        other.mkdir()
        slices = pd.read_parquet(run / OUT_OF_FOLD)
        noise = np.random.default_rng(1).normal(0, 3, len(slices))
        slices.assign(logit_any=slices["logit_any"] + noise, fold=1 - slices["fold"]).to_parquet(
            other / OUT_OF_FOLD
        )
        return other

    def test_a_run_differs_from_itself_by_nothing(self, run: Path) -> None:
        for row in lines_of(difference_table([run], [run]))[1:]:
            assert row[4] == row[7] == "0.000 (0.000 to 0.000)"

    def test_slices_are_compared_with_themselves_whatever_fold_they_are_of(
        self, run: Path, worse: Path
    ) -> None:
        slices = pd.read_parquet(run / OUT_OF_FOLD)
        slices.assign(fold=1 - slices["fold"]).to_parquet(worse / OUT_OF_FOLD)
        for row in lines_of(difference_table([run], [worse]))[1:]:
            assert row[4] == row[7] == "0.000 (0.000 to 0.000)"

    def test_it_is_the_first_less_the_second(self, run: Path, worse: Path) -> None:
        for row in lines_of(difference_table([run], [worse]))[1:]:
            first, second, difference = (float(cell.split()[0]) for cell in row[2:5])
            assert difference == pytest.approx(first - second, abs=0.0015)
            assert difference > 0

    def test_it_is_paired_so_that_it_is_surer_than_either(self, run: Path, worse: Path) -> None:
        slightly = pd.read_parquet(run / OUT_OF_FOLD)
        slightly["logit_any"] += np.random.default_rng(2).normal(0, 0.1, len(slightly))
        slightly.to_parquet(worse / OUT_OF_FOLD)
        _, first, *_ = lines_of(difference_table([run], [worse]))
        assert width(first[4]) < width(first[2])

    def test_what_both_left_out_is_compared_too(self, run: Path, worse: Path) -> None:
        slices = table()
        left_out = slices[slices["source"] == "there"].assign(left_out="there")
        left_out.to_parquet(run / LEFT_OUT)
        assert [row[0] for row in lines_of(difference_table([run], [worse]))[1:]] == ["out of fold"] * 3
        left_out.to_parquet(worse / LEFT_OUT)
        assert lines_of(difference_table([run], [worse]))[-1][:2] == ["without there", "there"]

    def test_sources_named_together_are_compared_as_one(self, run: Path, worse: Path) -> None:
        last = lines_of(difference_table([run], [worse], ("here", "there")))[-1]
        assert last[1] == "here+there"

    def test_runs_of_other_slices_are_refused(self, run: Path, worse: Path) -> None:
        pd.read_parquet(worse / OUT_OF_FOLD).iloc[1:].to_parquet(worse / OUT_OF_FOLD)
        with pytest.raises(ExperimentError, match="of other slices than"):
            difference_table([run], [worse])


def width(cell: str) -> float:
    """Of the interval."""
    low, high = cell.split(" (")[1].rstrip(")").split(" to ")
    return float(high) - float(low)
