"""`cruor.training.study_tables`: what makes a study out of its slices, measured."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from rich.table import Table

from cruor.training import study_tables
from cruor.training.calibration import cross_fitted_studies
from cruor.training.export.evidence import SLICE_THRESHOLD
from cruor.training.runs import OUT_OF_FOLD
from cruor.training.study_tables import (
    OTHER_SLICES,
    fewer_studies_table,
    other_slices_table,
    rules_table,
)
from tests.training.evaluation.making import table

WIDE = 200
STUDIES, SLICES = 40, 12


def made_up() -> pd.DataFrame:
    """Forty studies of two folds, slices 5 mm apart."""
    slices = table(STUDIES, SLICES, folds=2)
    return slices.assign(position_mm=5.0 * slices["number"])


@pytest.fixture
def run(tmp_path: Path) -> Path:
    made_up().to_parquet(tmp_path / OUT_OF_FOLD)
    return tmp_path


def shown(made: Table) -> dict[str, list[str]]:
    """Rows by their first cell."""
    console = Console(width=WIDE, record=True, file=io.StringIO())
    console.print(made)
    rows = [
        [part.strip() for part in line.split("  ") if part.strip()]
        for line in console.export_text().splitlines()
    ]
    return {row[0]: row[1:] for row in rows if row}


def value(cell: str) -> float:
    return float(cell.split(maxsplit=1)[0])


class TestRules:
    def test_head_highest_slice_and_the_papers_rules_have_a_row_each_the_head_first(self, run: Path) -> None:
        assert list(shown(rules_table(run))) == [
            *("studies by", "study head", "highest slice", "paper-2.5", "paper-5", "paper-10"),
        ]

    def test_differences_are_those_of_the_balanced_accuracies(self, run: Path) -> None:
        rows = shown(rules_table(run))
        head = value(rows["study head"][4])
        for name in ("highest slice", "paper-2.5", "paper-5", "paper-10"):
            *_, balance, less = rows[name]
            assert value(less) == pytest.approx(value(balance) - head, abs=0.0015)

    def test_how_the_highest_slice_ranks_is_compared_with_the_head(
        self, run: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        highest = study_tables._highest_slices

        def worse(*tables: pd.DataFrame) -> pd.DataFrame:
            told = highest(*tables)
            return told.assign(probability=told["probability"].where(np.arange(len(told)) % 3 > 0, 0.5))

        monkeypatch.setattr(study_tables, "_highest_slices", worse)
        rows = shown(rules_table(run))
        area, less, *_ = rows["highest slice"]
        head = value(rows["study head"][0])
        assert value(area) < head - 0.05
        assert value(less) == pytest.approx(value(area) - head, abs=0.0015)
        assert [rows[name][1] for name in ("study head", "paper-2.5", "paper-5", "paper-10")] == ["-"] * 4

    def test_a_way_that_calls_as_the_head_does_differs_by_nothing(
        self, run: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            study_tables, "rule_calls", lambda studies, called: {"same": called, "probability": called}
        )
        assert shown(rules_table(run))["same"][-1] == "0.000 (0.000 to 0.000)"


class TestOtherSlices:
    def test_all_slices_are_what_the_cross_validation_says(self, run: Path) -> None:
        count, _, error, moved, otherwise = shown(other_slices_table(run))["all slices"]
        assert otherwise == f"0 of {STUDIES}"
        studies = cross_fitted_studies(made_up(), SLICE_THRESHOLD)
        assert (count, moved) == (str(SLICES), "0.000")
        assert value(error) == pytest.approx(
            ((studies["probability"] - studies["label"]) ** 2).mean(), abs=1e-3
        )

    @pytest.mark.parametrize(
        ("name", "count"),
        [("every second slice", 6), ("every third slice", 4), ("each as eight thin ones", 96)],
    )
    def test_there_are_as_many_as_the_name_says(self, name: str, count: int, run: Path) -> None:
        assert shown(other_slices_table(run))[name][0] == str(count)

    def test_one_in_ten_is_missing(self) -> None:
        chance = np.random.default_rng(1)
        left = [len(OTHER_SLICES["one in ten missing"](made_up(), chance)) for _ in range(20)]
        assert sum(left) / 20 == pytest.approx(0.9 * STUDIES * SLICES, rel=0.02)

    def test_thin_slices_lie_side_by_side_where_the_thick_one_lay(self) -> None:
        study = made_up()[:SLICES]
        thin = OTHER_SLICES["each as eight thin ones"](study, np.random.default_rng(1))
        assert set(thin["position_mm"].diff().dropna()) == {5 / 8}

    def test_blood_in_slices_that_are_left_out_is_still_in_the_study(
        self, run: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = {"all slices": OTHER_SLICES["all slices"], "the first alone": lambda study, chance: study[:1]}
        monkeypatch.setattr(study_tables, "OTHER_SLICES", first)
        rows = shown(other_slices_table(run))
        assert value(rows["the first alone"][1]) < 0.75 < value(rows["all slices"][1])

    def test_studies_that_the_papers_rule_then_decides_otherwise_are_counted(
        self, run: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        without_blood = {
            "all slices": OTHER_SLICES["all slices"],
            "those without": lambda study, chance: study[study["any"] == 0],
        }
        monkeypatch.setattr(study_tables, "OTHER_SLICES", without_blood)
        suspected = study_tables._by_paper(cross_fitted_studies(made_up(), SLICE_THRESHOLD))
        otherwise, _, of = shown(other_slices_table(run))["those without"][-1].split()
        assert (
            suspected.sum() - 5 < int(otherwise) <= suspected.sum()
        )  # some have slices that look like blood
        assert of == str(STUDIES)


def test_the_head_learns_from_more_and_more_studies_up_to_all_of_the_other_folds(run: Path) -> None:
    rows = shown(fewer_studies_table(run))
    assert list(rows) == ["study head learned from", "10 studies", "20 studies"]
    assert value(rows["20 studies"][1]) < value(rows["10 studies"][1]) + 0.1


@pytest.mark.parametrize("made", [rules_table, other_slices_table, fewer_studies_table])
def test_a_run_beside_is_averaged_in(made: Callable[..., Table], run: Path) -> None:
    other = run / "other"
    other.mkdir()
    noise = np.random.default_rng(1).normal(0, 100, STUDIES * SLICES)
    made_up().assign(logit_any=noise).to_parquet(other / OUT_OF_FOLD)
    place = 1 if made is other_slices_table else 0
    alone, both = (list(shown(made(run, beside)).values())[1][place] for beside in ([], [other]))
    assert value(both) < 0.8 < value(alone)
