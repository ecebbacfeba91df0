"""`cruor split`: sides by patient, stratified, seeded, kept as a file that training reads."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from cruor.cli import app
from cruor.training.prepare.store import INDEX
from cruor.training.splits import (
    SplitError,
    count_sides,
    equal_folds,
    read_patients,
    read_split,
    rows_of_some,
    split_patients,
    three_sides,
)
from tests.training.samples import prepare_some

NAN = float("nan")


def patients_of(*strata: tuple[str, float, int]) -> pd.DataFrame:
    """So many patients of each (source, hemorrhage), as `read_patients` gives them."""
    rows = [
        {"patient_id": f"{source}-{bleeds}-{i:05d}", "source": source, "hemorrhage": bleeds}
        for source, bleeds, count in strata
        for i in range(count)
    ]
    table = pd.DataFrame(rows).set_index("patient_id").sort_index()
    return table.assign(slices=30, positives=np.where(table["hemorrhage"] == 1, 6, 0))


def prepared_index(folder: Path, rows: list[dict[str, object]]) -> Path:
    """A prepared folder of which only the index is there."""
    folder.mkdir(parents=True)
    pd.DataFrame(rows).to_parquet(folder / INDEX)
    return folder


def split(*arguments: object):
    return CliRunner().invoke(app, ["split", *map(str, arguments)], env={"COLUMNS": "120"})


class TestSplitPatients:
    TWO_SOURCES = patients_of(("a", 0.0, 300), ("a", 1.0, 100), ("b", 0.0, 60), ("b", 1.0, 40))

    @pytest.mark.parametrize("seed", range(5))
    def test_every_side_has_its_share_of_every_stratum(self, seed: int) -> None:
        shares = three_sides((90, 5, 5))
        sides = split_patients(self.TWO_SOURCES, shares, seed)
        strata = [self.TWO_SOURCES["source"], self.TWO_SOURCES["hemorrhage"]]
        counted = sides.groupby([*strata, sides], observed=False).size().unstack()
        wanted = np.outer(counted.sum(axis=1), list(shares.values()))
        assert np.abs(counted.to_numpy() - wanted).max() < 2

    @settings(max_examples=50)
    @given(
        counts=st.lists(st.integers(0, 40), min_size=3, max_size=3).filter(lambda few: few[1] > 8),
        folds=st.integers(2, 7),
        seed=st.integers(0, 1000),
    )
    def test_folds_differ_by_a_patient_at_most(self, counts: list[int], folds: int, seed: int) -> None:
        patients = patients_of(("a", 0.0, counts[0]), ("a", 1.0, counts[1]), ("a", NAN, counts[2]))
        sides = split_patients(patients, equal_folds(folds), seed)
        for part in (sides, *(sides[patients["hemorrhage"] == known] for known in (0, 1))):
            assert np.ptp(part.value_counts().to_numpy()) <= 1
        assert sides.notna().all()

    def test_the_same_seed_splits_the_same_way_and_another_does_not(self) -> None:
        shares = equal_folds(5)
        first = split_patients(self.TWO_SOURCES, shares, 1)
        assert first.equals(split_patients(self.TWO_SOURCES, shares, 1))
        assert not first.equals(split_patients(self.TWO_SOURCES, shares, 2))

    def test_a_stratum_of_one_patient_is_dealt_too(self) -> None:
        sides = split_patients(patients_of(("a", 1.0, 9), ("b", 0.0, 1)), equal_folds(5), 1)
        assert sides.value_counts().tolist() == [2] * 5

    def test_patients_of_whom_nothing_is_known_are_a_stratum_of_their_own(self) -> None:
        patients = patients_of(("a", 1.0, 10), ("a", 0.0, 10), ("a", NAN, 10))
        unknown = split_patients(patients, equal_folds(5), 1)[patients["hemorrhage"].isna()]
        assert unknown.value_counts().tolist() == [2] * 5


class TestReadPatients:
    def test_a_patient_with_one_positive_slice_bleeds(self, tmp_path: Path) -> None:
        patients = read_patients([prepare_some(tmp_path / "one", patients=2)])
        assert patients["hemorrhage"].tolist() == [0, 1]
        assert patients["slices"].tolist() == [5, 5]
        assert patients["positives"].tolist() == [0, 3]

    def test_where_slices_are_unknown_the_study_says_it(self, tmp_path: Path) -> None:
        known = [("P1", 1.0), ("P2", 0.0), ("P3", NAN)]
        rows = [{"patient_id": p, "source": "f", "any": NAN, "study_any": v} for p, v in known]
        patients = read_patients([prepared_index(tmp_path / "one", rows)])
        np.testing.assert_array_equal(patients["hemorrhage"], [1, 0, NAN])
        assert patients["positives"].tolist() == [0, 0, 0]

    def test_a_patient_of_two_folders_is_one(self, tmp_path: Path) -> None:
        row = {"patient_id": "P1", "source": "a", "any": 0.0}
        first = prepared_index(tmp_path / "one", [row])
        second = prepared_index(tmp_path / "two", [{**row, "source": "b", "any": 1.0, "study_any": 1.0}])
        patients = read_patients([first, second])
        assert patients.to_dict("index") == {
            "P1": {"source": "a", "hemorrhage": 1.0, "slices": 2, "positives": 1}
        }


class TestCommand:
    def test_the_file_gives_each_slice_the_side_of_its_patient(self, prepared: Path, tmp_path: Path) -> None:
        file = tmp_path / "made" / "split.csv"
        done = split(prepared, "--folds", 3, "--out", file)
        assert done.exit_code == 0, done.output
        assert file.read_text().splitlines()[0] == "patient_id,side"
        index = pd.read_parquet(prepared / INDEX)
        sides = read_split(file, index)
        assert sorted(set(sides)) == ["fold0", "fold1", "fold2"]
        assert pd.Series(sides).groupby(index["patient_id"]).nunique().max() == 1

    def test_patients_slices_and_positives_of_each_side_are_shown(
        self, prepared: Path, tmp_path: Path
    ) -> None:
        done = split(prepared, "--shares", 50, 25, 25, "--out", tmp_path / "split.csv")
        lines = [line.split() for line in done.stdout.splitlines()]
        assert lines[0] == ["side", "patients", "with", "hemorrhage", "slices", "positives"]
        assert lines[1] == ["train", "6", "3", "30", "9"]
        assert [line[0] for line in lines[1:5]] == ["train", "validation", "test", "all"]
        assert lines[4] == ["all", "12", "6", "60", "18"]

    def test_another_seed_makes_another_split(self, prepared: Path, tmp_path: Path) -> None:
        for seed in (1, 2):
            split(prepared, "--folds", 2, "--seed", seed, "--out", tmp_path / f"{seed}.csv")
        assert (tmp_path / "1.csv").read_text() != (tmp_path / "2.csv").read_text()

    def test_an_existing_split_is_not_written_over(self, prepared: Path, tmp_path: Path) -> None:
        file = tmp_path / "split.csv"
        file.write_text("mine")
        done = split(prepared, "--folds", 2, "--out", file)
        assert done.exit_code == 2
        assert "split.csv: is there already" in done.stderr
        assert file.read_text() == "mine"

    @pytest.mark.parametrize(
        ("asked", "said"),
        [
            (["--shares", 90, 5, 4], "shares 90 5 4 sum to 99, not to 100 %"),
            (["--shares", 95, 5, 0], "each of train, validation, test needs more than 0 %"),
            (["--shares", 90, 5, 5], "side 'test' would have none of 12 patients"),
            (["--folds", 13], "12 patients cannot stand on 13 sides"),
            (["--folds", 1], "at least 2 are needed"),
            (["--folds", 7], "and none with hemorrhage"),
            ([], "--shares TRAIN VALIDATION TEST, or --folds K"),
            (["--folds", 2, "--shares", 90, 5, 5], "one of them"),
        ],
    )
    def test_what_cannot_be_split_so_is_said_and_nothing_written(
        self, prepared: Path, tmp_path: Path, asked: list[object], said: str
    ) -> None:
        done = split(prepared, *asked, "--out", tmp_path / "split.csv")
        assert done.exit_code == 2
        assert said in done.stderr
        assert not list(tmp_path.iterdir())

    def test_a_folder_that_is_not_prepared_is_named(self, tmp_path: Path) -> None:
        done = split(tmp_path / "absent", "--folds", 2, "--out", tmp_path / "split.csv")
        assert done.exit_code == 2
        assert "absent: no index.parquet; make it with `cruor prepare`" in done.stderr


def test_as_many_patients_and_slices_as_rsna_has_are_split_in_seconds(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    slices = rng.integers(20, 61, 18_938)
    bleeds = rng.random(len(slices)) < 0.43
    patient = np.repeat(np.arange(len(slices)), slices)
    names = np.array([f"ID_{i:08x}" for i in range(len(slices))])
    positive = bleeds[patient] & (rng.random(len(patient)) < 0.33)
    folder = tmp_path / "rsna"
    folder.mkdir()
    index = pd.DataFrame({"patient_id": names[patient], "source": "rsna", "any": positive.astype(float)})
    index.to_parquet(folder / INDEX)
    begun = time.perf_counter()
    patients = read_patients([folder])
    sides = split_patients(patients, three_sides((90, 5, 5)), 1)
    assert time.perf_counter() - begun < 20  # about 1 s; a loaded machine is slower
    counted = count_sides(patients, sides)
    assert counted["patients"].tolist() == [17_044, 947, 947]  # as the paper's
    shares = counted["with_hemorrhage"] / counted["patients"]
    assert np.ptp(shares) < 0.01


def test_shares_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(SplitError):
        three_sides((NAN, 5, 5))


class TestRowsOfSome:
    """Of (source, hemorrhage): 9, 3, 6 and 2 patients, each of two slices."""

    INDEX = pd.DataFrame(
        {"patient_id": f"{source}-{bleeds}-{i}", "source": source, "any": bleeds * number}
        for source, bleeds, count in (("a", 0.0, 9), ("a", 1.0, 3), ("b", 0.0, 6), ("b", 1.0, 2))
        for i in range(count)
        for number in (0.0, 1.0)
    )
    ROWS = np.arange(len(INDEX))

    def patients(self, share: float, seed: int = 1) -> set[str]:
        return set(self.INDEX["patient_id"].iloc[rows_of_some(self.INDEX, self.ROWS, share, seed)])

    def test_a_share_of_the_patients_of_each_kind_stays_with_all_their_slices(self) -> None:
        rows = rows_of_some(self.INDEX, self.ROWS, 1 / 3, seed=1)
        by_patient = (
            self.INDEX.iloc[rows].groupby("patient_id").agg(source=("source", "min"), any=("any", "max"))
        )
        assert by_patient.groupby(["source", "any"]).size().tolist() == [3, 1, 2, 1]
        assert len(rows) == 2 * len(by_patient)

    @given(shares=st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)), seed=st.integers(0, 99))
    def test_a_lower_share_keeps_a_part_of_a_higher_one(self, shares: tuple[float, float], seed: int) -> None:
        assert self.patients(min(shares), seed) <= self.patients(max(shares), seed)

    def test_the_whole_share_is_every_row(self) -> None:
        np.testing.assert_array_equal(rows_of_some(self.INDEX, self.ROWS[::3], 1, seed=1), self.ROWS[::3])
