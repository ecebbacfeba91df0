"""A bundle opened for explaining: its graph, its network in torch, the layer that is looked at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from cruor.bundle.manifest import BundleError, Manifest
from cruor.bundle.model import MANIFEST_FILE, MODEL_FILE, Bundle, find_bundle, open_bundle
from cruor.preprocessing.channels import crop_head, to_channels
from cruor.preprocessing.crop import Box
from cruor.training.experiment import ExperimentError, NetworkSettings
from cruor.training.explain.cam import Cams, OwnMap, cams, count_cells, find_layer, own_map
from cruor.training.explain.rebuild import check_against_graph, fill_from_graph
from cruor.training.networks import build_network
from cruor.training.networks.base import SliceNetwork
from cruor.training.networks.ensemble import Ensemble

PAPERS_LAYER = "the network's last features, as in the paper"
FIRST_ONES_LAYER = "the last features of the first of several networks"


@dataclass(frozen=True, eq=False)
class Explainer:
    """Explains slices of one bundle.

    Attributes:
        bundle: the open bundle.
        network: the same in torch.
        layer: of the network, whose features Grad-CAM weighs.
        layer_name: as the user named it.
        cells: of the layer's features, along the side of the box: how finely the map can tell.
    """

    bundle: Bundle
    network: SliceNetwork
    layer: nn.Module
    layer_name: str
    cells: int

    def explain(self, hu: NDArray[np.int16]) -> tuple[Cams, Box]:
        """Explain a slice in HU, (rows, columns): both maps, and the box of the slice they cover.

        Raises:
            BundleError: the rebuilt network does not give the graph's logits on this slice.
        """
        settings = self.bundle.manifest.input
        head, box = crop_head(hu, settings)
        channels = to_channels(head, settings)
        check_against_graph(self.network, self.bundle, channels[None])
        return cams(self.network, self.layer, self.bundle, channels), box

    def own_map(self, hu: NDArray[np.int16]) -> tuple[OwnMap, Box]:
        """The bundle's own map of a slice in HU, (rows, columns), and the box of the slice it covers."""
        settings = self.bundle.manifest.input
        head, box = crop_head(hu, settings)
        return own_map(self.bundle, to_channels(head, settings)), box


def open_explainer(name_or_folder: str, layer: str | None = None) -> Explainer:
    """Open a bundle, rebuild its network and find the layer.

    Args:
        name_or_folder: as `cruor triage --bundle` takes it.
        layer: name of a layer in the network; where None, that of the paper: the last block of ResNet-18,
            else the last features.

    Raises:
        BundleError: the bundle cannot be opened or rebuilt, or has no such layer.
    """
    bundle = open_bundle(name_or_folder)
    network = fill_from_graph(empty_network(bundle.manifest), find_bundle(name_or_folder) / MODEL_FILE)
    settings = bundle.manifest.input
    blank = np.zeros((len(settings.windows_hu), settings.crop.size, settings.crop.size), dtype=np.float32)
    check_against_graph(network, bundle, blank[None])
    chosen = network.cam_layer if layer is None else find_layer(network, layer)
    own_layer = FIRST_ONES_LAYER if bundle.manifest.network.members > 1 else PAPERS_LAYER
    return Explainer(bundle, network, chosen, layer or own_layer, count_cells(network, chosen, blank))


def empty_network(manifest: Manifest) -> SliceNetwork:
    """The network a manifest names, with any weights.

    Raises:
        BundleError: there is no such network, or not with such settings.
    """
    named = manifest.network
    windows, size = len(manifest.input.windows_hu), manifest.input.crop.size
    sides = named.sides or (0,) * named.members
    settings = [NetworkSettings(named.name, named.backbone, weights="random", side=side) for side in sides]
    try:
        members = [build_network(one, windows, size) for one in settings]
    except ExperimentError as error:
        raise BundleError(f"{manifest.name}: {MANIFEST_FILE} names no network ({error})") from error
    return members[0] if named.members == 1 else Ensemble(members)
