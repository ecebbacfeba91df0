"""`cruor.training.run`: a run goes on after a kill as if nothing had been, and is never overwritten."""

from __future__ import annotations

import importlib.metadata
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from filelock import FileLock
from torch import Tensor

from cruor.training import run
from cruor.training.crossval import crossvalidate
from cruor.training.data import Heads, load_heads
from cruor.training.experiment import (
    DataSettings,
    Experiment,
    ExperimentError,
    NetworkSettings,
    load_experiment,
)
from cruor.training.loading import HeadsData
from cruor.training.map_column import MAP_COLUMN, unpack_maps
from cruor.training.module import SliceModule
from cruor.training.prepare.store import write_prepared
from cruor.training.run import (
    EXPERIMENT_FILE,
    FINISHED_FILE,
    LAST_CHECKPOINT,
    LOGIT_COLUMNS,
    MADE_BY_FILE,
    METRICS_FILE,
    PREDICTIONS_FILE,
    fit,
    open_run,
    predict_slices,
    provenance,
    train,
)
from tests.training.samples import as_pictures, saved, study, tiny_experiment

pytestmark = pytest.mark.filterwarnings("ignore:::lightning")

KILLED_IN_THE_SECOND_EPOCH = """
import os, signal, sys
from pathlib import Path
from cruor.training.loading import HeadsData
from cruor.training.module import SliceModule
from cruor.training.run import train

step = SliceModule.training_step

def deadly(self, batch, batch_index):
    if self.current_epoch == 1 and batch_index == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, batch, batch_index)

SliceModule.training_step = deadly
train(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def weights(run: Path) -> dict[str, Tensor]:
    state: dict[str, Tensor] = torch.load(run / LAST_CHECKPOINT, weights_only=True)["state_dict"]
    return state


def changed_step(monkeypatch: pytest.MonkeyPatch, before: Callable[[int, int], None]) -> None:
    """Let `before(epoch, step)` be called ahead of each step of training."""
    step = SliceModule.training_step

    def watched(self: SliceModule, batch: tuple[Tensor, Tensor, Tensor], batch_index: int) -> Tensor:
        before(self.current_epoch, batch_index)
        return step(self, batch, batch_index)

    monkeypatch.setattr(SliceModule, "training_step", watched)


@pytest.fixture(scope="module")
def experiment(prepared: Path) -> Experiment:
    return tiny_experiment(prepared)


@pytest.fixture(scope="module")
def unbroken(experiment: Experiment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken")
    return train(saved(experiment, folder), folder)


class TestResuming:
    def test_a_killed_run_started_again_ends_with_the_weights_of_an_unbroken_one(
        self, experiment: Experiment, unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = saved(experiment, tmp_path)
        command = [sys.executable, "-c", KILLED_IN_THE_SECOND_EPOCH, str(file), str(tmp_path)]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
        killed = subprocess.run(command, env=environment, capture_output=True, check=False)
        assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
        assert not (tmp_path / "tiny" / FINISHED_FILE).exists()
        steps: list[tuple[int, int]] = []
        changed_step(monkeypatch, lambda *step: steps.append(step))
        resumed, whole = weights(train(file, tmp_path)), weights(unbroken)
        assert steps == [(1, 0), (1, 1)]
        assert resumed.keys() == whole.keys()
        assert not [name for name in whole if not torch.equal(resumed[name], whole[name])]

    def test_slices_read_from_disk_by_processes_train_the_same_weights_killed_or_not(
        self, experiment: Experiment, unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        data = replace(experiment.data, in_memory=False, workers=2)
        file = saved(replace(experiment, data=data), tmp_path)
        command = [sys.executable, "-c", KILLED_IN_THE_SECOND_EPOCH, str(file), str(tmp_path)]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
        killed = subprocess.run(command, env=environment, capture_output=True, check=False)
        assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
        resumed, whole = weights(train(file, tmp_path)), weights(unbroken)
        assert not [name for name in whole if not torch.equal(resumed[name], whole[name])]

    def test_an_interrupted_run_is_not_finished(
        self, experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupt(epoch: int, step: int) -> None:
            raise KeyboardInterrupt

        changed_step(monkeypatch, interrupt)
        handler = signal.getsignal(signal.SIGINT)
        try:
            with pytest.raises((KeyboardInterrupt, SystemExit)):
                train(saved(experiment, tmp_path), tmp_path)
        finally:
            signal.signal(signal.SIGINT, handler)  # Lightning turns it off
        assert not (tmp_path / "tiny" / FINISHED_FILE).exists()

    def test_a_run_killed_after_its_last_epoch_is_finished_without_another_step(
        self, experiment: Experiment, unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = open_run(experiment, tmp_path)
        for file in (LAST_CHECKPOINT, METRICS_FILE):
            (run / file).write_bytes((unbroken / file).read_bytes())
        steps: list[tuple[int, int]] = []
        changed_step(monkeypatch, lambda *step: steps.append(step))
        train(saved(experiment, tmp_path), tmp_path)
        assert steps == []
        assert (run / FINISHED_FILE).exists()


class TestRunFolder:
    def test_a_finished_code_is_never_overwritten(self, experiment: Experiment, unbroken: Path) -> None:
        file = saved(experiment, unbroken.parent)
        before = {path: path.stat().st_mtime_ns for path in unbroken.rglob("*")}
        with pytest.raises(ExperimentError, match=r"finished and never overwritten.*another code"):
            train(file, unbroken.parent)
        assert {path: path.stat().st_mtime_ns for path in unbroken.rglob("*")} == before

    def test_what_another_process_trains_is_refused_and_left_alone(
        self, experiment: Experiment, tmp_path: Path
    ) -> None:
        file = saved(experiment, tmp_path)
        folder = open_run(load_experiment(file), tmp_path)
        with (
            FileLock(folder / "train.lock"),
            pytest.raises(ExperimentError, match="another process trains"),
        ):
            train(file, tmp_path)
        assert not (folder / LAST_CHECKPOINT).exists()
        train(file, tmp_path)
        assert (folder / LAST_CHECKPOINT).exists()

    def test_what_another_process_finished_meanwhile_is_left_alone(
        self, experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = saved(experiment, tmp_path)
        last_file = PREDICTIONS_FILE if experiment.data.split else FINISHED_FILE

        def read_while_another_finishes(*settings: Any) -> Heads:
            (open_run(load_experiment(file), tmp_path) / last_file).write_text("of another")
            return load_heads(*settings)

        monkeypatch.setattr(run, "load_heads", read_while_another_finishes)
        with pytest.raises(ExperimentError, match="finished and never overwritten"):
            train(file, tmp_path)
        assert (tmp_path / experiment.code / last_file).read_text() == "of another"

    def test_another_experiment_of_the_same_code_is_refused(
        self, experiment: Experiment, tmp_path: Path
    ) -> None:
        open_run(experiment, tmp_path)
        other = replace(experiment, training=replace(experiment.training, seed=2))
        with pytest.raises(ExperimentError, match="another experiment of this code"):
            train(saved(other, tmp_path), tmp_path)
        assert load_experiment(tmp_path / "tiny" / EXPERIMENT_FILE) == experiment

    @pytest.mark.parametrize("command", [train, crossvalidate])
    def test_pictures_that_the_crop_would_take_for_heads_are_refused_with_what_to_do(
        self, experiment: Experiment, tmp_path: Path, command: Callable[..., Path]
    ) -> None:
        write_prepared([as_pictures(study("a", (True, False)))], tmp_path / "pictures")
        pictures = replace(experiment, data=DataSettings((str(tmp_path / "pictures"),)))
        with pytest.raises(ExperimentError, match=r"^.*\.yaml: ct-ich: pictures .*area: shown-head"):
            command(saved(pictures, tmp_path), tmp_path)
        assert not (tmp_path / "tiny").exists()

    @pytest.mark.parametrize(
        "wrong",
        [
            {"network": NetworkSettings(name="lite1", weights="random")},
            {"data": DataSettings(("absent",))},
            {"data": DataSettings(("absent",), split="absent.csv")},
        ],
    )
    @pytest.mark.parametrize("command", [train, crossvalidate])
    def test_an_experiment_that_cannot_start_does_not_use_up_its_code(
        self, experiment: Experiment, tmp_path: Path, wrong: dict[str, Any], command: Callable[..., Path]
    ) -> None:
        with pytest.raises((ExperimentError, OSError)):
            command(saved(replace(experiment, **wrong), tmp_path), tmp_path)
        assert not (tmp_path / "tiny").exists()

    def test_the_same_experiment_finds_its_folder_again(self, experiment: Experiment, tmp_path: Path) -> None:
        run = open_run(experiment, tmp_path)
        first = (run / MADE_BY_FILE).read_bytes()
        assert open_run(experiment, tmp_path) == run
        assert (run / MADE_BY_FILE).read_bytes() == first

    def test_what_made_the_run_stands_in_it_before_the_experiment(
        self, experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def killed() -> dict[str, object]:
            raise KeyboardInterrupt

        monkeypatch.setattr("cruor.training.run.provenance", killed)
        with pytest.raises(KeyboardInterrupt):
            open_run(experiment, tmp_path)
        assert not (tmp_path / "tiny" / EXPERIMENT_FILE).exists()

    def test_made_by_names_commit_and_versions(self, unbroken: Path) -> None:
        made_by = json.loads((unbroken / MADE_BY_FILE).read_text())
        assert made_by["packages"]["torch"] == importlib.metadata.version("torch")
        assert {"cruor", "timm", "lightning", "numpy"} <= set(made_by["packages"])
        assert made_by["commit"] is None or len(made_by["commit"]) == 40
        assert made_by["python"] == ".".join(map(str, sys.version_info[:3]))

    def test_the_commit_is_that_of_the_code(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        root = Path(__file__).parents[2]
        if not (root / ".git").exists():
            pytest.skip("the code stands in no git repository")
        told = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=True
        )
        monkeypatch.chdir(tmp_path)
        assert provenance()["commit"] == told.stdout.strip()

    def test_code_that_was_changed_since_its_commit_is_said_to_be(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        told = {"rev-parse": "0" * 40, "status": " M src/cruor/training/run.py"}
        monkeypatch.setattr(run, "_git", lambda command, *rest: told[command])
        assert provenance()["changed_since_commit"] is True
        told["status"] = ""
        assert provenance()["changed_since_commit"] is False

    def test_without_git_the_commit_is_unknown(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "")
        assert provenance()["commit"] is None


class TestEpochs:
    def test_each_epoch_draws_other_negatives_and_every_positive(self, experiment: Experiment) -> None:
        heads = load_heads(experiment.data, experiment.input)
        data = HeadsData(heads, np.arange(len(heads.index)), experiment)
        first, second = set(data.epoch_rows(0).tolist()), set(data.epoch_rows(1).tolist())
        positive = set(np.flatnonzero(heads.labels[:, 0] == 1).tolist())
        assert positive <= first & second
        assert first != second

    def test_every_epoch_has_as_many_steps_as_the_schedule_counts(self, unbroken: Path) -> None:
        checkpoint = torch.load(unbroken / LAST_CHECKPOINT, weights_only=True)
        (schedule,) = checkpoint["lr_schedulers"]
        assert (checkpoint["global_step"], schedule["total_steps"]) == (4, 4)


class TestPredicting:
    def test_logits_come_in_the_order_of_the_rows_and_without_chance(self, experiment: Experiment) -> None:
        heads = load_heads(experiment.data, experiment.input)
        module = SliceModule(experiment, steps_per_epoch=1).eval()
        rows = np.array([7, 1, 33])
        said = predict_slices(module, heads, rows)
        assert said["sop_instance_uid"].tolist() == heads.index["sop_instance_uid"].iloc[rows].tolist()
        alone = predict_slices(module, heads, rows[1:2])[LOGIT_COLUMNS].to_numpy()
        np.testing.assert_allclose(said[LOGIT_COLUMNS].to_numpy()[1], alone[0], atol=1e-5)

    def test_a_map_of_blood_is_measured_beside_the_drawing(self, experiment: Experiment) -> None:
        of_blood = replace(experiment, network=replace(experiment.network, name="blood-map"))
        heads = load_heads(of_blood.data, of_blood.input)
        module = SliceModule(of_blood, steps_per_epoch=1).eval()
        bias = module.network.get_submodule("pixels.5").bias
        torch.nn.init.constant_(bias, 99.0)  # type: ignore[arg-type]  # every cell is blood
        said = predict_slices(module, heads, np.arange(len(heads.index)))
        assert (said["blood_share"] == 1).all()
        assert (said["drawn_share"][said["any"] == 0] == 0).all()
        assert (unpack_maps(said[MAP_COLUMN]) == np.ones((len(said), 8, 8))).all()
        drawn = said["drawn_share"][said["any"] == 1]
        assert drawn.between(0.01, 0.2).all()

    def test_each_slice_has_its_own_map(self, experiment: Experiment) -> None:
        of_blood = replace(experiment, network=replace(experiment.network, name="blood-map"))
        heads = load_heads(of_blood.data, of_blood.input)
        module = SliceModule(of_blood, steps_per_epoch=1).eval()
        rows = np.arange(len(heads.index))
        forth, back = (
            unpack_maps(predict_slices(module, heads, some)[MAP_COLUMN]) for some in (rows, rows[::-1])
        )
        np.testing.assert_allclose(back[::-1], forth, atol=1e-5)
        assert np.ptp(forth, axis=0).max() > 1e-4

    def test_logits_of_slices_on_disk_are_the_same_to_the_bit(self, experiment: Experiment) -> None:
        rows = np.arange(25)
        memory = load_heads(experiment.data, experiment.input)
        module = SliceModule(experiment, steps_per_epoch=1).eval()
        wanted = predict_slices(module, memory, rows)
        reading = replace(experiment, data=replace(experiment.data, in_memory=False, workers=2))
        module.experiment = reading
        read = predict_slices(module, load_heads(reading.data, reading.input), rows)
        pd.testing.assert_frame_equal(read, wanted)

    def test_a_trained_module_comes_back_ready_to_predict(
        self, experiment: Experiment, unbroken: Path
    ) -> None:
        heads = load_heads(experiment.data, experiment.input)
        module = fit(experiment, heads, np.arange(len(heads.index)), unbroken)
        assert not module.network.training
        torch.testing.assert_close(module.state_dict(), weights(unbroken))
