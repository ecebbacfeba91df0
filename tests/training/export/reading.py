"""What bundles and networks say of generated slices, and networks with a graph's rounded weights."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cruor.bundle.model import INPUT, LOGITS, MAPS, Bundle
from cruor.preprocessing.channels import InputSettings, crop_head, to_channels
from cruor.training.experiment import Experiment
from cruor.training.graph import LARGE_FROM, load_network
from cruor.training.networks.lite0 import Lite0
from tests.training.samples import head


def halved(values: Tensor) -> Tensor:
    """As the graph keeps it: large tensors in half precision."""
    return values.half().float() if values.numel() >= LARGE_FROM else values


def fold_norm(convolution: nn.Conv2d, norm: Any) -> None:
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
            fold_norm(convolution, norm)
    for parameter in network.parameters():
        parameter.data = halved(parameter)
    return network


def run_all(bundle: Bundle, channels: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    logits, maps = bundle.session.run([LOGITS, MAPS], {INPUT: channels})
    return logits, maps


def generated_channels(count: int, settings: InputSettings) -> NDArray[np.float32]:
    heads = [crop_head(head(i, blood=i % 2 == 0), settings)[0] for i in range(count)]
    return to_channels(np.stack(heads), settings)


@torch.inference_mode()
def mean_of_differing(
    experiment: Experiment, places: list[Path], channels: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Mean logits of the networks in these folders; were they alike, a mean would show nothing."""
    told = torch.stack([load_network(experiment, place)(torch.tensor(channels)) for place in places])
    assert (told.amax(0) - told.amin(0)).max() > 0.05
    return np.asarray(told.mean(0))
