"""A bundle's network in torch again: Grad-CAM needs gradients, and a bundle holds an ONNX graph.

The exporter leaves the weights under their names, but folds what does not depend on the input:
normalisation goes into the convolution before it, EfficientDet's fusion weights become scalars. Both are
put back so that the network computes the same, and `check_against_graph` compares on the very slice. What
is the same in several members of an ensemble, as frozen layers are, it keeps once.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TypeVar

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from torch import Tensor, nn

from cruor.bundle.manifest import BundleError
from cruor.bundle.model import Bundle

PREFIX = "network."
"""`cruor export` wraps the network under this name; the names of the weights begin with it."""

TOLERANCE = 1e-3
"""Logits may differ by this share of the larger of 1 and the logit; single precision gives about 1e-5."""

FUSION_WEIGHTS = "edge_weights"
"""Name of a fusion's weights in effdet."""

Values = dict[str, NDArray[np.generic]]

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_NORMALISATIONS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


Network = TypeVar("Network", bound=nn.Module)
Value = TypeVar("Value")

MEMBERS = PREFIX + "members."
"""Names of the weights of an `Ensemble` begin with it."""

_OF_MEMBER = re.compile(re.escape(MEMBERS) + r"(?P<member>\d+)\.(?P<rest>.*)", re.DOTALL)


def fill_from_graph(network: Network, model_file: Path) -> Network:
    """Put the weights of a bundle's graph into a network of the same make, in place.

    Args:
        network: with any weights; the same object is given back, in evaluation mode, all weights with
            gradients and no operation in place, so that every layer can be asked for its features.
        model_file: the bundle's model.onnx, as `cruor export` writes it; weights stored in half precision
            or 8 bit are taken as the graph computes with them.

    Raises:
        BundleError: a weight is not in the graph, or of another shape.
    """
    model = onnx.load(str(model_file))
    values = _for_every_member(constants(model))
    biases = _for_every_member(_biases(model))
    taken: set[str] = set()
    for name, module in network.named_modules():
        if isinstance(module, _NORMALISATIONS) and PREFIX + name + ".weight" not in values:
            _make_identity(module)
            taken |= {f"{name}.{own}" for own, _ in module.named_parameters(recurse=False)}
        if isinstance(module, (*_CONVOLUTIONS, nn.Linear)):
            bias = biases.get(f"{PREFIX}{name}.weight")
            if bias == "" and module.bias is not None:
                module.bias.data.zero_()  # the exporter leaves out a bias of nothing but 0
                taken.add(f"{name}.bias")
            elif bias in values:
                module.bias = nn.Parameter(_tensor(values[bias]))
                taken.add(f"{name}.bias")
    _fill_fusions(network, model, values, taken)
    _fill_layer_scales(network, model, values, taken)
    for name, tensor in [*network.named_parameters(), *_statistics(network, values)]:
        if name not in taken:
            _copy(tensor, values, name, model_file)
    for module in network.modules():
        if hasattr(module, "inplace"):
            setattr(module, "inplace", False)  # noqa: B010 - torch's types know no such attribute
    return network.eval().requires_grad_(True)


def check_against_graph(network: nn.Module, bundle: Bundle, channels: NDArray[np.float32]) -> float:
    """Compare the logits of a rebuilt network with those of the bundle's graph.

    Args:
        network: from `fill_from_graph`.
        bundle: whose graph it came from.
        channels: (n, windows, size, size), what will be explained.

    Returns:
        The largest difference of a logit.

    Raises:
        BundleError: it is larger than TOLERANCE allows.
    """
    expected = bundle.run(channels)[0]
    with torch.no_grad():
        found = network(torch.from_numpy(channels)).numpy()
    difference = float(np.abs(found - expected).max()) if found.shape == expected.shape else float("inf")
    if not difference <= TOLERANCE * max(1.0, float(np.abs(expected).max())):
        raise BundleError(
            f"{bundle.label}: the network rebuilt in torch gives other logits than the graph (by "
            f"{difference:.2g}), so its Grad-CAM would explain something else; export the bundle again"
        )
    return difference


def constants(model: onnx.ModelProto) -> Values:
    """Name -> value of all that does not depend on the input: initializers, and what is made of them."""
    known = {weight.name for weight in model.graph.initializer}
    nodes = []
    for node in model.graph.node:
        if node.input and all(name in known or not name for name in node.input):
            nodes.append(node)
            known |= set(node.output)
    values: Values = {weight.name: numpy_helper.to_array(weight) for weight in model.graph.initializer}
    if nodes:
        names = [name for node in nodes for name in node.output]
        outputs = [onnx.ValueInfoProto(name=name) for name in names]
        graph = helper.make_graph(nodes, "constants", [], outputs, model.graph.initializer)
        part = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(part.SerializeToString(), options)
        values |= dict(zip(names, session.run(names, {}), strict=True))
    return values


def _for_every_member(named: dict[str, Value]) -> dict[str, Value]:
    """The same, and what a member of an ensemble lacks as the nearest member before it has it.

    The exporter keeps the first of several that are the same.
    """
    found = [match for name in named if (match := _OF_MEMBER.fullmatch(name))]
    rests = {match["rest"] for match in found}
    whole = dict(named)
    for member in range(1, 1 + max((int(match["member"]) for match in found), default=0)):
        for rest in rests:
            before = whole.get(f"{MEMBERS}{member - 1}.{rest}")
            if before is not None:
                whole.setdefault(f"{MEMBERS}{member}.{rest}", before)
    return whole


def _biases(model: onnx.ModelProto) -> dict[str, str]:
    """Name of a layer's weight -> name of the bias that the graph adds, "" for none."""
    layers = [node for node in model.graph.node if node.op_type in ("Conv", "ConvTranspose", "Gemm")]
    return {node.input[1]: node.input[2] if len(node.input) > 2 else "" for node in layers}


def _make_identity(normalisation: nn.Module) -> None:
    """It went into the convolution before it, whose weight and bias in the graph do its work."""
    assert isinstance(normalisation, _NORMALISATIONS)
    normalisation.reset_parameters()  # weight 1, bias 0, mean 0, variance 1
    normalisation.eps = 0.0


def _fill_fusions(network: nn.Module, model: onnx.ModelProto, values: Values, taken: set[str]) -> None:
    """Give EfficientDet's fusions their weights: in the graph, scalars that feature maps are multiplied by.

    They stand there in the order of the fusions. `check_against_graph` would find a wrong order.
    """
    fusions = [(name, w) for name, w in network.named_parameters() if name.endswith(FUSION_WEIGHTS)]
    fusions = [(name, weights) for name, weights in fusions if PREFIX + name not in values]
    scalars = _fusion_weights(model, values)
    if len(scalars) != sum(weights.numel() for _, weights in fusions):
        return  # the weights are then missed by name, in words
    for name, weights in fusions:
        own, scalars = scalars[: weights.numel()], scalars[weights.numel() :]
        weights.data.copy_(torch.tensor(own).reshape(weights.shape))
        taken.add(name)


def _fusion_weights(model: onnx.ModelProto, values: Values) -> list[float]:
    """What each feature map is multiplied by before it is divided by the sum of the fusion's weights.

    The exporter leaves out a multiplication by 1.
    """

    def scalar(node: onnx.NodeProto | None, kind: str) -> float | None:
        constants = [values[name] for name in node.input if name in values] if node is not None else []
        if node is None or node.op_type != kind or len(constants) != 1 or constants[0].size != 1:
            return None
        return float(constants[0].item())

    makers = {name: node for node in model.graph.node for name in node.output}
    divided = [node for node in model.graph.node if scalar(node, "Div") is not None]
    factors = [scalar(makers.get(node.input[0]), "Mul") for node in divided]
    return [1.0 if factor is None else factor for factor in factors]


def _fill_layer_scales(network: nn.Module, model: onnx.ModelProto, values: Values, taken: set[str]) -> None:
    """Give layer scales (ConvNeXt's) their values: shaped to the features, they have lost their names.

    They stand in the graph in the order of the layers. `check_against_graph` would find a wrong order.
    """
    nodes = [node for node in model.graph.node if node.op_type == "Mul" and node.output[0] not in values]
    factors = [name for node in nodes for name in node.input if name in values]
    scales = [values[name] for name in factors if not name.startswith(PREFIX) and values[name].size > 1]
    missed = {
        name: one
        for name, one in network.named_parameters()
        if one.ndim == 1 and name not in taken and PREFIX + name not in values
    }
    if [scale.size for scale in scales] == [one.numel() for one in missed.values()]:
        for one, scale in zip(missed.values(), scales, strict=True):
            one.data.copy_(_tensor(scale).flatten())
        taken.update(missed)


def _statistics(network: nn.Module, values: Values) -> list[tuple[str, Tensor]]:
    """Running mean and variance of the normalisations that the graph still has."""
    kinds = ("running_mean", "running_var")
    return [
        (f"{name}.{kind}", getattr(module, kind))
        for name, module in network.named_modules()
        if isinstance(module, _NORMALISATIONS) and PREFIX + name + ".weight" in values
        for kind in kinds
    ]


def _copy(tensor: Tensor, values: Values, name: str, model_file: Path) -> None:
    value = values.get(PREFIX + name)
    if value is None or value.shape != tuple(tensor.shape):
        found = "no such weight" if value is None else f"shape {value.shape}"
        raise BundleError(
            f"{model_file}: {name}: shape {tuple(tensor.shape)} is wanted, the graph has {found}; "
            "the network cannot be rebuilt for Grad-CAM"
        )
    tensor.data.copy_(_tensor(value))


def _tensor(value: NDArray[np.generic]) -> Tensor:
    return torch.from_numpy(np.array(value, dtype=np.float32))
