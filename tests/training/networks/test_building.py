"""`networks.build_network`: every name and kind of first weights, and what is refused before training."""

from __future__ import annotations

import urllib.error
from pathlib import Path

import pytest
import torch
import torchvision
from effdet import create_model

from cruor.training.experiment import ExperimentError, NetworkSettings
from cruor.training.export.card import NETWORK_WORDS
from cruor.training.networks import NETWORKS, build_network
from cruor.training.prepare.store import LABELS
from tests.training.networks.samples import EVERY_NETWORK, lively_by_name, size_of


@pytest.mark.parametrize("name, backbone", EVERY_NETWORK)
def test_every_network_gives_a_logit_for_each_of_its_outputs(name: str, backbone: str) -> None:
    network = lively_by_name(name, backbone)
    with torch.inference_mode():
        logits, maps = network.logits_and_maps(torch.zeros(1, 3, size_of(name), size_of(name)))
    assert network.outputs == LABELS[: len(network.outputs)]
    assert logits.shape == (1, len(network.outputs))
    of_blood = network.map_kind == "blood"
    assert maps is None or maps.shape[:2] == (1, 1 if of_blood else len(network.outputs))


def test_a_card_has_words_for_every_network() -> None:
    assert NETWORK_WORDS.keys() == NETWORKS.keys()


@pytest.mark.parametrize(
    "settings, windows, size, said",
    [
        (NetworkSettings("efclass"), 3, 512, "'efclass' is not known; did you mean 'effclass'"),
        (NetworkSettings("xyz"), 3, 512, "'xyz' is not known; known: lite0, blood-map, timm"),
        (NetworkSettings("effclass"), 2, 512, "takes 3 windows and a size of 512, not 2 and 512"),
        (NetworkSettings("effclass-fc"), 3, 256, "takes 3 windows and a size of 512, not 3 and 256"),
        (NetworkSettings("lite0", side=64), 3, 96, "side is of blood-map; leave it out of 'lite0'"),
        (NetworkSettings("resnet18", frozen_stages=2), 3, 64, "frozen_stages is of lite0 and blood-map"),
        (NetworkSettings("resnet18", backbone="resnet18"), 3, 64, "'resnet18' takes no backbone"),
        (NetworkSettings("timm"), 3, 64, "'timm' needs backbone: NAME"),
        (NetworkSettings("timm", "resnet1"), 3, 64, "'resnet1' is not known to timm"),
        (NetworkSettings("resnet18", weights="no.pth"), 3, 64, "no.pth: cannot be read as weights"),
    ],
)
def test_what_cannot_be_built_is_refused_in_one_sentence(
    settings: NetworkSettings, windows: int, size: int, said: str
) -> None:
    with pytest.raises(ExperimentError, match=said):
        build_network(settings, windows, size)


def test_weights_from_a_file_are_the_networks_first_ones(tmp_path: Path) -> None:
    given = torchvision.models.resnet18()
    torch.save(given.state_dict(), tmp_path / "resnet18.pth")
    network = build_network(NetworkSettings("resnet18", weights=str(tmp_path / "resnet18.pth")), 3, 64)
    assert torch.equal(network.state_dict()["resnet.layer4.0.conv1.weight"], given.layer4[0].conv1.weight)


def test_both_pretrained_files_of_effclass_are_found_where_torch_hub_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So weights that were fetched elsewhere can be put there, and none is fetched."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    detector = create_model("efficientdet_d0", pretrained_backbone=False)
    resnet = torchvision.models.resnet18()
    torch.save(detector.state_dict(), folder / "efficientdet_d0-f3276ba8.pth")
    torch.save(resnet.state_dict(), folder / "resnet18-f37072fd.pth")
    state = build_network(NetworkSettings("effclass", weights="imagenet"), 3, 512).state_dict()
    for name in ("backbone.conv_stem.weight", "fpn.cell.2.fnode.7.after_combine.conv.conv_pw.weight"):
        assert torch.equal(state[f"effdet.{name}"], detector.state_dict()[name])
    assert torch.equal(state["resnet.layer4.1.conv2.weight"], resnet.layer4[1].conv2.weight)


@pytest.mark.parametrize(
    "name, fetching",
    [("effclass", "effdet.helpers.load_state_dict_from_url"), ("resnet34", "torch.hub.download_url_to_file")],
)
def test_weights_that_cannot_be_fetched_are_said_to_be_with_what_to_do(
    name: str, fetching: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(fetching, unreachable)
    with pytest.raises(ExperimentError, match=rf"'imagenet' of '{name}' cannot be fetched.*no route.*FILE"):
        build_network(NetworkSettings(name, weights="imagenet"), 3, size_of(name))


def test_an_error_that_has_nothing_to_do_with_fetching_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setitem(NETWORKS, "resnet18", broken)
    with pytest.raises(ZeroDivisionError):
        build_network(NetworkSettings("resnet18", weights="random"), 3, 64)
