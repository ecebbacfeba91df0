"""Training, validation and testing of one run (paper, appendix A.3): what each phase leaves behind."""

from __future__ import annotations

import datetime
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from cruor.bundle.model import open_bundle
from cruor.cli import app
from cruor.preprocessing.channels import to_channels
from cruor.training import calibration
from cruor.training import run as training_run
from cruor.training.calibration import PLAIN_HEAD
from cruor.training.data import load_heads
from cruor.training.experiment import (
    Experiment,
    ExperimentError,
    ValidationSettings,
)
from cruor.training.export.evidence import TEST_ORIGIN
from cruor.training.export.export import export_run
from cruor.training.export.writing import BundleName
from cruor.training.loading import HeadsData, without_tiny_batch
from cruor.training.module import SliceModule
from cruor.training.prepare.store import write_prepared
from cruor.training.run import (
    BEST_CHECKPOINT,
    FINISHED_FILE,
    METRICS_FILE,
    PREDICTIONS_FILE,
    experiment_sides,
    predict_slices,
    train,
)
from tests.training.samples import saved, study, tiny_experiment

pytestmark = pytest.mark.filterwarnings("ignore:::lightning")


def split_file(prepared: Path, folder: Path) -> Path:
    """Patients 8 and 9 validate, 10 and 11 test, the others train."""
    index = pd.read_parquet(prepared / "index.parquet")
    patients = sorted(index["patient_id"].unique())
    sides = ["train"] * 8 + ["validation"] * 2 + ["test"] * 2
    file = folder / "split.csv"
    pd.DataFrame({"patient_id": patients, "side": sides}).to_csv(file, index=False)
    return file


@pytest.fixture(scope="module")
def experiment(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    plain = tiny_experiment(prepared)
    split = split_file(prepared, tmp_path_factory.mktemp("split"))
    return replace(plain, data=replace(plain.data, split=str(split)))


@pytest.fixture(scope="module")
def run(experiment: Experiment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phases")
    return train(saved(experiment, folder), folder)


def with_training(experiment: Experiment, **settings: object) -> Experiment:
    return replace(experiment, training=replace(experiment.training, **settings))  # type: ignore[arg-type]


class StoppedError(Exception):
    """Raised where training would begin."""


@pytest.mark.parametrize("split", [True, False])
def test_a_share_of_the_patients_on_the_training_side_teaches_and_the_others_validate_as_before(
    experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split: bool
) -> None:
    rows: list[Any] = []

    def stopped(
        experiment: Experiment, heads: Any, learned: Any, folder: Path, validation: Any = None
    ) -> None:
        rows.extend([heads.index["patient_id"].iloc[learned].nunique(), validation])
        raise StoppedError

    monkeypatch.setattr(training_run, "fit", stopped)
    data = replace(experiment.data, learned_share=0.5, split=experiment.data.split if split else "")
    with pytest.raises(StoppedError):
        train(saved(replace(experiment, code="half", data=data), tmp_path), tmp_path)
    assert rows[0] == (4 if split else 6)
    assert (len(rows[1]) == 10) if split else rows[1] is None


class TestWhatARunLeaves:
    def test_a_row_an_epoch_with_loss_and_accuracy_of_both_sides(self, run: Path) -> None:
        table = pd.read_csv(run / METRICS_FILE)
        assert table["epoch"].tolist() == [0, 1]
        wanted = [f"{side}_{what}" for side in ("train", "validation") for what in ("loss", "accuracy")]
        assert table[[*wanted, "validation_roc_auc", "learning_rate"]].notna().all(axis=None)

    def test_validation_is_measured_both_ways(self, run: Path, experiment: Experiment) -> None:
        (best,) = [torch.load(run / BEST_CHECKPOINT, weights_only=True)["epoch"]]
        row = pd.read_csv(run / METRICS_FILE).set_index("epoch").loc[best]
        scored = pd.read_parquet(run / PREDICTIONS_FILE)
        scored = scored[scored["side"] == "validation"]
        heads = load_heads(experiment.data, experiment.input)
        data = HeadsData(heads, np.arange(40), experiment, np.arange(40, 50))
        for name, part in (("validation", scored), ("validation_balanced", scored.loc[data.balanced_rows])):
            right = (part["logit_any"] > 0) == (part["any"] == 1)
            assert row[f"{name}_accuracy"] == pytest.approx(right.mean())
            auc = roc_auc_score(part["any"], part["logit_any"])
            assert row[f"{name}_roc_auc"] == pytest.approx(auc)
        assert len(data.balanced_rows) < 10

    @pytest.mark.parametrize(
        ("balance", "watched"), [(True, "validation_balanced_loss"), (False, "validation_loss")]
    )
    def test_the_best_epoch_is_that_of_the_figure_asked_for(
        self,
        experiment: Experiment,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        balance: bool,
        watched: str,
    ) -> None:
        def told(self: SliceModule) -> None:
            figures = {"validation_loss": (1.0, 2.0), "validation_balanced_loss": (2.0, 1.0)}
            for name, values in figures.items():
                self.log(name, values[self.current_epoch], batch_size=1)

        monkeypatch.setattr(SliceModule, "on_validation_epoch_end", told)
        asked = replace(experiment, validation=ValidationSettings(balance=balance, best_by="loss"))
        folder = train(saved(asked, tmp_path), tmp_path)
        best = torch.load(folder / BEST_CHECKPOINT, weights_only=True)["epoch"]
        logged = pd.read_csv(folder / METRICS_FILE).set_index("epoch")[watched]
        assert best == logged.idxmin()

    def test_the_best_weights_beside_the_last(self, run: Path) -> None:
        assert (run / BEST_CHECKPOINT).exists()

    def test_events_for_tensorboard(self, run: Path) -> None:
        assert list((run / "tensorboard").rglob("events.out.tfevents.*"))

    def test_logits_of_every_slice_that_was_held_out_and_of_no_other(
        self, run: Path, experiment: Experiment
    ) -> None:
        scored = pd.read_parquet(run / PREDICTIONS_FILE)
        assert scored["side"].value_counts().to_dict() == {"validation": 10, "test": 10}
        split = pd.read_csv(experiment.data.split).set_index("patient_id")["side"]
        assert (scored["patient_id"].map(split) == scored["side"]).all()
        assert np.isfinite(scored["logit_any"]).all()

    def test_what_cruor_runs_lists(self, run: Path) -> None:
        listed = CliRunner().invoke(app, ["runs", "--runs", str(run.parent), "--json"])
        assert listed.exit_code == 0, listed.output
        (told,) = json.loads(listed.stdout)["runs"]
        scored = pd.read_parquet(run / PREDICTIONS_FILE)
        test = scored[scored["side"] == "test"]
        assert (told["code"], told["state"], told["epochs"]) == ("tiny", "finished", 2)
        assert told["roc_auc"] == pytest.approx(roc_auc_score(test["any"], test["logit_any"]))
        assert told["seconds"] > 0 and told["kwh"] > 0 and told["parameters"] > 1_000_000
        assert told["date"] == datetime.datetime.now(datetime.UTC).date().isoformat()

    def test_the_papers_table_of_the_test_side_at_the_thresholds_asked_for(
        self, run: Path, experiment: Experiment
    ) -> None:
        for draw in ("natural", "balanced"):
            table = pd.read_csv(run / f"table1_{draw}.csv")
            assert table["TH"].tolist() == list(experiment.testing.thresholds)
            assert {"ACC", "TPR", "TNR", "PPV", "NPV", "PR", "ROC"} <= set(table)

    def test_a_run_killed_before_its_predictions_makes_them_without_training(
        self, run: Path, experiment: Experiment, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = pd.read_parquet(run / PREDICTIONS_FILE)
        (run / PREDICTIONS_FILE).unlink()
        monkeypatch.setattr(SliceModule, "training_step", None)
        train(saved(experiment, run.parent), run.parent)
        pd.testing.assert_frame_equal(pd.read_parquet(run / PREDICTIONS_FILE), before)


class TestSides:
    def test_a_side_that_the_split_does_not_have_is_named(self, experiment: Experiment) -> None:
        wrong = replace(experiment, data=replace(experiment.data, test_side="tset"))
        with pytest.raises(ExperimentError, match="side 'tset'"):
            experiment_sides(wrong, load_heads(wrong.data, wrong.input).index)

    def test_a_training_side_without_hemorrhage_is_refused(
        self, experiment: Experiment, tmp_path: Path
    ) -> None:
        split = pd.read_csv(experiment.data.split)
        bleeding = split["patient_id"].str[-2:].astype(int) % 2 == 1
        file = tmp_path / "split.csv"
        split.assign(side=np.where(bleeding, "test", split["side"])).to_csv(file, index=False)
        wrong = replace(experiment, data=replace(experiment.data, split=str(file)))
        with pytest.raises(ExperimentError, match="no slice with hemorrhage is left to train on"):
            experiment_sides(wrong, load_heads(wrong.data, wrong.input).index)

    def test_a_run_does_not_start_with_a_patient_on_two_sides(
        self, experiment: Experiment, tmp_path: Path
    ) -> None:
        split = pd.read_csv(experiment.data.split)
        twice = split[split["side"] == "test"].assign(side="train")
        file = tmp_path / "split.csv"
        pd.concat([split, twice]).to_csv(file, index=False)
        wrong = replace(experiment, data=replace(experiment.data, split=str(file)))
        started = CliRunner().invoke(app, ["train", str(saved(wrong, tmp_path)), "--runs", str(tmp_path)])
        assert started.exit_code == 2
        assert "patients on two sides: patient of ct-ich-10, patient of ct-ich-11" in started.stderr
        assert not list(tmp_path.rglob("*.ckpt"))

    def test_a_validation_side_of_one_kind_of_slices_is_refused(
        self, experiment: Experiment, tmp_path: Path
    ) -> None:
        split = pd.read_csv(experiment.data.split)
        bleeding = split["patient_id"] == "patient of ct-ich-09"
        file = tmp_path / "split.csv"
        split.assign(side=np.where(bleeding, "test", split["side"])).to_csv(file, index=False)
        wrong = replace(experiment, data=replace(experiment.data, split=str(file)))
        with pytest.raises(ExperimentError, match="'validation' needs slices with and without hemorrhage"):
            experiment_sides(wrong, load_heads(wrong.data, wrong.input).index)

    def test_other_sides_than_those_two_are_trained_on(self, experiment: Experiment) -> None:
        folds = replace(experiment, data=replace(experiment.data, validation_side=""))
        sides = experiment_sides(folds, load_heads(folds.data, folds.input).index)
        assert dict(zip(*np.unique(sides, return_counts=True), strict=True)) == {"test": 10, "train": 50}


class TestDrawing:
    def test_drawn_once_every_epoch_has_the_same_slices_in_another_order(
        self, experiment: Experiment
    ) -> None:
        once = with_training(experiment, draw="once")
        heads = load_heads(once.data, once.input)
        data = HeadsData(heads, np.arange(40), once)
        first, second = data.epoch_rows(0), data.epoch_rows(1)
        assert sorted(first) == sorted(second)
        assert first.tolist() != second.tolist()

    @pytest.mark.parametrize(
        "slices, kept", [(4, 4), (32, 32), (47, 32), (48, 48), (64, 64), (65, 64), (10, 10)]
    )
    def test_a_last_batch_of_under_half_the_size_is_left_out(self, slices: int, kept: int) -> None:
        assert len(without_tiny_batch(np.arange(slices), 32)) == kept

    def test_balanced_validation_has_as_many_slices_of_each_kind(self, experiment: Experiment) -> None:
        heads = load_heads(experiment.data, experiment.input)
        data = HeadsData(heads, np.arange(40), experiment, np.arange(40, 50))
        assert heads.labels[data.balanced_rows, 0].tolist().count(1.0) == 3
        assert heads.labels[data.balanced_rows, 0].tolist().count(0.0) == 3
        balanced = [bool(one) for *_, one in data.val_dataloader().dataset]
        assert np.arange(40, 50)[balanced].tolist() == sorted(data.balanced_rows)


class TestOptimizing:
    @pytest.mark.parametrize(
        ("name", "kind"),
        [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)],
    )
    def test_the_named_optimizer_is_used(
        self, experiment: Experiment, name: str, kind: type[torch.optim.Optimizer]
    ) -> None:
        module = SliceModule(with_training(experiment, optimizer=name), steps_per_epoch=1)
        assert type(module.configure_optimizers()["optimizer"]) is kind

    def test_the_papers_step_lr_takes_six_tenths_every_second_epoch(self, experiment: Experiment) -> None:
        paper = with_training(experiment, optimizer="sgd", learning_rate=0.01, scheduler="step")
        configured = SliceModule(paper, steps_per_epoch=5).configure_optimizers()
        schedule = configured["lr_scheduler"]
        assert schedule["interval"] == "epoch"
        rates = []
        for _ in range(5):
            rates.append(configured["optimizer"].param_groups[0]["lr"])
            configured["optimizer"].step()
            schedule["scheduler"].step()
        assert rates == pytest.approx([0.01, 0.01, 0.006, 0.006, 0.0036])

    @pytest.mark.parametrize("name", ["cosine", "one-cycle"])
    def test_schedules_by_step_end_near_nothing(self, experiment: Experiment, name: str) -> None:
        configured = SliceModule(with_training(experiment, scheduler=name), 5).configure_optimizers()
        assert configured["lr_scheduler"]["interval"] == "step"
        for _ in range(5 * experiment.training.epochs - 1):
            configured["optimizer"].step()
            configured["lr_scheduler"]["scheduler"].step()
        assert configured["optimizer"].param_groups[0]["lr"] < 0.1 * experiment.training.learning_rate

    @pytest.mark.parametrize("settings", [{"precision": "bf16"}, {"accumulate_batches": 2}])
    def test_a_run_goes_through_with(
        self, experiment: Experiment, settings: dict[str, object], tmp_path: Path
    ) -> None:
        changed = with_training(experiment, epochs=1, **settings)
        folder = train(saved(changed, tmp_path), tmp_path)
        assert np.isfinite(pd.read_csv(folder / METRICS_FILE)["train_loss"]).all()

    def test_batches_are_gathered_into_one_step(self, experiment: Experiment, tmp_path: Path) -> None:
        gathered = with_training(experiment, epochs=1, batch_size=6, accumulate_batches=4)
        folder = train(saved(gathered, tmp_path), tmp_path)
        checkpoint = torch.load(folder / "last.ckpt", weights_only=True)
        assert checkpoint["global_step"] == 1


def test_training_stops_early_after_epochs_without_a_better_one(
    experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_better(self: SliceModule) -> None:
        self.log("validation_loss", torch.tensor(1.0), on_epoch=True, batch_size=1)

    monkeypatch.setattr(SliceModule, "on_validation_epoch_end", no_better)
    still = replace(with_training(experiment, epochs=6), validation=ValidationSettings(patience=2))
    folder = train(saved(still, tmp_path), tmp_path)
    assert len(pd.read_csv(folder / METRICS_FILE)) == 3
    assert json.loads((folder / FINISHED_FILE).read_text())["epochs"] == 3


def test_two_processes_train_one_network_and_share_its_epochs(experiment: Experiment, tmp_path: Path) -> None:
    file = saved(with_training(experiment, epochs=1, devices=2), tmp_path)
    command = [sys.executable, "-m", "cruor", "train", str(file), "--runs", str(tmp_path)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "tiny"
    assert len(pd.read_csv(folder / METRICS_FILE)) == 1
    assert len(pd.read_parquet(folder / PREDICTIONS_FILE)) == 20
    # 12 positives and as many negatives, 12 slices a process, 18 a batch: one step.
    assert torch.load(folder / "last.ckpt", weights_only=True)["global_step"] == 1


def test_a_run_with_a_split_becomes_a_bundle_measured_on_its_test_side(
    run: Path, experiment: Experiment, tmp_path: Path
) -> None:
    export_run(run, tmp_path / "bundle", BundleName("tiny", "1"), "int8")
    bundle = open_bundle(str(tmp_path / "bundle"))
    manifest = bundle.manifest
    assert manifest.made_by["test_side"] == "test"
    assert {figure.origin for figure in manifest.figures} == {TEST_ORIGIN}
    (auc,) = [figure for figure in manifest.figures if figure.name == "slice.roc_auc[all]"]
    assert auc.cases == "10 slices (3 positive), 2 patients"
    # One study of each kind validates: too few for a study head.
    assert manifest.study_head == PLAIN_HEAD
    card = (tmp_path / "bundle" / "README.md").read_text(encoding="utf-8")
    assert f"`cruor export runs/{run.name} tiny --version 1 --weights int8`" in card
    assert "test side" in card
    assert "out of fold" not in card
    scored = pd.read_parquet(run / PREDICTIONS_FILE)
    heads = load_heads(experiment.data, experiment.input)
    place = {uid: row for row, uid in enumerate(heads.index["sop_instance_uid"])}
    rows = [place[uid] for uid in scored["sop_instance_uid"]]
    logits, _ = bundle.run(to_channels(heads.crops.hu[rows].astype(np.float32), experiment.input))
    np.testing.assert_allclose(logits[:, 0], scored["logit_any"], atol=0.1)


class TestWhatBecomesNoBundle:
    @pytest.fixture
    def copied(self, run: Path, tmp_path: Path) -> Path:
        return Path(shutil.copytree(run, tmp_path / "run"))

    def rescored(self, run: Path, **columns: object) -> None:
        scored = pd.read_parquet(run / PREDICTIONS_FILE)
        scored.assign(**columns).to_parquet(run / PREDICTIONS_FILE)  # type: ignore[arg-type]

    def refused(self, run: Path, folder: Path, said: str) -> None:
        with pytest.raises(ExperimentError, match=said):
            export_run(run, folder, BundleName("tiny", "1"))
        assert not folder.exists()

    def test_a_network_that_ranks_held_out_slices_the_wrong_way_round(
        self, copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(calibration, "FEWEST_OF_A_CLASS", 1)
        scored = pd.read_parquet(copied / PREDICTIONS_FILE)
        self.rescored(copied, logit_any=-scored["any"] + 0.1 * np.arange(len(scored)) / len(scored))
        self.refused(copied, tmp_path / "bundle", "output 'any'.*has learned nothing")

    def test_a_side_without_complete_studies_of_both_kinds(self, copied: Path, tmp_path: Path) -> None:
        self.rescored(copied, complete_series=False)
        self.refused(copied, tmp_path / "bundle", "validation: no complete study with hemorrhage")

    def test_logits_that_are_no_numbers(self, experiment: Experiment) -> None:
        module = SliceModule(experiment, steps_per_epoch=1).eval()
        torch.nn.init.constant_(module.network.get_submodule("linear").bias, float("nan"))
        heads = load_heads(experiment.data, experiment.input)
        with pytest.raises(ExperimentError, match="no number for a slice"):
            predict_slices(module, heads, np.arange(3))


def test_data_without_hemorrhage_do_not_use_up_the_code(tmp_path: Path) -> None:
    quiet = write_quiet(tmp_path / "quiet")
    with pytest.raises(ExperimentError, match="no slice of the data has hemorrhage"):
        train(saved(tiny_experiment(quiet), tmp_path), tmp_path)
    assert not (tmp_path / "tiny").exists()


def write_quiet(folder: Path) -> Path:
    write_prepared([study("quiet", (False,) * 5)], folder)
    return folder
