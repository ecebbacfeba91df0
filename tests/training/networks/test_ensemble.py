"""`Ensemble`: several networks of one make that read a slice together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cruor.bundle.manifest import BundleError, NetworkName
from cruor.bundle.model import MODEL_FILE, open_bundle
from cruor.preprocessing.channels import InputSettings
from cruor.preprocessing.crop import CropSettings
from cruor.training.experiment import NetworkSettings
from cruor.training.explain.explainer import empty_network, open_explainer
from cruor.training.explain.rebuild import check_against_graph
from cruor.training.graph import store_in_half, write_graph
from cruor.training.networks import build_network
from cruor.training.networks.base import SliceNetwork
from cruor.training.networks.ensemble import Ensemble
from tests.bundle.making import write_bundle
from tests.training.networks.samples import lively
from tests.training.samples import tiny_experiment

SIZE = 96


def members(name: str, sides: Sequence[int]) -> list[SliceNetwork]:
    torch.manual_seed(3)
    settings = [NetworkSettings(name, weights="random", side=side) for side in sides]
    networks = [lively(build_network(one, 3, SIZE), SIZE) for one in settings]
    for place, network in enumerate(networks):  # `lively` gives all of them the same values here and there
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.01 * (place + 1) * torch.randn_like(parameter))
    return networks


@pytest.fixture(scope="module")
def three() -> list[SliceNetwork]:
    return members("blood-map", (0, 0, 0))


def some_channels() -> torch.Tensor:
    return torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(5))


@torch.no_grad()
def test_logits_and_maps_are_the_means_of_the_members(three: list[SliceNetwork]) -> None:
    logits, maps = Ensemble(three).logits_and_maps(some_channels())
    told = [one.logits_and_maps(some_channels()) for one in three]
    torch.testing.assert_close(logits, sum(one for one, _ in told) / 3)
    torch.testing.assert_close(maps, sum(one for _, one in told if one is not None) / 3)
    assert not torch.allclose(logits, told[0][0], atol=0.01)


@torch.no_grad()
def test_what_is_shown_is_what_a_member_would_show_of_the_mean(three: list[SliceNetwork]) -> None:
    together = Ensemble(three)
    _, maps = together.logits_and_maps(some_channels())
    assert maps is not None
    torch.testing.assert_close(together.shown(maps), three[0].shown(maps))
    assert together.map_kind == "blood"


class Mean(SliceNetwork):
    """The slice's mean, and no map."""

    outputs = ("any",)

    def logits_and_maps(self, channels: torch.Tensor) -> tuple[torch.Tensor, None]:
        return channels.mean((1, 2, 3))[:, None], None


def test_members_without_maps_have_none_together() -> None:
    logits, maps = Ensemble([Mean(), Mean()]).logits_and_maps(some_channels())
    torch.testing.assert_close(logits[:, 0], some_channels().mean((1, 2, 3)))
    assert maps is None


@pytest.mark.parametrize("sides", [(), (64, 0, 80)])
def test_it_comes_out_of_its_bundle_again(sides: tuple[int, ...], tmp_path: Path) -> None:
    together = Ensemble(members("blood-map", sides or (0, 0, 0))).eval()
    write_graph(together, tiny_experiment(tmp_path, size=SIZE), tmp_path / MODEL_FILE, store_in_half)
    folder = write_bundle(
        tmp_path / "bundle",
        (tmp_path / MODEL_FILE).read_bytes(),
        input=InputSettings(CropSettings(size=SIZE)),
        network=NetworkName("blood-map", members=3, sides=sides),
        map_kind="blood",
    )
    with torch.no_grad():
        wanted = together(some_channels()).numpy()
    np.testing.assert_allclose(open_bundle(str(folder)).run(some_channels().numpy())[0], wanted, atol=0.05)
    explainer = open_explainer(str(folder))
    assert isinstance(explainer.network, Ensemble)
    assert check_against_graph(explainer.network, explainer.bundle, some_channels().numpy()) < 1e-3


def test_a_manifest_that_gives_sides_to_a_network_without_them_is_refused() -> None:
    manifest = open_bundle().manifest
    wrong = replace(manifest, network=NetworkName("lite0", members=2, sides=(64, 0)))
    with pytest.raises(BundleError, match=r"manifest\.json names no network \(side is of blood-map"):
        empty_network(wrong)
