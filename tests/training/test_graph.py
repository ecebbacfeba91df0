"""`cruor.training.graph`: what stands in the graph is the network, its weights rounded as stated."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from onnx import numpy_helper
from torch import Tensor, nn

from cruor.bundle.model import INPUT, LOGITS, MAPS
from cruor.training.graph import (
    LARGE_FROM,
    STEPS,
    round_to_8_bit,
    store_in_8_bit,
    store_in_half,
    write_graph,
)
from cruor.training.networks.base import SliceNetwork
from tests.training.samples import tiny_experiment

finite = st.floats(-1e3, 1e3, width=32)


class Small(SliceNetwork):
    """A convolution, pooling and one linear layer; its maps can be kept back."""

    outputs = ("any",)

    def __init__(self, with_maps: bool) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.convolution = nn.Conv2d(3, 64, 8, stride=8)
        self.linear = nn.Linear(64, 1)
        self.with_maps = with_maps

    @property
    def cam_layer(self) -> nn.Module:
        return self.convolution

    def logits_and_maps(self, channels: Tensor) -> tuple[Tensor, Tensor | None]:
        features = self.convolution(channels)
        maps = nn.functional.conv2d(features, self.linear.weight[:, :, None, None])
        return self.linear(features.mean((2, 3))), maps if self.with_maps else None


@given(arrays(np.float32, array_shapes(min_dims=2, max_dims=4, max_side=5), elements=finite))
def test_8_bit_weights_are_off_by_half_a_step_at_most(values: np.ndarray) -> None:
    rounded, step = round_to_8_bit(values)
    assert rounded.dtype == np.int8
    assert np.abs(rounded).max() <= STEPS
    assert (np.abs(rounded * step - values) <= step * 0.5001 + 1e-7).all()


def test_nothing_stays_nothing_in_8_bit() -> None:
    rounded, step = round_to_8_bit(np.zeros((2, 3), np.float32))
    assert not rounded.any() and (step > 0).all()


@pytest.mark.parametrize("store", [store_in_half, store_in_8_bit])
def test_the_graph_gives_what_the_network_with_rounded_weights_gives(store, tmp_path: Path) -> None:
    network = Small(with_maps=True).eval()
    write_graph(network, tiny_experiment(Path("none")), tmp_path / "model.onnx", store)
    with torch.no_grad():
        weight = network.convolution.weight
        assert weight.numel() >= LARGE_FROM
        if store is store_in_half:
            weight.copy_(weight.half().float())
        else:
            rounded, step = round_to_8_bit(weight.numpy())
            weight.copy_(torch.from_numpy(rounded * step))
    channels = torch.rand(5, 3, 64, 64)
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    logits, maps = session.run([LOGITS, MAPS], {INPUT: channels.numpy()})
    with torch.inference_mode():
        wanted_logits, wanted_maps = network.logits_and_maps(channels)
    assert wanted_maps is not None
    np.testing.assert_allclose(logits, wanted_logits, atol=1e-5)
    np.testing.assert_allclose(maps, wanted_maps, atol=1e-5)


def test_8_bit_graphs_are_a_quarter_of_the_size_and_say_so_in_their_weights(tmp_path: Path) -> None:
    write_graph(
        Small(with_maps=True).eval(), tiny_experiment(Path("none")), tmp_path / "m.onnx", store_in_8_bit
    )
    model = onnx.load(str(tmp_path / "m.onnx"))
    large = [one for one in model.graph.initializer if np.prod(one.dims) >= LARGE_FROM]
    assert large and all(numpy_helper.to_array(one).dtype == np.int8 for one in large)


def test_a_network_without_maps_has_a_graph_without_maps(tmp_path: Path) -> None:
    experiment = tiny_experiment(Path("none"))
    write_graph(Small(with_maps=False).eval(), replace(experiment), tmp_path / "m.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"))
    assert [one.name for one in session.get_outputs()] == [LOGITS]


def test_the_graph_names_no_path_of_the_machine_it_was_made_on(tmp_path: Path) -> None:
    write_graph(Small(with_maps=True).eval(), tiny_experiment(Path("none")), tmp_path / "m.onnx")
    content = (tmp_path / "m.onnx").read_bytes()
    for path in (Path(__file__).parents[2], Path(torch.__file__).parents[1]):
        assert str(path).encode() not in content
    assert b".py" not in content
