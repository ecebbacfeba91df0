"""`cruor.training.export.export`: the bundle is the networks that were trained."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
import torch

from cruor.bundle.model import MODEL_FILE, Bundle, open_bundle
from cruor.training.experiment import Experiment, ExperimentError, save_experiment
from cruor.training.explain.explainer import open_explainer
from cruor.training.explain.rebuild import check_against_graph
from cruor.training.export.export import export_run
from cruor.training.export.writing import BundleName
from cruor.training.graph import LARGE_FROM, load_network
from cruor.training.networks.lite0 import Lite0
from cruor.training.run import EXPERIMENT_FILE, FINISHED_FILE, MADE_BY_FILE
from cruor.training.runs import OUT_OF_FOLD
from tests.training.export.reading import generated_channels, mean_of_differing, rounded, run_all
from tests.training.samples import few_draws

pytestmark = pytest.mark.filterwarnings("ignore:::lightning")


MOST_BYTES = 20_000_000


@pytest.mark.parametrize("slices", [1, 2, 5])
def test_the_graph_is_the_network_with_its_weights_rounded_to_half(
    slices: int, network: Lite0, bundle: Bundle, exported: Path
) -> None:
    channels = generated_channels(slices, bundle.manifest.input)
    with torch.inference_mode():
        wanted = rounded(network, exported / MODEL_FILE).logits_and_maps(torch.tensor(channels))
    for ours, theirs in zip(run_all(bundle, channels), wanted, strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=0, atol=2e-4)


def test_rounding_changes_a_logit_by_less_than_a_hundredth(network: Lite0, bundle: Bundle) -> None:
    channels = generated_channels(4, bundle.manifest.input)
    with torch.inference_mode():
        wanted = network(torch.tensor(channels)).numpy()
    np.testing.assert_allclose(run_all(bundle, channels)[0], wanted, rtol=0, atol=0.02)


def test_each_slice_of_a_batch_is_read_by_itself(bundle: Bundle) -> None:
    channels = generated_channels(3, bundle.manifest.input)
    together, _ = run_all(bundle, channels)
    alone = np.concatenate([run_all(bundle, channels[i : i + 1])[0] for i in range(3)])
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-5)


def test_large_weights_are_kept_in_half_and_the_graph_is_below_20_mb(exported: Path) -> None:
    model = onnx.load(str(exported / MODEL_FILE))
    floats = [one for one in model.graph.initializer if one.data_type == onnx.TensorProto.FLOAT]
    assert floats and all(math.prod(one.dims) < LARGE_FROM for one in floats)
    assert (exported / MODEL_FILE).stat().st_size < MOST_BYTES


def test_the_bundle_opens_and_says_what_it_is(bundle: Bundle, finished_experiment: Experiment) -> None:
    assert bundle.label == "tiny 0.0.1"
    assert bundle.manifest.input == finished_experiment.input
    assert bundle.manifest.rules.slice_threshold == 0.8


def test_the_manifest_is_json_that_anyone_can_read(exported: Path) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    json.loads((exported / "manifest.json").read_text(), parse_constant=refuse)


def test_the_manifest_names_what_made_it(bundle: Bundle, finished_run: Path) -> None:
    made_by = bundle.manifest.made_by
    assert made_by["run"] == finished_run.name
    assert made_by["commit"] == json.loads((finished_run / MADE_BY_FILE).read_text())["commit"]
    assert (made_by["seed"], made_by["folds"]) == (1, 2)


@pytest.mark.parametrize(
    ("missing", "command"), [("out_of_fold.parquet", "crossval"), (FINISHED_FILE, "train")]
)
def test_a_run_that_is_not_trained_and_cross_validated_is_refused(
    missing: str, command: str, finished_run: Path, tmp_path: Path
) -> None:
    for name in {EXPERIMENT_FILE, FINISHED_FILE, "out_of_fold.parquet"} - {missing}:
        (tmp_path / name).write_bytes((finished_run / name).read_bytes())
    with pytest.raises(ExperimentError, match=rf"no {missing}; run `cruor {command}`"):
        export_run(tmp_path, tmp_path / "bundle", BundleName("x", "1"))
    assert not (tmp_path / "bundle").exists()


@pytest.fixture(scope="module")
def together(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The networks of the folds, of a run that was never trained on all of its data."""
    run = tmp_path_factory.mktemp("folds")
    names = [EXPERIMENT_FILE, MADE_BY_FILE, OUT_OF_FOLD, *(f"fold{fold}/last.ckpt" for fold in range(2))]
    for name in names:
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).write_bytes((finished_run / name).read_bytes())
    with few_draws():
        return export_run(run, run / "bundle", BundleName("tiny", "0.0.1"), folds=2)


class TestNetworksOfTheFolds:
    def test_it_comes_out_of_its_bundle_again(self, together: Path) -> None:
        explainer = open_explainer(str(together))
        channels = generated_channels(2, explainer.bundle.manifest.input)
        assert check_against_graph(explainer.network, explainer.bundle, channels) < 1e-3

    def test_the_bundle_gives_the_mean_of_what_they_say(
        self, together: Path, finished_run: Path, finished_experiment: Experiment
    ) -> None:
        bundle = open_bundle(str(together))
        channels = generated_channels(3, bundle.manifest.input)
        places = [finished_run / f"fold{fold}" for fold in range(2)]
        wanted = mean_of_differing(finished_experiment, places, channels)
        np.testing.assert_allclose(run_all(bundle, channels)[0], wanted, rtol=0, atol=0.02)

    def test_manifest_and_card_tell_how_many_they_are(self, together: Path) -> None:
        assert open_bundle(str(together)).manifest.network.members == 2
        card = " ".join((together / "README.md").read_text().split())
        assert "2 of them, their logits and maps averaged" in card
        assert "together they have no test figure of their own" in card

    def test_the_card_names_the_commands_that_make_it(self, together: Path) -> None:
        card = (together / "README.md").read_text()
        assert "`cruor crossval` of `experiments/" in card
        assert " tiny --version 0.0.1 --folds 2`" in card
        assert "`cruor train`" not in card

    def test_a_run_by_a_split_has_none(self, tmp_path: Path, finished_experiment: Experiment) -> None:
        data = replace(finished_experiment.data, split="split.csv")
        save_experiment(replace(finished_experiment, data=data), tmp_path / EXPERIMENT_FILE)
        with pytest.raises(ExperimentError, match="there are no folds"):
            export_run(tmp_path, tmp_path / "bundle", BundleName("x", "1"), folds=2)

    def test_more_than_there_are_is_refused(self, finished_run: Path, tmp_path: Path) -> None:
        with pytest.raises(ExperimentError, match="3 folds are wanted, it has 2"):
            export_run(finished_run, tmp_path / "bundle", BundleName("x", "1"), folds=3)

    def test_a_fold_without_its_weights_is_named(self, finished_run: Path, tmp_path: Path) -> None:
        for name in (EXPERIMENT_FILE, OUT_OF_FOLD, "fold0/last.ckpt"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes((finished_run / name).read_bytes())
        with pytest.raises(ExperimentError, match=r"fold1: no last\.ckpt; delete the folder"):
            export_run(tmp_path, tmp_path / "bundle", BundleName("x", "1"), folds=2)
        assert not (tmp_path / "bundle").exists()


@pytest.fixture(scope="module")
def other_run(
    finished_run: Path, finished_experiment: Experiment, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Of another seed; its second network is the first of the finished run, its logits are lower by 1."""
    run = tmp_path_factory.mktemp("runs") / "other"
    (run / "fold1").mkdir(parents=True)
    (run / "fold1/last.ckpt").write_bytes((finished_run / "fold0/last.ckpt").read_bytes())
    (run / MADE_BY_FILE).write_bytes((finished_run / MADE_BY_FILE).read_bytes())
    slices = pd.read_parquet(finished_run / OUT_OF_FOLD)
    slices.assign(logit_any=slices["logit_any"] - 1).to_parquet(run / OUT_OF_FOLD)
    training = replace(finished_experiment.training, seed=2)
    save_experiment(replace(finished_experiment, code="other", training=training), run / EXPERIMENT_FILE)
    return run


@pytest.fixture(scope="module")
def in_turn(finished_run: Path, other_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Networks of the folds of two runs."""
    with few_draws():
        folder = tmp_path_factory.mktemp("in-turn")
        return export_run(finished_run, folder, BundleName("tiny", "0.0.1"), folds=2, beside=[other_run])


class TestRunsInTurn:
    def test_each_fold_is_of_the_next_run(
        self, in_turn: Path, finished_run: Path, finished_experiment: Experiment
    ) -> None:
        bundle = open_bundle(str(in_turn))
        channels = generated_channels(3, bundle.manifest.input)
        with torch.inference_mode():
            first = load_network(finished_experiment, finished_run / "fold0")(torch.tensor(channels))
        np.testing.assert_allclose(run_all(bundle, channels)[0], first.numpy(), rtol=0, atol=0.02)

    def test_calibration_is_fitted_on_the_mean_of_the_runs(self, in_turn: Path, together: Path) -> None:
        alone, both = (open_bundle(str(one)).manifest.calibration for one in (together, in_turn))
        assert both.slope[0] == pytest.approx(alone.slope[0], rel=0.02)
        assert both.intercept[0] == pytest.approx(alone.intercept[0] + 0.5 * alone.slope[0], rel=0.02)

    def test_manifest_and_card_name_both_runs(self, in_turn: Path, finished_run: Path) -> None:
        made_by = open_bundle(str(in_turn)).manifest.made_by
        [beside] = made_by["beside"]
        assert (made_by["run"], made_by["seed"]) == (finished_run.name, 1)
        assert (beside["run"], beside["seed"], beside["commit"]) == ("other", 2, made_by["commit"])
        card = " ".join((in_turn / "README.md").read_text().split())
        assert f"of `experiments/{finished_run.name}.yaml` and `experiments/other.yaml`, then" in card
        assert "tiny --version 0.0.1 --folds 2 --beside runs/other`" in card
        assert "The mean of 2 networks, one of each run, has these figures" in card
        assert "Run `other`: likewise, seed 2." in card

    def test_each_run_must_give_a_network(self, finished_run: Path, other_run: Path, tmp_path: Path) -> None:
        with pytest.raises(
            ExperimentError, match="2 runs give their networks of folds in turn; ask for --folds 2"
        ):
            export_run(finished_run, tmp_path / "b", BundleName("x", "1"), folds=1, beside=[other_run])
        assert not (tmp_path / "b").exists()

    @pytest.mark.parametrize("folds", [0, 2])
    def test_a_run_by_a_split_has_no_folds_to_take_turns(
        self, folds: int, tmp_path: Path, finished_experiment: Experiment, other_run: Path
    ) -> None:
        data = replace(finished_experiment.data, split="split.csv")
        save_experiment(replace(finished_experiment, data=data), tmp_path / EXPERIMENT_FILE)
        with pytest.raises(ExperimentError, match="no folds; leave out --beside"):
            export_run(tmp_path, tmp_path / "b", BundleName("x", "1"), folds=folds, beside=[other_run])


@pytest.fixture(scope="module")
def other_trained(finished_run: Path, other_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The other run after `cruor train`, too: its network is the finished run's second fold's."""
    run = tmp_path_factory.mktemp("trained") / "other"
    shutil.copytree(other_run, run)
    (run / "last.ckpt").write_bytes((finished_run / "fold1/last.ckpt").read_bytes())
    (run / FINISHED_FILE).write_bytes((finished_run / FINISHED_FILE).read_bytes())
    return run


@pytest.fixture(scope="module")
def last_of_each(finished_run: Path, other_trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Networks of `cruor train` of two runs."""
    with few_draws():
        folder = tmp_path_factory.mktemp("last-of-each")
        return export_run(finished_run, folder, BundleName("tiny", "0.0.1"), beside=[other_trained])


class TestLastNetworksOfSeveralRuns:
    def test_the_bundle_gives_the_mean_of_what_they_say(
        self, last_of_each: Path, finished_run: Path, other_trained: Path, finished_experiment: Experiment
    ) -> None:
        bundle = open_bundle(str(last_of_each))
        channels = generated_channels(3, bundle.manifest.input)
        wanted = mean_of_differing(finished_experiment, [finished_run, other_trained], channels)
        np.testing.assert_allclose(run_all(bundle, channels)[0], wanted, rtol=0, atol=0.02)

    @torch.no_grad()
    def test_a_network_of_fewer_windows_reads_its_own_among_the_bundles(
        self, finished_run: Path, other_trained: Path, finished_experiment: Experiment, tmp_path: Path
    ) -> None:
        narrower = tmp_path / "narrower"
        shutil.copytree(other_trained, narrower)
        shown = replace(finished_experiment.input, windows_hu=finished_experiment.input.windows_hu[:1])
        experiment = replace(finished_experiment, code="narrower", input=shown)
        save_experiment(experiment, narrower / EXPERIMENT_FILE)
        trained = torch.load(narrower / "last.ckpt", weights_only=True)
        stem = "network.backbone.conv_stem.weight"
        trained["state_dict"][stem] = trained["state_dict"][stem][:, :1].clone()
        torch.save(trained, narrower / "last.ckpt")
        folder = export_run(finished_run, tmp_path / "b", BundleName("tiny", "0.0.1"), beside=[narrower])
        bundle = open_bundle(str(folder))
        channels = generated_channels(3, bundle.manifest.input)
        one = load_network(finished_experiment, finished_run)(torch.tensor(channels))
        other = load_network(experiment, narrower)(torch.tensor(channels[:, :1]))
        assert not torch.allclose(one, other, atol=0.05)
        wanted = torch.stack([one, other]).mean(0).numpy()
        np.testing.assert_allclose(run_all(bundle, channels)[0], wanted, rtol=0, atol=0.02)

    def test_calibration_is_that_of_the_networks_of_folds(self, last_of_each: Path, in_turn: Path) -> None:
        last, of_folds = (open_bundle(str(one)).manifest.calibration for one in (last_of_each, in_turn))
        assert last == of_folds

    def test_manifest_and_card_tell_that_everyone_taught_them(self, last_of_each: Path) -> None:
        manifest = open_bundle(str(last_of_each)).manifest
        assert (manifest.made_by["networks_of"], manifest.network.members) == ("train", 2)
        card = " ".join((last_of_each / "README.md").read_text().split())
        assert "2 of them, their logits and maps averaged" in card
        assert "one of each run, taught by all of the data above, and averages what they say" in card
        assert "they have no test figure of their own" in card
        assert "The mean of 2 networks of folds, one of each run, has these figures" in card

    def test_the_card_names_the_commands_that_make_it(self, last_of_each: Path, finished_run: Path) -> None:
        card = " ".join((last_of_each / "README.md").read_text().split())
        made_of = f"of `experiments/{finished_run.name}.yaml` and `experiments/other.yaml`, then"
        assert f"`cruor train` and `cruor crossval` {made_of}" in card
        assert "tiny --version 0.0.1 --beside runs/other`" in card

    def test_a_run_that_was_not_trained_on_everything_is_named(
        self, finished_run: Path, other_run: Path, tmp_path: Path
    ) -> None:
        with pytest.raises(ExperimentError, match=rf"other: no {FINISHED_FILE}; run `cruor train`"):
            export_run(finished_run, tmp_path / "b", BundleName("x", "1"), beside=[other_run])
        assert not (tmp_path / "b").exists()


def test_no_bundle_is_made_of_a_point_of_a_learning_curve(
    finished_experiment: Experiment, tmp_path: Path
) -> None:
    data = replace(finished_experiment.data, learned_share=0.5)
    save_experiment(replace(finished_experiment, data=data), tmp_path / EXPERIMENT_FILE)
    with pytest.raises(ExperimentError, match="learned_share"):
        export_run(tmp_path, tmp_path / "bundle", BundleName("x", "1"))
