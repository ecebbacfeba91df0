"""Every file of `experiments/` is an experiment whose network can be built."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cruor.training.experiment import Experiment, load_experiment
from cruor.training.networks import NETWORKS, build_network

FOLDER = Path(__file__).parents[3] / "experiments"
FILES = sorted(FOLDER.glob("*.yaml"))
ON_CT_ICH = [file.stem for file in FILES if file.stem.endswith("-ct-ich")]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_it_loads_is_named_as_its_code_and_builds_its_network(file: Path) -> None:
    experiment = load_experiment(file)
    assert experiment.code == file.stem
    shown = experiment.input
    random = replace(experiment.network, weights="random")
    network = build_network(random, len(shown.windows_hu), shown.crop.size).eval()
    with torch.inference_mode():
        logits = network(torch.zeros(1, len(shown.windows_hu), shown.crop.size, shown.crop.size))
    assert logits.shape == (1, len(network.outputs))


def test_there_is_one_for_every_network_by_name() -> None:
    networks = {load_experiment(file).network.name for file in FILES}
    assert networks == NETWORKS.keys() - {"timm"}


def named(name: str) -> Experiment:
    return load_experiment(FOLDER / f"{name}.yaml")


@pytest.mark.parametrize("name", ON_CT_ICH)
def test_those_on_ct_ich_hold_out_the_same_patients(name: str) -> None:
    assert named(name).data == named("effclass-ct-ich").data


@pytest.mark.parametrize("name", ["effclass-mended-ct-ich", "resnet18-ct-ich"])
def test_those_beside_effclass_are_trained_as_it_is(name: str) -> None:
    ours, theirs = named(name), named("effclass-ct-ich")
    for phase in ("training", "validation", "testing", "augmentation"):
        assert getattr(ours, phase) == getattr(theirs, phase)


@pytest.mark.parametrize("name", ["effclass-mended", "effclass-fc", "resnet18", "resnet34", "resnet50"])
def test_the_papers_baselines_differ_from_its_run_in_network_and_size_alone(name: str) -> None:
    ours, theirs = named(name), named("effclass")
    size = replace(theirs.input, crop=replace(theirs.input.crop, size=ours.input.crop.size))
    assert replace(theirs, code=name, network=ours.network, input=size) == ours
