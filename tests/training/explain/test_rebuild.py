"""`training.explain.rebuild`: a network comes out of its graph as it went in, or is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from cruor.bundle.manifest import BundleError
from cruor.bundle.model import MODEL_FILE, SHIPPED, Bundle, open_bundle
from cruor.training.experiment import NetworkSettings
from cruor.training.explain.explainer import empty_network, open_explainer
from cruor.training.explain.rebuild import check_against_graph, constants, fill_from_graph
from cruor.training.graph import STORES, write_graph
from cruor.training.networks import build_network
from cruor.training.networks.base import SliceNetwork
from cruor.training.networks.ensemble import Ensemble
from tests.training.networks.samples import lively
from tests.training.samples import tiny_experiment


class Fusion(nn.Module):
    """As in EfficientDet's BiFPN: features weighed by numbers that are learned, their sum 1."""

    def __init__(self) -> None:
        super().__init__()
        self.edge_weights = nn.Parameter(torch.ones(2))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        weights = self.edge_weights.relu()
        total = weights.sum() + 1e-4
        return first * weights[0] / total + second * weights[1] / total


class Mixed(nn.Module):
    """One of everything that the exporter changes."""

    def __init__(self) -> None:
        super().__init__()
        self.plain, self.plain_norm = nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8)
        self.biased, self.biased_norm = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.alone_norm = nn.BatchNorm2d(8)
        self.fusion, self.other_fusion = Fusion(), Fusion()
        self.upwards = nn.ConvTranspose2d(8, 16, 2, stride=2)
        self.without = nn.Conv2d(16, 16, 1)
        self.linear = nn.Linear(16, 2)

    def forward(self, channels: Tensor) -> Tensor:
        first = self.plain_norm(self.plain(channels)).relu_()
        second = self.biased_norm(self.biased(first)).relu()
        joined = self.other_fusion(self.alone_norm(self.fusion(first, second).sigmoid()), second)
        features = self.without(self.upwards(joined).relu())
        logits: Tensor = self.linear(features.mean((2, 3)))
        return logits


class Exported(nn.Module):
    """The wrapper of `cruor export`."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, channels: Tensor) -> Tensor:
        logits: Tensor = self.network(channels)
        return logits


@pytest.fixture(scope="module")
def trained() -> Mixed:
    """With statistics and weights that are not those of a new network; a bias of nothing but zeros."""
    torch.manual_seed(3)
    network = Mixed()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias)
    nn.init.zeros_(network.without.bias)
    # The exporter leaves out a multiplication by 1; a weight below 0 counts as 0.
    network.fusion.edge_weights.data = torch.tensor([1.0, 0.4])
    network.other_fusion.edge_weights.data = torch.tensor([-0.3, 1.7])
    network(torch.randn(4, 3, 16, 16))
    return network.eval()


@pytest.fixture(scope="module")
def graph(trained: Mixed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("graph") / MODEL_FILE
    torch.onnx.export(
        Exported(trained).eval(), (torch.zeros(2, 3, 16, 16),), str(file), input_names=["channels"],
        output_names=["logits"], dynamo=True, external_data=False, verbose=False,
    )  # fmt: skip
    return file


def some_channels(size: int = 16) -> NDArray[np.float32]:
    return np.random.default_rng(5).standard_normal((2, 3, size, size)).astype(np.float32)


def logits_of(network: nn.Module, channels: NDArray[np.float32]) -> NDArray[np.float32]:
    with torch.no_grad():
        logits: NDArray[np.float32] = network(torch.from_numpy(channels)).numpy()
    return logits


def changed(graph: Path, folder: Path, change: object) -> Path:
    """A copy of the graph's file after `change(model)`."""
    model = onnx.load(str(graph))
    change(model)  # type: ignore[operator]
    onnx.save(model, str(folder / MODEL_FILE))
    return folder / MODEL_FILE


class TestFilling:
    def test_the_graph_has_lost_what_is_put_back(self, graph: Path) -> None:
        names = {weight.name for weight in onnx.load(str(graph)).graph.initializer}
        lost = ("plain_norm.weight", "biased_norm.weight", "fusion.edge_weights", "without.bias")
        assert not names & {f"network.{name}" for name in lost}

    def test_a_new_network_gives_the_logits_of_the_trained_one(self, trained: Mixed, graph: Path) -> None:
        channels = some_channels()
        expected = logits_of(trained, channels)
        assert np.abs(logits_of(Mixed().eval(), channels) - expected).max() > 0.1
        np.testing.assert_allclose(logits_of(fill_from_graph(Mixed(), graph), channels), expected, atol=1e-4)

    def test_every_layer_has_gradients_and_none_works_in_place(self, graph: Path) -> None:
        network = nn.Sequential(fill_from_graph(Mixed(), graph), nn.ReLU(inplace=True))
        fill_from_graph(network[0], graph)
        assert all(parameter.requires_grad for parameter in network.parameters())
        assert not network[0].training

    @pytest.mark.parametrize("store", STORES)
    def test_weights_that_are_stored_small_are_taken_as_the_graph_computes_with_them(
        self, store: str, graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("cruor.training.graph.LARGE_FROM", 16)
        small = changed(graph, tmp_path, STORES[store])
        session = onnxruntime.InferenceSession(str(small))
        expected = session.run(None, {"channels": some_channels()})[0]
        found = logits_of(fill_from_graph(Mixed(), small), some_channels())
        moved = np.abs(expected - logits_of(fill_from_graph(Mixed(), graph), some_channels())).max()
        assert moved > 0
        np.testing.assert_allclose(found, expected, rtol=0, atol=moved / 3)

    def test_a_weight_that_is_not_there_is_named(self, graph: Path) -> None:
        class Larger(Mixed):
            def __init__(self) -> None:
                super().__init__()
                self.more = nn.Linear(2, 2)

        with pytest.raises(BundleError, match=r"more\.weight: shape \(2, 2\) is wanted.*no such weight"):
            fill_from_graph(Larger(), graph)

    def test_a_weight_of_another_shape_is_named(self, graph: Path) -> None:
        network = Mixed()
        network.linear = nn.Linear(16, 3)
        with pytest.raises(BundleError, match=r"linear\.weight: shape \(3, 16\) is wanted.*shape \(2, 16\)"):
            fill_from_graph(network, graph)

    def test_fusions_that_the_graph_does_not_have_are_refused(self, graph: Path) -> None:
        class Larger(Mixed):
            def __init__(self) -> None:
                super().__init__()
                self.third = Fusion()

        with pytest.raises(BundleError, match=r"edge_weights: shape \(2,\)"):
            fill_from_graph(Larger(), graph)


class TestMembers:
    @pytest.mark.parametrize("made", [(0, 0, 1), (0, 1, 1)])
    def test_what_members_share_comes_out_in_each_of_them(
        self, made: tuple[int, ...], tmp_path: Path
    ) -> None:
        networks = [lively(small_network(), SIZE) for _ in made]
        for network, seed in zip(networks, made, strict=True):
            chance = torch.Generator().manual_seed(seed)
            for parameter in network.parameters():
                parameter.data += 0.02 * torch.randn(parameter.shape, generator=chance)
        together = Ensemble(networks)
        write_graph(together, tiny_experiment(tmp_path, size=SIZE), tmp_path / MODEL_FILE, lambda model: None)
        filled = fill_from_graph(Ensemble([small_network() for _ in made]), tmp_path / MODEL_FILE)
        channels = np.random.default_rng(5).standard_normal((2, 3, SIZE, SIZE)).astype(np.float32)
        assert np.abs(logits_of(networks[0], channels) - logits_of(networks[2], channels)).max() > 0.01
        for ours, theirs in zip(filled.members, networks, strict=True):
            np.testing.assert_allclose(logits_of(ours, channels), logits_of(theirs, channels), atol=1e-3)


SIZE = 64


def small_network() -> SliceNetwork:
    torch.manual_seed(1)
    return build_network(NetworkSettings("lite0", weights="random"), 3, SIZE)


class TestConstants:
    def test_what_depends_on_the_input_is_no_constant(self, graph: Path) -> None:
        model = onnx.load(str(graph))
        values = constants(model)
        assert "logits" not in values
        assert "network.linear.weight" in values

    def test_a_cast_is_computed(self) -> None:
        weight = numpy_helper.from_array(np.array([0.1], dtype=np.float16), "w.half")
        nodes = [
            helper.make_node("Cast", ["w.half"], ["w"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["x", "w"], ["y"]),
        ]
        x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
        graph = helper.make_graph(nodes, "cast", [x], [y], [weight])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
        values = constants(model)
        assert values["w"].dtype == np.float32
        assert values["w"] == np.float32(np.float16(0.1))
        assert "y" not in values


@pytest.fixture(scope="module")
def lite0() -> Bundle:
    return open_bundle("lite0")


class TestChecking:
    def test_the_shipped_network_is_rebuilt_to_the_graphs_logits(self, lite0: Bundle) -> None:
        network = fill_from_graph(empty_network(lite0.manifest), SHIPPED / "lite0" / MODEL_FILE)
        assert check_against_graph(network, lite0, some_channels(256)) < 1e-3

    def test_another_network_than_the_graphs_is_refused(self, lite0: Bundle) -> None:
        network = open_explainer("lite0").network
        with torch.no_grad():
            next(network.parameters()).mul_(1.05)
        with pytest.raises(BundleError, match=r"lite0.*other logits than the graph"):
            check_against_graph(network, lite0, some_channels(256))

    def test_no_number_is_refused(self, lite0: Bundle) -> None:
        network = open_explainer("lite0").network
        with torch.no_grad():
            next(network.parameters()).mul_(torch.nan)
        with pytest.raises(BundleError, match="other logits"):
            check_against_graph(network, lite0, some_channels(256))

    def test_a_network_of_other_outputs_is_refused(self, lite0: Bundle) -> None:
        class One(nn.Module):
            def forward(self, channels: Tensor) -> Tensor:
                return channels.mean((1, 2, 3))[:, None]

        with pytest.raises(BundleError, match="other logits"):
            check_against_graph(One(), lite0, some_channels(256))
