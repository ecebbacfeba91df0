"""Grad-CAM of one slice in two forms, and how far they agree.

The paper's form (section 2.5): the pytorch-grad-cam library, gradients, `aug_smooth`: the mean over the
slice and its mirror image, each at 0.9, 1 and 1.1 times its contrast. `eigen_smooth` is off: the published
code turns it on, the paper does not name it. The exact form: ReLU(sum of w_k A_k) out of the forward pass.
"""

from __future__ import annotations

import difflib
import time
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

from cruor.bundle.manifest import BundleError
from cruor.bundle.model import Bundle
from cruor.report.panels import resized
from cruor.training.networks.base import SliceNetwork

Heat = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Cams:
    """Both forms on one slice.

    Attributes:
        library: float32, (size, size), 0 to 1: scaled by the library so that the hottest point is 1.
        exact: float32, (size, size), >= 0, on the bundle's one scale; None where the graph gives no maps.
        logits: raw, of the bundle, float32, (outputs,).
        library_seconds, exact_seconds: how long each took, forward passes included; exact_seconds is the
            time of the bundle's forward pass also where it gives no maps.
    """

    library: Heat
    exact: Heat | None
    logits: NDArray[np.float32]
    library_seconds: float
    exact_seconds: float


@dataclass(frozen=True, eq=False)
class OwnMap:
    """What the bundle's forward pass gives of one slice.

    Attributes:
        heat: float32, (size, size), >= 0, on the bundle's one scale; None where the graph gives no maps.
        logits: raw, float32, (outputs,).
        seconds: of the forward pass.
    """

    heat: Heat | None
    logits: NDArray[np.float32]
    seconds: float


@dataclass(frozen=True)
class Agreement:
    """How far two maps of a slice agree.

    Attributes:
        correlation: Pearson's, over the pixels; None where a map is the same everywhere.
        apart: from the first's hottest point to the second's, rows and columns as shares of the side; None
            where a map is cold everywhere.
    """

    correlation: float | None
    apart: tuple[float, float] | None


class _Hemorrhage(nn.Module):
    """A network with one output, that of hemorrhage: what Grad-CAM takes the gradient of.

    Where the network has exact maps, their mean is this output but for its bias, which has no gradient. So of
    a network with two units it is the one of hemorrhage, as in the paper, not the difference of the two.
    """

    def __init__(self, network: SliceNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, channels: Tensor) -> Tensor:
        """(n, windows, s, s) -> (n, 1)."""
        logits, maps = self.network.logits_and_maps(channels)
        if maps is None or self.network.map_kind == "blood":
            return logits[:, :1]
        return maps[:, :1].mean((2, 3))


def cams(network: SliceNetwork, layer: nn.Module, bundle: Bundle, channels: NDArray[np.float32]) -> Cams:
    """Explain one slice, (windows, size, size), in both forms.

    Args:
        network: the bundle's, from `rebuild`.
        layer: of the network; its features are (n, k, h, w).
        bundle: gives the exact form.
        channels: float32, from `preprocessing.to_channels`.
    """
    start = time.perf_counter()
    library = library_cam(network, layer, channels)
    seconds = time.perf_counter() - start
    own = own_map(bundle, channels)
    return Cams(library, own.heat, own.logits, seconds, own.seconds)


def own_map(bundle: Bundle, channels: NDArray[np.float32]) -> OwnMap:
    """The exact form alone, of one slice, (windows, size, size): one forward pass of the bundle."""
    start = time.perf_counter()
    logits, maps = bundle.run(channels[None])
    seconds = time.perf_counter() - start
    heat = None if maps is None else resized(np.maximum(maps[0], 0), channels.shape[-1])
    return OwnMap(heat, logits[0], seconds)


def library_cam(
    network: SliceNetwork, layer: nn.Module, channels: NDArray[np.float32], smooth: bool = True
) -> Heat:
    """Grad-CAM of hemorrhage by the library: float32, (size, size), 0 to 1.

    Args:
        network: as for `cams`.
        layer: as for `cams`.
        channels: as for `cams`.
        smooth: with the library's `aug_smooth`, as the paper does.
    """
    cam = GradCAM(model=_Hemorrhage(network), target_layers=[layer])
    try:
        given = torch.from_numpy(channels[None])
        heat = cam(given, [ClassifierOutputTarget(0)], aug_smooth=smooth, eigen_smooth=False)
    finally:
        cam.activations_and_grads.release()
    return np.asarray(heat[0], dtype=np.float32)


def find_layer(network: nn.Module, name: str) -> nn.Module:
    """A layer by its name in the network, as `backbone.blocks.5`.

    Raises:
        BundleError: no such layer; the message names the nearest.
    """
    layers: dict[str, nn.Module] = dict(network.named_modules())
    layers.pop("")
    if name not in layers:
        near = difflib.get_close_matches(name, layers, n=3) or [top for top, _ in network.named_children()]
        raise BundleError(f"layer {name!r}: the network has none of this name; near: {', '.join(near)}")
    return layers[name]


def count_cells(network: nn.Module, layer: nn.Module, channels: NDArray[np.float32]) -> int:
    """Cells along the longer side of a layer's features: how finely its map can tell.

    Raises:
        BundleError: its features are no maps, or it runs more than once for a slice.
    """
    shapes: list[tuple[int, ...]] = []
    hook = layer.register_forward_hook(
        lambda module, given, features: shapes.append(tuple(getattr(features, "shape", ())))
    )
    try:
        with torch.no_grad():
            network(torch.from_numpy(channels[None]))
    finally:
        hook.remove()
    if len(shapes) != 1 or len(shapes[0]) != 4:
        what = f"features of shape {shapes[0]}" if len(shapes) == 1 else f"features {len(shapes)} times"
        raise BundleError(f"the layer gives {what} for a slice; name one that gives maps (n, k, h, w) once")
    return max(shapes[0][2:])


def hottest_point(heat: Heat) -> tuple[int, int] | None:
    """Row and column of the hottest pixel; of several the one nearest to their middle; None where all are 0.

    A map of few cells, made larger, has a small plateau at its top: its middle is meant.
    """
    peak = float(heat.max())
    if not peak > 0:
        return None
    hottest = np.argwhere(heat >= peak * (1 - 1e-6))
    row, column = hottest[np.square(hottest - hottest.mean(axis=0)).sum(axis=1).argmin()]
    return int(row), int(column)


def agreement(first: Heat, second: Heat) -> Agreement:
    """Compare two maps of the same slice and size."""
    correlation = None
    if first.std() > 0 and second.std() > 0:
        correlation = float(np.corrcoef(first.ravel(), second.ravel())[0, 1])
    one, other = hottest_point(first), hottest_point(second)
    if one is None or other is None:
        return Agreement(correlation, None)
    rows, columns = first.shape
    return Agreement(correlation, ((other[0] - one[0]) / rows, (other[1] - one[1]) / columns))
