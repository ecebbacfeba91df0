"""Every network becomes a bundle that reads a study, and comes out of it again for `cruor explain`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from typer.testing import CliRunner

from cruor.bundle.manifest import NetworkName, SliceCalibration
from cruor.bundle.model import MODEL_FILE, open_bundle
from cruor.cli import app
from cruor.demo.phantom import EPIDURAL, write_phantom_study
from cruor.dicom.studies import find_studies
from cruor.preprocessing.channels import InputSettings
from cruor.preprocessing.crop import CropSettings
from cruor.reader.results import NO_MAPS, Status
from cruor.reader.study import read_study
from cruor.training.explain.explainer import open_explainer
from cruor.training.explain.rebuild import check_against_graph
from cruor.training.graph import STORES, write_graph
from cruor.training.networks.base import SliceNetwork
from tests.bundle.making import write_bundle
from tests.training.networks.samples import EVERY_NETWORK, lively_by_name, size_of
from tests.training.samples import tiny_experiment

EXPORTED = [each for each in EVERY_NETWORK if each[1] in ("", "mobilenetv3_large_100", "convnext_atto")]
MOST_BYTES = 35_000_000


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom")
    write_phantom_study(folder, "epidural", EPIDURAL)
    return folder


@dataclass(frozen=True)
class Exported:
    """A network and its bundles, by how their weights are stored; `exact` keeps them as they are."""

    name: str
    network: SliceNetwork
    folders: dict[str, Path]


@pytest.fixture(scope="module", params=EXPORTED, ids=lambda each: "-".join(filter(None, each)))
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The graph is written once: what is stored small is made from it."""
    name, backbone = request.param
    network, size = lively_by_name(name, backbone), size_of(name)
    parent = tmp_path_factory.mktemp(name)
    write_graph(network, tiny_experiment(parent, size=size), parent / MODEL_FILE, lambda model: None)
    outputs = len(network.outputs)
    said = {
        "input": InputSettings(CropSettings(size=size)),
        "network": NetworkName(name, backbone),
        "outputs": network.outputs,
        "calibration": SliceCalibration((1.0,) * outputs, (0.0,) * outputs),
        "map_scale": 0.0 if name == "effclass-fc" else 1.0,
    }
    folders = {}
    for store, change in {"exact": lambda model: None, **STORES}.items():
        model = onnx.load(str(parent / MODEL_FILE))
        change(model)
        folders[store] = write_bundle(parent / store, model.SerializeToString(), **said)
    return Exported(name, network, folders)


def some_channels(exported: Exported) -> NDArray[np.float32]:
    size = size_of(exported.name)
    return np.random.default_rng(5).standard_normal((1, 3, size, size)).astype(np.float32)


def test_the_bundle_gives_the_networks_logits_and_maps(exported: Exported) -> None:
    channels = some_channels(exported)
    with torch.inference_mode():
        wanted_logits, wanted_maps = exported.network.logits_and_maps(torch.from_numpy(channels))
    logits, maps = open_bundle(str(exported.folders["exact"])).run(channels)
    np.testing.assert_allclose(logits, wanted_logits, rtol=1e-3, atol=1e-3)
    assert (maps is None) == (wanted_maps is None)
    if maps is not None and wanted_maps is not None:
        shown = exported.network.shown(wanted_maps)
        np.testing.assert_allclose(maps, shown[:, 0], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("store", STORES)
def test_the_network_comes_out_of_its_bundle_again(exported: Exported, store: str) -> None:
    explainer = open_explainer(str(exported.folders[store]))  # compares the logits of a blank slice itself
    assert check_against_graph(explainer.network, explainer.bundle, some_channels(exported)) < 1e-3
    assert explainer.cells > 1


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("exported", [("effclass", "")], indirect=True, ids=["effclass"])
def test_a_bundle_of_effclass_weighs_at_most_35_mb(exported: Exported, store: str) -> None:
    assert (exported.folders[store] / MODEL_FILE).stat().st_size <= MOST_BYTES


def test_a_study_is_read_with_maps_where_the_head_allows_them_and_with_a_note_where_not(
    exported: Exported, phantom: Path
) -> None:
    (study,) = find_studies([phantom]).studies
    result = read_study(study, open_bundle(str(exported.folders["half"])))
    assert result.status is Status.DECIDED
    with_maps = exported.name != "effclass-fc"
    assert (NO_MAPS in result.notes) is not with_maps
    assert all((one.map is not None) is with_maps for one in result.slices)


@pytest.mark.parametrize("exported", [("resnet18", "")], indirect=True, ids=["resnet18"])
def test_the_command_reads_with_a_bundle_of_one_output(
    exported: Exported, phantom: Path, tmp_path: Path
) -> None:
    arguments = ["triage", str(phantom), "--bundle", str(exported.folders["int8"]), "--out", str(tmp_path)]
    run = CliRunner().invoke(app, arguments)
    assert run.exit_code == 0, run.output
    (written,) = tmp_path.glob("*/result.json")
    assert json.loads(written.read_text())["status"] == "DECIDED"
