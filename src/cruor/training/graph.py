"""A trained network as an ONNX graph, its weights stored smaller than they are computed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from cruor.bundle.model import INPUT, LOGITS, MAPS
from cruor.training.data import Heads, channels_of
from cruor.training.experiment import Experiment
from cruor.training.module import SliceModule
from cruor.training.networks.base import SliceNetwork
from cruor.training.run import load_weights

LARGE_FROM = 1024
"""Tensors of at least as many values are stored small; the rest is too small to matter."""

STEPS = 127
"""Of an 8-bit weight in each direction."""

MAP_SCALE_SLICES = 2000
"""Enough for a median; all 107,933 positive slices of RSNA would take hours."""

WeightStore = Callable[[onnx.ModelProto], None]


def store_in_half(model: onnx.ModelProto) -> None:
    """Keep large float32 weights as float16 with a cast behind each; the runtime folds the casts at load."""
    nodes = []
    for weight in _large(model):
        name, values = weight.name, numpy_helper.to_array(weight)
        weight.CopyFrom(numpy_helper.from_array(values.astype(np.float16), name + ".half"))
        nodes.append(helper.make_node("Cast", [name + ".half"], [name], to=TensorProto.FLOAT))
    _put_first(model, nodes)


def store_in_8_bit(model: onnx.ModelProto) -> None:
    """Keep large float32 weights as int8 with a scale for each entry of their first axis.

    A cast and a multiplication stand behind each; the runtime folds both at load, so that speed and
    arithmetic are those of float32. (DequantizeLinear would say the same in one node, but is kept by the
    runtime and computed at every run.)
    """
    nodes = []
    for weight in _large(model):
        name, values = weight.name, numpy_helper.to_array(weight)
        rounded, scale = round_to_8_bit(values)
        weight.CopyFrom(numpy_helper.from_array(rounded, name + ".int8"))
        model.graph.initializer.append(numpy_helper.from_array(scale, name + ".scale"))
        nodes.append(helper.make_node("Cast", [name + ".int8"], [name + ".steps"], to=TensorProto.FLOAT))
        nodes.append(helper.make_node("Mul", [name + ".steps", name + ".scale"], [name]))
    _put_first(model, nodes)


def round_to_8_bit(values: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Round to 255 steps, symmetric round 0, by entry of the first axis.

    Returns:
        int8 of the same shape, and the size of a step, float32, (first axis, 1, ...): steps x size are the
        rounded values.
    """
    others = tuple(range(1, values.ndim))
    greatest = np.abs(values).max(axis=others, keepdims=True)
    scale = np.where(greatest > 0, greatest / STEPS, 1).astype(np.float32)
    return np.round(values / scale).astype(np.int8), scale


HALF = "half"

STORES: dict[str, WeightStore] = {HALF: store_in_half, "int8": store_in_8_bit}
"""Name as `cruor export --weights` takes it -> what it does to a graph."""


def _large(model: onnx.ModelProto) -> list[onnx.TensorProto]:
    floats = [one for one in model.graph.initializer if one.data_type == TensorProto.FLOAT]
    return [one for one in floats if np.prod(one.dims) >= LARGE_FROM]


def _put_first(model: onnx.ModelProto, nodes: list[onnx.NodeProto]) -> None:
    for place, node in enumerate(nodes):
        model.graph.node.insert(place, node)


def load_network(experiment: Experiment, run: Path) -> SliceNetwork:
    """The trained network of a run, or of a fold in its folder, ready to be read from."""
    module = SliceModule(experiment, steps_per_epoch=1)
    module.load_state_dict(load_weights(experiment, run))
    return module.network.eval()


class _Exported(nn.Module):
    """Gives the graph its outputs: logits, and maps where the network has them."""

    def __init__(self, network: SliceNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, channels: Tensor) -> tuple[Tensor, ...]:
        logits, maps = self.network.logits_and_maps(channels)
        return (logits,) if maps is None else (logits, self.network.shown(maps))


def write_graph(
    network: SliceNetwork, experiment: Experiment, file: Path, store: WeightStore = store_in_half
) -> None:
    """Write model.onnx: large weights stored small, computed in single precision."""
    size, windows = experiment.input.crop.size, len(experiment.input.windows_hu)
    channels = torch.zeros(2, windows, size, size)
    exported = _Exported(network).eval()
    with torch.inference_mode():
        outputs = exported(channels)
    torch.onnx.export(
        exported,
        (channels,),
        str(file),
        input_names=[INPUT],
        output_names=[LOGITS, MAPS][: len(outputs)],
        dynamic_shapes={"channels": {0: torch.export.Dim("slices")}},
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    model = onnx.load(str(file))
    _forget_origin(model)
    store(model)
    onnx.checker.check_model(model)
    onnx.save(model, str(file))


def _forget_origin(model: onnx.ModelProto) -> None:
    """Leave out the exporter's notes on each node: stack traces, with the paths of the machine it ran on."""
    graph = model.graph
    for noted in (
        model,
        graph,
        *graph.node,
        *graph.initializer,
        *graph.value_info,
        *graph.input,
        *graph.output,
    ):
        del noted.metadata_props[:]


@torch.inference_mode()
def map_scale(network: SliceNetwork, heads: Heads, experiment: Experiment) -> float:
    """The value of a map that is shown as the hottest colour: 1 where it is a probability of blood.

    Else the median over the positive slices of the map's hottest value (of `any`). Of more than
    MAP_SCALE_SLICES, so many over all of the index. 0 where the network gives no maps.
    """
    if network.map_kind == "blood":
        return 1.0
    rows = np.flatnonzero(heads.labels[:, 0] == 1)
    if len(rows) > MAP_SCALE_SLICES:
        rows = rows[np.linspace(0, len(rows) - 1, MAP_SCALE_SLICES).astype(int)]
    hottest: list[float] = []
    for start in range(0, len(rows), 32):
        batch = np.stack([heads.crops[int(row)].hu for row in rows[start : start + 32]])
        hu = torch.from_numpy(batch.astype(np.float32))[:, None]
        _, maps = network.logits_and_maps(channels_of(hu, experiment.input))
        if maps is None:
            return 0.0
        hottest.extend(network.shown(maps)[:, 0].amax((1, 2)).tolist())
    return float(np.median(hottest))
