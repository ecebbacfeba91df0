"""`cruor.training.export`: the bundle is the network that was trained, with exact maps and an honest card."""

from __future__ import annotations

import copy
import csv
import json
import math
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from pytorch_grad_cam import GradCAM, base_cam
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

from cruor.bundle.manifest import RULES, Figure, NetworkName, StudyHead, read_manifest, write_manifest
from cruor.bundle.model import (
    CARD_FILE,
    DEFAULT_BUNDLE,
    INPUT,
    LOGITS,
    MANIFEST_FILE,
    MAPS,
    MODEL_FILE,
    Bundle,
    find_bundle,
    open_bundle,
    shipped_bundles,
)
from cruor.preprocessing.channels import InputSettings, crop_head, to_channels
from cruor.preprocessing.crop import CropSettings
from cruor.reader.rules import PROBABILITY
from cruor.training import export
from cruor.training.calibration import calls_by_other_folds, cross_fitted_studies, sensitive_threshold
from cruor.training.evaluation.metrics import bootstrap
from cruor.training.experiment import (
    DataSettings,
    Experiment,
    ExperimentError,
    NetworkSettings,
    save_experiment,
)
from cruor.training.explain.explainer import open_explainer
from cruor.training.explain.rebuild import check_against_graph
from cruor.training.export import (
    STRICTEST,
    TERMS,
    BundleName,
    balanced_accuracy,
    data_sources,
    evidence_of_folds,
    export_run,
    left_out_figures,
    measured,
    network_name,
    render_card,
    rule_calls,
    slice_figures,
    strictest_terms,
    study_figures,
)
from cruor.training.graph import LARGE_FROM, load_network
from cruor.training.networks.lite0 import Lite0, load_imagenet
from cruor.training.prepare.ct_ich import rebuild_hu
from cruor.training.run import EXPERIMENT_FILE, FINISHED_FILE, MADE_BY_FILE
from cruor.training.runs import OUT_OF_FOLD
from tests.training.evaluation.making import table
from tests.training.samples import head

pytestmark = pytest.mark.filterwarnings("ignore:::lightning")

MOST_BYTES = 20_000_000


@pytest.fixture(scope="module")
def network(finished_run: Path, finished_experiment: Experiment) -> Lite0:
    return load_network(finished_experiment, finished_run)


@pytest.fixture(scope="module")
def bundle(exported: Path) -> Bundle:
    return open_bundle(str(exported))


# --- the graph ---


def halved(values: Tensor) -> Tensor:
    """As the graph keeps it: large tensors in half precision."""
    return values.half().float() if values.numel() >= LARGE_FROM else values


def fold(convolution: nn.Conv2d, norm: Any) -> None:
    """Put a normalisation into the weights of the convolution before it, as the exporter does; halve both."""
    factor = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    bias = norm.bias - norm.running_mean * factor
    convolution.weight.data = halved(convolution.weight * factor[:, None, None, None])
    convolution.bias = nn.Parameter(halved(bias))
    norm.weight.data, norm.bias.data = torch.ones_like(factor), torch.zeros_like(factor)
    norm.running_mean, norm.running_var = torch.zeros_like(factor), torch.ones_like(factor)
    norm.eps = 0.0


@torch.no_grad()
def rounded(network: Lite0, graph: Path) -> Lite0:
    """The network with the graph's weights: rounded to half, normalisation folded in where the graph does."""
    network = copy.deepcopy(network)
    if "BatchNormalization" not in {node.op_type for node in onnx.load(str(graph)).graph.node}:
        convolutions = [one for one in network.backbone.modules() if isinstance(one, nn.Conv2d)]
        norms = [one for one in network.backbone.modules() if isinstance(one, nn.BatchNorm2d)]
        for convolution, norm in zip(convolutions, norms, strict=True):
            fold(convolution, norm)
    for parameter in network.parameters():
        parameter.data = halved(parameter)
    return network


def run_all(bundle: Bundle, channels: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    logits, maps = bundle.session.run([LOGITS, MAPS], {INPUT: channels})
    return logits, maps


def generated_channels(count: int, settings: InputSettings) -> NDArray[np.float32]:
    heads = [crop_head(head(i, blood=i % 2 == 0), settings)[0] for i in range(count)]
    return to_channels(np.stack(heads), settings)


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


# --- exact maps ---


def grad_cam(
    network: Lite0, channels: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> NDArray[np.float32]:
    """Grad-CAM of `any` at the last features by the library, neither stretched nor resized: (n, h, w)."""
    monkeypatch.setattr(base_cam, "scale_cam_image", lambda cam, size=None: cam)
    with GradCAM(model=network, target_layers=[network.backbone.bn2]) as cam:
        found = cam(input_tensor=torch.tensor(channels), targets=[ClassifierOutputTarget(0)] * len(channels))
    return np.asarray(found, dtype=np.float32)


def assert_equal_up_to_one_constant(maps: NDArray[np.float32], cams: NDArray[np.float32]) -> None:
    """Grad-CAM's weights are the linear layer's through h w cells: that is the constant, of all slices."""
    positive = np.maximum(maps, 0)
    assert (positive.reshape(len(maps), -1).max(axis=1) > 0).any(), (
        "no map has a hot cell: nothing is compared"
    )
    cells = maps.shape[1] * maps.shape[2]
    np.testing.assert_allclose(positive, cams * cells, rtol=1e-4, atol=1e-4 * float(positive.max()))


def real_channels(shared: Path, settings: InputSettings) -> NDArray[np.float32]:
    """Three real slices through preprocessing."""
    root = shared / "ct-ich"
    with (root / "slices.csv").open(newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["any"] == "1" and row["bone"]]
    chosen = [rows[place] for place in (0, len(rows) // 2, -1)]
    heads = [crop_head(rebuild_hu(root / row["brain"], root / row["bone"]), settings)[0] for row in chosen]
    return to_channels(np.stack(heads), settings)


@pytest.fixture(scope="module")
def imagenet() -> Lite0:
    torch.manual_seed(0)
    network = Lite0()
    load_imagenet(network)
    return network.eval()


FULL_SIZE = InputSettings(CropSettings(size=256))


def maps_of(network: Lite0, channels: NDArray[np.float32]) -> NDArray[np.float32]:
    with torch.inference_mode():
        return np.asarray(network.logits_and_maps(torch.tensor(channels))[1][:, 0])


def test_maps_of_generated_slices_are_grad_cam(imagenet: Lite0, monkeypatch: pytest.MonkeyPatch) -> None:
    channels = generated_channels(3, FULL_SIZE)
    assert_equal_up_to_one_constant(maps_of(imagenet, channels), grad_cam(imagenet, channels, monkeypatch))


def test_maps_of_real_slices_are_grad_cam(
    imagenet: Lite0, shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    channels = real_channels(shared_data, FULL_SIZE)
    assert_equal_up_to_one_constant(maps_of(imagenet, channels), grad_cam(imagenet, channels, monkeypatch))


def test_maps_of_the_bundle_are_grad_cam_of_the_same_weights(
    network: Lite0, bundle: Bundle, exported: Path, shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    channels = real_channels(shared_data, bundle.manifest.input)
    cams = grad_cam(rounded(network, exported / MODEL_FILE), channels, monkeypatch)
    maps = bundle.run(channels)[1]
    assert maps.max() > 0, "no map has a hot cell: nothing is compared"
    cells = maps.shape[1] * maps.shape[2]
    np.testing.assert_allclose(np.maximum(maps, 0), cams * cells, rtol=0, atol=5e-4)


# --- the run and its bundle ---


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
    with pytest.MonkeyPatch.context() as few_rounds:
        few_rounds.setattr(export, "bootstrap", partial(bootstrap, rounds=20))
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
        with torch.inference_mode():
            told = [
                load_network(finished_experiment, finished_run / f"fold{fold}")(torch.tensor(channels))
                for fold in range(2)
            ]
        assert not torch.allclose(told[0], told[1], atol=0.05)
        wanted = torch.stack(told).mean(0).numpy()
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
    with pytest.MonkeyPatch.context() as few_rounds:
        few_rounds.setattr(export, "bootstrap", partial(bootstrap, rounds=20))
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
    with pytest.MonkeyPatch.context() as few_rounds:
        few_rounds.setattr(export, "bootstrap", partial(bootstrap, rounds=20))
        folder = tmp_path_factory.mktemp("last-of-each")
        return export_run(finished_run, folder, BundleName("tiny", "0.0.1"), beside=[other_trained])


class TestLastNetworksOfSeveralRuns:
    def test_the_bundle_gives_the_mean_of_what_they_say(
        self, last_of_each: Path, finished_run: Path, other_trained: Path, finished_experiment: Experiment
    ) -> None:
        bundle = open_bundle(str(last_of_each))
        channels = generated_channels(3, bundle.manifest.input)
        with torch.inference_mode():
            told = [
                load_network(finished_experiment, run)(torch.tensor(channels))
                for run in (finished_run, other_trained)
            ]
        assert not torch.allclose(told[0], told[1], atol=0.05)
        wanted = torch.stack(told).mean(0).numpy()
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


class TestNetworkName:
    @pytest.fixture
    def sided(self) -> list[Experiment]:
        """Of two networks, of which the first looks at the input at another side."""
        settings = [NetworkSettings("blood-map", side=side) for side in (144, 0)]
        return [Experiment("made-up", DataSettings(("nowhere",)), network=one) for one in settings]

    def test_it_tells_each_members_side_where_one_is_not_the_inputs(self, sided: list[Experiment]) -> None:
        assert network_name(sided) == NetworkName("blood-map", members=2, sides=(144, 0))
        assert network_name(sided[1:]) == NetworkName("blood-map")

    def test_the_card_tells_them_in_pixels(self, sided: list[Experiment], bundle: Bundle) -> None:
        shown = replace(bundle.manifest.input.crop, size=224)
        told = replace(
            bundle.manifest,
            network=network_name(sided),
            input=replace(bundle.manifest.input, crop=shown),
        )
        assert "averaged; they look at the input at 144, 224 pixels a side. Outputs" in render_card(told)
        one = replace(told, network=network_name(sided[:1]))
        assert "features; it looks at the input at 144 pixels a side. Outputs" in render_card(one)


def test_no_bundle_is_made_of_a_point_of_a_learning_curve(
    finished_experiment: Experiment, tmp_path: Path
) -> None:
    data = replace(finished_experiment.data, learned_share=0.5)
    save_experiment(replace(finished_experiment, data=data), tmp_path / EXPERIMENT_FILE)
    with pytest.raises(ExperimentError, match="learned_share"):
        export_run(tmp_path, tmp_path / "bundle", BundleName("x", "1"))


def test_the_default_rule_is_the_one_with_the_best_balance(bundle: Bundle, out_of_fold: pd.DataFrame) -> None:
    studies = cross_fitted_studies(out_of_fold, 0.8)
    calls = rule_calls(studies, calls_by_other_folds(studies))
    balance = {rule: balanced_accuracy(studies, called) for rule, called in calls.items()}
    assert set(balance) == set(RULES)
    assert balance[bundle.manifest.rules.default] == max(balance.values())
    assert all(f"{rule} {value:.3f}" in bundle.manifest.rules.default_why for rule, value in balance.items())


def test_a_study_is_called_by_the_papers_rule_when_enough_slices_are_positive() -> None:
    studies = pd.DataFrame(
        {
            "label": [True, False, True, False],
            "probability": [0.9, 0.1, 0.8, 0.2],
            "positive_slices": [2, 1, 3, 0],
            "slice_count": [50, 20, 50, 20],
            "fold": [0, 0, 1, 1],
        }
    )
    calls = rule_calls(studies, calls_by_other_folds(studies))
    assert calls["paper-5"].tolist() == [False, True, True, False]
    assert calls["paper-2.5"].tolist() == [True, True, True, False]
    assert calls[PROBABILITY].tolist() == [True, False, True, False]


# --- figures, terms and the card ---


@pytest.mark.usefixtures("few_rounds")
def test_a_subtype_is_measured_on_the_slices_where_it_is_known(out_of_fold: pd.DataFrame) -> None:
    slices = out_of_fold.copy()
    slices.loc[slices["any"] == 1, "subdural"] = [1.0, np.nan] * (int(slices["any"].sum()) // 2)
    figures = {figure.name: figure for figure in slice_figures(evidence_of_folds(slices))}
    known = int(slices["subdural"].notna().sum())
    assert (
        figures["slice.roc_auc[subdural]"].cases
        == f"{known} slices ({int((slices['subdural'] == 1).sum())} positive)"
    )


@pytest.mark.usefixtures("few_rounds")
def test_slices_are_called_by_the_calibration_of_the_other_folds() -> None:
    slices = table(folds=2, skill=8)
    higher = slices["logit_any"] + 100 * (slices["fold"] == 1)
    evidence = evidence_of_folds(slices.assign(logit_any=higher))
    figures = {figure.name: figure.value for figure in slice_figures(evidence)}
    # By the other fold, all of the higher fold is called and none of the other; by its own, nearly all right.
    positive, fold = slices["any"] == 1, slices["fold"]
    assert figures["slice.sensitivity@0.8[all]"] == pytest.approx((fold[positive] == 1).mean(), abs=1e-4)
    assert figures["slice.specificity@0.8[all]"] == pytest.approx((fold[~positive] == 0).mean(), abs=1e-4)


@pytest.mark.usefixtures("few_rounds")
def test_the_sensitive_point_is_measured_on_other_folds_than_it_was_found_on() -> None:
    evidence = evidence_of_folds(table(studies=40, folds=2))
    figures = {figure.name: figure for figure in study_figures(evidence)}
    called = calls_by_other_folds(evidence.studies, sensitive_threshold)
    labels = evidence.studies["label"].to_numpy()
    for name, wanted in (("sensitivity", called[labels]), ("specificity", ~called[~labels])):
        figure = figures[f"study.{name}[probability at sensitivity-95]"]
        assert figure.value == pytest.approx(wanted.mean(), abs=1e-4)
        assert figure.cases == "40 studies (20 positive)"


@pytest.mark.usefixtures("few_rounds")
def test_what_cannot_be_measured_is_left_out(out_of_fold: pd.DataFrame, bundle: Bundle) -> None:
    slices = out_of_fold.assign(epidural=0.0)
    names = {figure.name for figure in measured(slice_figures(evidence_of_folds(slices)))}
    assert "slice.roc_auc[epidural]" not in names
    assert "slice.roc_auc[all]" in names
    assert all(math.isfinite(figure.low + figure.high + figure.value) for figure in bundle.manifest.figures)


def test_every_source_is_measured_by_itself_and_over_all(bundle: Bundle) -> None:
    names = {figure.name for figure in bundle.manifest.figures}
    for source in ("all", "ct-ich", "rsna-sample"):
        kinds = ("slice.roc_auc", "slice.average_precision", "study.roc_auc")
        assert {f"{kind}[{source}]" for kind in kinds} <= names
    assert {f"study.{kind}[{rule}]" for kind in ("sensitivity", "specificity") for rule in RULES} <= names


def test_a_figure_lies_in_its_interval(bundle: Bundle) -> None:
    assert all(figure.low <= figure.value <= figure.high for figure in bundle.manifest.figures)


@pytest.fixture
def few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "bootstrap", partial(bootstrap, rounds=20))


def of_sources(*names: str) -> pd.DataFrame:
    return pd.DataFrame({"source": names, "patient_id": names, "any": [1.0] * len(names)})


@pytest.mark.parametrize(
    ("sources", "strict"),
    [
        (("ct-ich",), False),
        (("ct-ich", "rsna-sample"), True),
        (("rsna-train",), True),
        (("ct-ich", "a set nobody knows"), True),
    ],
)
def test_the_strictest_terms_win(sources: tuple[str, ...], strict: bool) -> None:
    terms = strictest_terms(of_sources(*sources))
    assert terms.startswith(STRICTEST if strict else "CC BY 4.0")
    assert all((source in terms) is (strict and source != "ct-ich") for source in sources)


def test_a_source_whose_terms_are_not_known_has_the_strictest() -> None:
    (source,) = data_sources(of_sources("a set nobody knows"))
    assert source.terms == STRICTEST


def test_study_probabilities_have_a_brier_score_and_a_reliability_curve(bundle: Bundle) -> None:
    figures = {one.name: one for one in bundle.manifest.figures}
    assert 0 <= figures["study.brier[all]"].value <= 1
    curve = [one for name, one in figures.items() if name.startswith("study.share_with_hemorrhage[")]
    assert sum(int(one.cases.split()[0]) for one in curve) == 24
    assert all("mean probability 0." in one.cases for one in curve)


@pytest.fixture(scope="module")
def never_seen(out_of_fold: pd.DataFrame) -> dict[str, Figure]:
    held_out = out_of_fold[out_of_fold["source"] == "ct-ich"].assign(left_out="ct-ich")
    return {one.name: one for one in left_out_figures(held_out, out_of_fold)}


class TestSourcesNeverSeen:
    def test_slices_and_studies_of_the_source_are_measured_and_called_so(
        self, never_seen: dict[str, Figure]
    ) -> None:
        assert {"slice.roc_auc[ct-ich, never seen]", "study.roc_auc[ct-ich, never seen]"} <= set(never_seen)
        assert all(one.origin == "network trained without ct-ich" for one in never_seen.values())
        assert all(one.low <= one.value <= one.high for one in measured(never_seen.values()))

    def test_the_card_tells_another_hospital_only_where_one_was_tried(
        self, bundle: Bundle, never_seen: dict[str, Figure]
    ) -> None:
        figures = (*bundle.manifest.figures, *measured(never_seen.values()))
        tried = replace(bundle.manifest, figures=figures)
        assert "**another hospital**" in render_card(tried)
        assert "no other hospital has been tried" in render_card(bundle.manifest)


class TestCard:
    @pytest.fixture
    def card(self, exported: Path) -> str:
        return (exported / "README.md").read_text()

    def test_it_names_every_source_with_its_terms_and_counts(self, card: str, bundle: Bundle) -> None:
        assert {source.name for source in bundle.manifest.data} == {"ct-ich", "rsna-sample"}
        for source in bundle.manifest.data:
            assert f"| {source.name} | {TERMS[source.name]} | 12 | 60 | 18 |" in card

    def test_it_states_the_terms_of_the_weights(self, card: str, bundle: Bundle) -> None:
        assert f"**Terms of the weights:** {bundle.manifest.terms}." in card
        assert "not a medical device" in card

    def test_it_tells_that_the_split_is_by_patient(self, card: str) -> None:
        assert "Split by patient into 2 folds, seed 1" in card

    def test_it_gives_every_figure_with_its_interval(self, card: str, bundle: Bundle) -> None:
        assert bundle.manifest.figures
        for figure in bundle.manifest.figures:
            interval = f"{figure.value:.3f} | {figure.low:.3f} to {figure.high:.3f}"
            assert f"| {figure.name} | {interval} | {figure.cases} |" in card

    def test_it_tells_what_has_not_been_tried(self, card: str, bundle: Bundle) -> None:
        assert bundle.manifest.untried
        assert all(f"- {item}\n" in card for item in bundle.manifest.untried)

    def test_it_cites_where_data_drawings_and_first_weights_come_from(self, card: str) -> None:
        assert all(name in card for name in ("Hssayeni", "Flanders", "BLAST-CT", "ImageNet weights"))

    def test_it_claims_nothing_of_what_was_not_used(self, bundle: Bundle) -> None:
        manifest = replace(
            bundle.manifest,
            data=tuple(source for source in bundle.manifest.data if source.name == "ct-ich"),
            made_by={**bundle.manifest.made_by, "drawn_blood": False, "first_weights": "random"},
        )
        card = render_card(manifest)
        assert not [name for name in ("Flanders", "BLAST-CT", "ImageNet", "Left out of") if name in card]

    def test_it_names_the_patients_that_were_left_out(self, bundle: Bundle) -> None:
        left_out = {**bundle.manifest.made_by, "left_out_patients": ["CT-ICH-077", "CT-ICH-091"]}
        card = render_card(replace(bundle.manifest, made_by=left_out))
        assert "Left out of training, calibration and every figure: CT-ICH-077, CT-ICH-091." in card

    @pytest.mark.parametrize(
        ("area", "said"),
        [
            ("head", "the head, cut out of a slice and resized to"),
            ("shown-head", "the head as far as the windows show it, cut out of a slice and resized to"),
            ("slice", "the whole slice, resized to"),
        ],
    )
    def test_it_tells_what_of_a_slice_the_network_is_shown(
        self, bundle: Bundle, area: Literal["head", "shown-head", "slice"], said: str
    ) -> None:
        given = bundle.manifest.input
        shown = replace(given, crop=replace(given.crop, area=area))
        assert f"**Input:** {said}" in render_card(replace(bundle.manifest, input=shown))

    def test_it_tells_what_the_study_probability_is_made_of(self, bundle: Bundle) -> None:
        head = StudyHead(("highest", "top_mean"), (1.0, 1.0), 0.0)
        card = render_card(replace(bundle.manifest, study_head=head))
        assert "logistic regression on the highest slice logit and the mean of the highest tenth" in card

    def test_it_can_be_made_again_from_the_manifest(self, card: str, exported: Path, tmp_path: Path) -> None:
        write_manifest(read_manifest(exported / "manifest.json"), tmp_path / "manifest.json")
        assert render_card(read_manifest(tmp_path / "manifest.json")) == card


def test_the_card_of_the_default_bundle_is_what_its_manifest_gives() -> None:
    shipped = find_bundle(DEFAULT_BUNDLE)
    assert (shipped / CARD_FILE).read_text() == render_card(read_manifest(shipped / MANIFEST_FILE))


@pytest.mark.parametrize("name", shipped_bundles())
def test_the_manifest_of_every_shipped_bundle_still_gives_a_card(name: str) -> None:
    assert "Research use only" in render_card(read_manifest(find_bundle(name) / MANIFEST_FILE))
