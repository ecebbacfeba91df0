"""`cruor.training.crossval`: each slice is scored once, by a network that never saw its patient."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock
from numpy.typing import NDArray
from typer.testing import CliRunner

from cruor.cli import app
from cruor.training import crossval
from cruor.training.crossval import crossvalidate
from cruor.training.data import Heads
from cruor.training.experiment import Experiment, ExperimentError, load_experiment
from cruor.training.map_column import MAP_COLUMN
from cruor.training.prepare.store import LABELS, read_index, write_prepared
from cruor.training.run import LOGIT_COLUMNS
from cruor.training.runs import LEFT_OUT
from cruor.training.splits import SplitError
from tests.training.samples import prepare_some, saved, study, tiny_experiment

pytestmark = pytest.mark.filterwarnings("ignore:::lightning")

Fit = Callable[[Experiment, Heads, NDArray[np.int64], Path], str]


class Watched:
    """Stands in for training and predicting: remembers who was taught, and scores by the fold's number."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.taught: dict[str, set[str]] = {}
        self.trained: list[str] = []
        self.meet: Barrier | None = None
        self.index = pd.DataFrame()
        monkeypatch.setattr(crossval, "fit", self.fit)
        monkeypatch.setattr(crossval, "predict_slices", self.predict)

    def fit(self, experiment: Experiment, heads: Heads, rows: NDArray[np.int64], folder: Path) -> str:
        if self.meet is not None and folder.name.startswith("fold"):
            self.meet.wait()
        self.trained.append(folder.name)
        self.taught[folder.name] = set(heads.index["patient_id"].iloc[rows])
        return folder.name

    def predict(self, module: str, heads: Heads, rows: NDArray[np.int64]) -> pd.DataFrame:
        number = int(module.removeprefix("fold")) if module.startswith("fold") else 9
        scores = (number + rows / 1000).astype(np.float32)
        return heads.index.iloc[rows].assign(**dict.fromkeys(LOGIT_COLUMNS, scores))


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(monkeypatch)


def test_each_slice_is_predicted_once(watched: Watched, prepared: Path, tmp_path: Path) -> None:
    scored = pd.read_parquet(crossvalidate(saved(tiny_experiment(prepared), tmp_path), tmp_path))
    assert scored["sop_instance_uid"].tolist() == read_index(prepared)["sop_instance_uid"].tolist()
    assert scored[[f"logit_{label}" for label in LABELS]].notna().all(axis=None)


def test_the_network_that_scores_a_slice_never_saw_its_patient(
    watched: Watched, prepared: Path, tmp_path: Path
) -> None:
    scored = pd.read_parquet(crossvalidate(saved(tiny_experiment(prepared), tmp_path), tmp_path))
    assert len(watched.taught) == 2
    by = scored["logit_any"].astype(int)
    assert (by == scored["fold"]).all()
    for number, part in scored.groupby(by):
        assert not set(part["patient_id"]) & watched.taught[f"fold{number}"]


def test_each_logit_stands_by_its_own_slice(watched: Watched, prepared: Path, tmp_path: Path) -> None:
    scored = pd.read_parquet(crossvalidate(saved(tiny_experiment(prepared), tmp_path), tmp_path))
    np.testing.assert_allclose(scored["logit_any"] - scored["fold"], np.arange(len(scored)) / 1000, atol=1e-5)


class TestLeavingSourcesOut:
    @pytest.fixture
    def experiment(self, prepared: Path, tmp_path: Path) -> Experiment:
        other = prepare_some(tmp_path / "rsna-sample", source="rsna-sample")
        plain = tiny_experiment(prepared, other)
        return replace(plain, data=replace(plain.data, leave_out=(("ct-ich",), ("rsna-sample",))))

    def test_a_network_is_trained_without_each_source_and_scores_it(
        self, watched: Watched, experiment: Experiment, tmp_path: Path
    ) -> None:
        crossvalidate(saved(experiment, tmp_path), tmp_path)
        scored = pd.read_parquet(tmp_path / "tiny" / LEFT_OUT)
        assert (scored["source"] == scored["left_out"]).all()
        assert len(scored) == 120
        for source, part in scored.groupby("left_out"):
            assert not set(part["patient_id"]) & watched.taught[f"without-{source}"]

    def test_a_source_that_is_not_there_is_named_before_anything_is_trained(
        self, watched: Watched, experiment: Experiment, tmp_path: Path
    ) -> None:
        wrong = replace(experiment, data=replace(experiment.data, leave_out=(("rsna",),)))
        with pytest.raises(ExperimentError, match="no slice of the data is of source 'rsna'"):
            crossvalidate(saved(wrong, tmp_path), tmp_path)
        assert not watched.taught

    def test_a_patient_of_two_sources_is_named_before_anything_is_trained(
        self, watched: Watched, prepared: Path, tmp_path: Path
    ) -> None:
        prepare_some(tmp_path / "rsna-train", source="rsna-train")
        same = study("rsna-1", (False, True), source="rsna-sample", patient="patient of ct-ich-01")
        write_prepared([same], tmp_path / "rsna-sample")
        plain = tiny_experiment(prepared, tmp_path / "rsna-train", tmp_path / "rsna-sample")
        shared = replace(plain, data=replace(plain.data, leave_out=(("ct-ich",),)))
        with pytest.raises(SplitError, match="ct-ich-01"):
            crossvalidate(saved(shared, tmp_path), tmp_path)
        assert not watched.taught


def test_an_experiment_with_a_split_of_its_own_is_refused(prepared: Path, tmp_path: Path) -> None:
    plain = tiny_experiment(prepared)
    with_split = replace(plain, data=replace(plain.data, split="split.csv"))
    with pytest.raises(ExperimentError, match="makes its own folds"):
        crossvalidate(saved(with_split, tmp_path), tmp_path)


def test_a_share_of_the_patients_is_learned_from_and_all_are_scored(
    watched: Watched, prepared: Path, tmp_path: Path
) -> None:
    crossvalidate(saved(tiny_experiment(prepared), tmp_path), tmp_path)
    all_of_them = dict(watched.taught)
    plain = tiny_experiment(prepared)
    half = replace(plain, code="half", data=replace(plain.data, learned_share=0.5))
    scored = pd.read_parquet(crossvalidate(saved(half, tmp_path), tmp_path))
    assert len(scored) == len(read_index(prepared))
    for fold, taught in watched.taught.items():
        assert taught < all_of_them[fold]
        assert len(taught) == pytest.approx(len(all_of_them[fold]) / 2, abs=1)


def test_finished_folds_are_not_trained_again(watched: Watched, prepared: Path, tmp_path: Path) -> None:
    file = saved(tiny_experiment(prepared), tmp_path)
    told: list[str] = []
    first = pd.read_parquet(crossvalidate(file, tmp_path, told.append))
    assert told == ["fold0: network 1 of 2", "fold1: network 2 of 2"]
    watched.taught.clear()
    (tmp_path / "tiny" / "fold1" / "held_out.parquet").unlink()
    again = pd.read_parquet(crossvalidate(file, tmp_path))
    assert list(watched.taught) == ["fold1"]
    pd.testing.assert_frame_equal(again, first)


class TestSeveralProcesses:
    @pytest.fixture
    def file(self, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """An experiment of two folds and one source left out; processes do not wait long."""
        monkeypatch.setattr(crossval, "WAIT_S", 0.01)
        other = prepare_some(tmp_path / "rsna-sample", source="rsna-sample")
        plain = tiny_experiment(prepared, other)
        return saved(replace(plain, data=replace(plain.data, leave_out=(("ct-ich",),))), tmp_path)

    def test_they_train_different_parts_at_once_and_all_end_with_the_same_tables(
        self, watched: Watched, file: Path, tmp_path: Path
    ) -> None:
        crossvalidate(file, tmp_path / "alone")
        watched.trained.clear()
        watched.meet = Barrier(2, timeout=20)  # each of the two must be training, or both fail
        with ThreadPoolExecutor(2) as two:
            tables = [two.submit(crossvalidate, file, tmp_path) for _ in range(2)]
        assert sorted(watched.trained) == ["fold0", "fold1", "without-ct-ich"]
        for table in tables:
            found, left_out = table.result(), table.result().with_name(LEFT_OUT)
            for one, alone in ((found, "out_of_fold.parquet"), (left_out, LEFT_OUT)):
                wanted = pd.read_parquet(tmp_path / "alone" / "tiny" / alone)
                pd.testing.assert_frame_equal(pd.read_parquet(one), wanted)

    def test_what_another_holds_is_waited_for_and_taken_up_when_it_is_killed(
        self, watched: Watched, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lock = tmp_path / "tiny" / "fold0" / ".lock"
        lock.parent.mkdir(parents=True)
        holds = f"from filelock import FileLock\nwith FileLock({str(lock)!r}): print(flush=True); input()"
        other = subprocess.Popen(
            [sys.executable, "-c", holds], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert other.stdout is not None
        other.stdout.readline()
        told: list[str] = []

        def kill(sentence: str, *names: object) -> None:
            told.append(sentence % names)
            other.kill()
            other.communicate()

        monkeypatch.setattr(crossval._LOG, "warning", kill)
        crossvalidate(file, tmp_path)
        assert watched.trained == ["fold1", "without-ct-ich", "fold0"]
        assert told == [f"{tmp_path / 'tiny'}: waiting for fold0, in the hands of another process"]

    def test_those_that_share_the_devices_of_one_training_work_in_the_same_folder(
        self, watched: Watched, file: Path, tmp_path: Path
    ) -> None:
        experiment = load_experiment(file)
        several = replace(experiment, training=replace(experiment.training, devices=2))
        (tmp_path / "tiny" / "fold0").mkdir(parents=True)
        with FileLock(tmp_path / "tiny" / "fold0" / ".lock"):
            crossvalidate(saved(several, tmp_path), tmp_path)
        assert watched.trained == ["fold0", "fold1", "without-ct-ich"]


def test_the_table_of_folds_is_there_though_a_source_left_out_cannot_be_learned_without(
    watched: Watched, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = prepare_some(tmp_path / "rsna-sample", source="rsna-sample")
    plain = tiny_experiment(prepared, other)
    file = saved(replace(plain, data=replace(plain.data, leave_out=(("ct-ich",),))), tmp_path)

    def astray(experiment: Experiment, heads: Heads, rows: NDArray[np.int64], folder: Path) -> str:
        if folder.name.startswith("without"):
            raise ExperimentError("training went astray")
        return watched.fit(experiment, heads, rows, folder)

    monkeypatch.setattr(crossval, "fit", astray)
    with pytest.raises(ExperimentError, match="astray"):
        crossvalidate(file, tmp_path)
    assert len(pd.read_parquet(tmp_path / "tiny" / "out_of_fold.parquet")) == 120
    assert not (tmp_path / "tiny" / LEFT_OUT).exists()


def test_a_fold_that_an_older_cruor_scored_without_maps_is_scored_again(
    watched: Watched, prepared: Path, tmp_path: Path
) -> None:
    plain = tiny_experiment(prepared)
    file = saved(replace(plain, network=replace(plain.network, name="blood-map")), tmp_path)
    crossvalidate(file, tmp_path)
    watched.taught.clear()
    older = tmp_path / "tiny" / "fold0" / "held_out.parquet"
    kept = tmp_path / "tiny" / "fold1" / "held_out.parquet"
    with_map = pd.read_parquet(kept)
    with_map.assign(**{MAP_COLUMN: b""}).to_parquet(kept)
    assert MAP_COLUMN not in pd.read_parquet(older)
    crossvalidate(file, tmp_path)
    assert list(watched.taught) == ["fold0"]


def test_a_fold_whose_table_was_half_written_is_trained_again(
    watched: Watched, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = saved(tiny_experiment(prepared), tmp_path)

    def killed(self: pd.DataFrame, path: Path) -> None:
        path.write_bytes(b"half a table")
        raise KeyboardInterrupt

    with monkeypatch.context() as killing, pytest.raises(KeyboardInterrupt):
        killing.setattr(pd.DataFrame, "to_parquet", killed)
        crossvalidate(file, tmp_path)
    watched.taught.clear()
    assert len(pd.read_parquet(crossvalidate(file, tmp_path))) == 60
    assert list(watched.taught) == ["fold0", "fold1"]


def test_a_real_cross_validation_gives_each_fold_its_own_network(
    finished_run: Path, out_of_fold: pd.DataFrame
) -> None:
    assert sorted(out_of_fold["fold"].unique()) == [0, 1]
    checkpoints = [(finished_run / f"fold{number}" / "last.ckpt").read_bytes() for number in (0, 1)]
    assert checkpoints[0] != checkpoints[1]
    assert out_of_fold.groupby("patient_id")["fold"].nunique().max() == 1


def test_the_command_refuses_an_unknown_source_before_it_trains(
    watched: Watched, prepared: Path, tmp_path: Path
) -> None:
    source = read_index(prepared)["source"].iloc[0]
    file = saved(tiny_experiment(prepared), tmp_path)
    asked = ["--together", source, "--together", "nowhere", "--runs", str(tmp_path)]
    told = CliRunner().invoke(app, ["crossval", str(file), *asked])
    assert told.exit_code == 2
    assert "--together nowhere: no such source; there are:" in " ".join(told.stderr.split())
    assert not watched.taught
