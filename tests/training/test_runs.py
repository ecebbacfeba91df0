"""`cruor runs`: what stands in runs/, finished or not, whole or damaged."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from cruor.cli import app
from cruor.training.experiment import Experiment, NetworkSettings, ValidationSettings, save_experiment
from cruor.training.runs import (
    ENERGY_FILE,
    EXPERIMENT_FILE,
    FINISHED_FILE,
    HELD_OUT,
    LEFT_OUT,
    MADE_BY_FILE,
    METRICS_FILE,
    OUT_OF_FOLD,
    PREDICTIONS_FILE,
    read_run,
    roc_auc,
)
from tests.training.samples import tiny_experiment

METRICS = """epoch,learning_rate,validation_loss,validation_roc_auc,validation_balanced_roc_auc
0,0.01,0.9,0.80,0.70
1,0.01,0.5,0.90,0.85
2,0.01,0.4,0.85,0.95
"""
MADE_BY = {"date": "2026-02-03", "commit": "0123456789abcdef0123456789abcdef01234567"}


def begun(runs: Path, code: str = "one", **settings: object) -> Path:
    """A run of which the experiment alone is there, by way of a split."""
    plain = tiny_experiment(Path("prepared"), code=code)
    made = replace(plain, data=replace(plain.data, split="split.csv"))
    return written(replace(made, **settings), runs)


def written(experiment: Experiment, runs: Path) -> Path:
    folder = runs / experiment.code
    folder.mkdir(parents=True)
    save_experiment(experiment, folder / EXPERIMENT_FILE)
    (folder / MADE_BY_FILE).write_text(json.dumps(MADE_BY))
    return folder


def scored(side: str = "test", slices: int = 40) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    labels = (np.arange(slices) % 4 == 0).astype(float)
    return pd.DataFrame({"any": labels, "logit_any": labels + rng.standard_normal(slices), "side": side})


def finished(runs: Path, code: str = "one", **settings: object) -> Path:
    folder = begun(runs, code, **settings)
    (folder / METRICS_FILE).write_text(METRICS)
    (folder / FINISHED_FILE).write_text(json.dumps({"parameters": 16_031_234, "flops_per_slice": 5_100_000}))
    (folder / ENERGY_FILE).write_text(json.dumps({"kwh": 0.25, "kg_co2e": 0.05, "seconds": 7_860.0}))
    pd.concat([scored(), scored("validation", 12)]).to_parquet(folder / PREDICTIONS_FILE)
    return folder


def listed(*arguments: object):
    return CliRunner().invoke(app, ["runs", *map(str, arguments)])


class TestReadRun:
    def test_the_best_epoch_is_by_the_figure_that_the_experiment_names(self, tmp_path: Path) -> None:
        for number, (settings, best, epoch) in enumerate(
            [
                (ValidationSettings(best_by="roc_auc"), 0.90, 2),
                (ValidationSettings(best_by="roc_auc", balance=True), 0.95, 3),
                (ValidationSettings(best_by="loss"), 0.4, 3),
            ]
        ):
            told = read_run(finished(tmp_path, f"run{number}", validation=settings))
            assert (told.best, told.best_epoch) == (best, epoch)

    def test_a_run_of_before_had_one_figure(self, tmp_path: Path) -> None:
        folder = begun(tmp_path, validation=ValidationSettings(best_by="roc_auc", balance=True))
        (folder / METRICS_FILE).write_text("epoch,validation_roc_auc\n0,0.7\n1,0.6\n")
        told = read_run(folder)
        assert (told.best_by, told.best, told.best_epoch) == ("validation_roc_auc", 0.7, 1)

    def test_roc_auc_is_that_of_the_test_side(self, tmp_path: Path) -> None:
        told, test = read_run(finished(tmp_path)), scored()
        assert told.roc_auc == pytest.approx(roc_auc_score(test["any"], test["logit_any"]))
        assert (told.measured_on, told.slices) == ("test", 40)

    def test_a_finished_run_is_said_to_be(self, tmp_path: Path) -> None:
        told = read_run(finished(tmp_path))
        assert (told.state, told.epochs, told.epochs_asked) == ("finished", 3, 2)

    @pytest.mark.parametrize("lost", [PREDICTIONS_FILE, METRICS_FILE])
    def test_a_run_that_was_killed_goes_on_with_the_same_command(self, tmp_path: Path, lost: str) -> None:
        folder = finished(tmp_path)
        (folder / PREDICTIONS_FILE).unlink()
        (folder / lost).unlink(missing_ok=True)
        told = read_run(folder)
        assert told.state == "goes on if run again"
        assert told.roc_auc is None

    def test_a_cross_validation_that_leaves_sources_out_is_done_when_they_are_scored(
        self, tmp_path: Path
    ) -> None:
        plain = tiny_experiment(Path("prepared"), code="folds")
        leaving = replace(plain, data=replace(plain.data, leave_out=(("ct-ich",),)))
        folder = written(leaving, tmp_path)
        for name in ("fold0", "fold1", "without-ct-ich"):
            (folder / name).mkdir()
            (folder / name / ENERGY_FILE).write_text('{"kwh": 0.5, "kg_co2e": 0.1, "seconds": 60}')
        scored().to_parquet(folder / OUT_OF_FOLD)
        assert read_run(folder).state == "goes on if run again"
        scored().to_parquet(folder / LEFT_OUT)
        told = read_run(folder)
        assert (told.state, told.seconds) == ("cross-validated", 180)

    def test_folds_are_counted_until_all_are_there(self, tmp_path: Path) -> None:
        folder = written(tiny_experiment(Path("prepared"), code="folds"), tmp_path)
        (folder / "fold0").mkdir()
        (folder / "fold0" / ENERGY_FILE).write_text('{"kwh": 0.5, "kg_co2e": 0.1, "seconds": 60}')
        (folder / "fold0" / FINISHED_FILE).write_text('{"parameters": 123}')
        (folder / "fold1").mkdir()
        (folder / "fold1" / ENERGY_FILE).write_text('{"kwh": 0.25, "kg_co2e": 0.1, "seconds": 30}')
        scored().to_parquet(folder / "fold0" / HELD_OUT)
        half = read_run(folder)
        assert (half.state, half.folds, half.folds_asked) == ("goes on if run again", 1, 2)
        assert (half.kwh, half.seconds, half.parameters) == (0.75, 90, 123)
        scored().to_parquet(folder / "fold1" / HELD_OUT)
        scored().to_parquet(folder / OUT_OF_FOLD)
        whole = read_run(folder)
        assert (whole.state, whole.folds, whole.measured_on) == ("cross-validated", 2, "out of fold, raw")


@given(st.lists(st.tuples(st.booleans(), st.integers(-3, 3)), min_size=1, max_size=30))
def test_roc_auc_is_that_of_scikit_learn(pairs: list[tuple[bool, int]]) -> None:
    labels, scores = pd.Series([one for one, _ in pairs]), pd.Series([float(one) for _, one in pairs])
    if labels.nunique() < 2:
        assert roc_auc(labels, scores) is None
    else:
        assert roc_auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores))


class TestList:
    def test_every_run_is_listed_within_120_columns(self, tmp_path: Path) -> None:
        finished(tmp_path, "a-code-that-is-long-as-codes-may-be", network=NetworkSettings("timm", "resnet18"))
        begun(tmp_path, "two")
        done = listed("--runs", tmp_path)
        assert done.exit_code == 0
        assert max(map(len, done.stdout.splitlines())) <= 120
        for said in ("timm:resnet18", "3 of 2 epochs", "test, 40 slices", "16 M", "2 h 11 min"):
            assert said in done.stdout
        for said in ("0.25, 0.05", "0123456", "2026-02-03", "goes on if run again"):
            assert said in done.stdout

    def test_a_folder_that_is_no_run_is_named(self, tmp_path: Path) -> None:
        finished(tmp_path)
        (tmp_path / "prepared").mkdir()
        done = listed("--runs", tmp_path)
        assert done.exit_code == 0
        assert "no runs: prepared" in done.stderr

    @pytest.mark.parametrize(
        "file", [METRICS_FILE, FINISHED_FILE, ENERGY_FILE, PREDICTIONS_FILE, MADE_BY_FILE]
    )
    @pytest.mark.parametrize("content", [b"", b"\x00\xff\x80", b'["list"]', b'{"kwh": "much"}'])
    def test_a_damaged_file_is_named_and_the_rest_listed(
        self, tmp_path: Path, file: str, content: bytes
    ) -> None:
        finished(tmp_path, "good")
        damaged = finished(tmp_path, "bad")
        (damaged / file).write_bytes(content)
        done = listed("--runs", tmp_path)
        assert "good" in done.stdout and "bad" in done.stdout
        if content != b'{"kwh": "much"}' or not file.endswith("json"):
            assert done.exit_code == 1
            assert f"{damaged / file}: cannot be read" in done.stderr

    def test_a_damaged_experiment_is_named_and_the_rest_listed(self, tmp_path: Path) -> None:
        finished(tmp_path, "good")
        (finished(tmp_path, "bad") / EXPERIMENT_FILE).write_bytes(b"\xff{")
        done = listed("--runs", tmp_path)
        assert done.exit_code == 1
        assert "good" in done.stdout
        assert str(tmp_path / "bad" / EXPERIMENT_FILE) in done.stderr

    def test_without_a_folder_it_says_so(self, tmp_path: Path) -> None:
        done = listed("--runs", tmp_path / "absent")
        assert done.exit_code == 2
        assert "absent: no such folder" in done.stderr

    def test_json_says_the_same(self, tmp_path: Path) -> None:
        finished(tmp_path)
        begun(tmp_path, "two")
        (tmp_path / "prepared").mkdir()
        told = json.loads(listed("--runs", tmp_path, "--json").stdout)
        assert [run["code"] for run in told["runs"]] == ["one", "two"]
        assert told["runs"][0]["kwh"] == 0.25
        assert told["runs"][1]["roc_auc"] is None
        assert told["no_runs"] == ["prepared"]

    def test_torch_is_not_imported(self, tmp_path: Path) -> None:
        finished(tmp_path)
        code = (
            "import sys; from typer.testing import CliRunner; from cruor.cli import app;"
            "done = CliRunner().invoke(app, ['runs', '--runs', sys.argv[1]]);"
            "sys.exit(done.exit_code or bool({'torch', 'lightning', 'sklearn'} & set(sys.modules)))"
        )
        done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
        assert done.returncode == 0


class TestCompare:
    @pytest.fixture
    def runs(self, tmp_path: Path) -> Path:
        finished(tmp_path, "one")
        other: Callable[..., Path] = finished
        folder = other(tmp_path, "two", network=NetworkSettings("effclass", weights="random"))
        (folder / MADE_BY_FILE).write_text(json.dumps({**MADE_BY, "commit": None}))
        finished(tmp_path, "three")
        return tmp_path

    def test_settings_that_differ_stand_above_the_figures(self, runs: Path) -> None:
        lines = listed("two", "one", "--runs", runs).stdout.splitlines()
        assert lines[0].split() == ["settings", "that", "differ", "two", "one"]
        assert lines[1].split() == ["network.name", "effclass", "lite0"]
        assert not [line for line in lines if line.startswith(("network.weights", "code", "training."))]
        (roc,) = [line.split() for line in lines if line.startswith("ROC-AUC")]
        assert roc[1] == roc[2]
        (commit,) = [line.split() for line in lines if line.startswith("commit")]
        assert commit == ["commit", "-", "0123456"]

    def test_runs_that_are_not_named_are_left_out(self, runs: Path) -> None:
        assert "three" not in listed("two", "one", "--runs", runs).stdout

    def test_a_code_that_is_not_there_is_an_error_that_names_the_nearest(self, runs: Path) -> None:
        done = listed("twoo", "--runs", runs)
        assert done.exit_code == 2
        assert "did you mean 'two'" in done.stderr

    def test_json_has_the_settings_that_differ(self, runs: Path) -> None:
        told = json.loads(listed("two", "one", "--runs", runs, "--json").stdout)
        assert told["differing_settings"] == {"network.name": {"two": "effclass", "one": "lite0"}}
