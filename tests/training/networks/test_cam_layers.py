"""Grad-CAM by the library at a network's own layer is the map that comes with the forward pass."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from pytorch_grad_cam import base_cam

from cruor.training.explain.cam import count_cells, library_cam
from tests.training.networks.samples import EVERY_NETWORK, lively_by_name, size_of

WITH_MAPS = [each for each in EVERY_NETWORK if each[0] not in ("effclass-fc", "blood-map")]


@pytest.mark.parametrize("name, backbone", WITH_MAPS)
def test_the_map_is_grad_cam_at_the_cam_layer(
    name: str, backbone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = size_of(name)
    network = lively_by_name(name, backbone)
    channels = torch.randn(3, size, size, generator=torch.Generator().manual_seed(2))
    if name == "timm":  # a map that is cold everywhere would compare nothing
        network = copy.deepcopy(network)
        linear = network.get_submodule("linear")
        features = network.get_submodule("backbone").forward_features(channels[None])  # type: ignore[operator]
        linear.weight.data[0] *= (linear.weight.data[0] @ features.mean((0, 2, 3))).sign()  # type: ignore[index]
    with torch.inference_mode():
        _, maps = network.logits_and_maps(channels[None])
    assert maps is not None
    exact = maps[0, 0].clamp(min=0).numpy()
    assert exact.max() > 0
    # Neither stretched to 0..1 nor resized, so that the very numbers can be compared.
    monkeypatch.setattr(base_cam, "scale_cam_image", lambda cam, size=None: cam)
    library = library_cam(network, network.cam_layer, channels.numpy(), smooth=False)
    np.testing.assert_allclose(library * exact.size, exact, rtol=1e-3, atol=1e-4 * exact.max())


def test_a_network_without_maps_has_a_layer_for_grad_cam_all_the_same() -> None:
    network = lively_by_name("effclass-fc", "")
    channels = torch.randn(3, 512, 512, generator=torch.Generator().manual_seed(2)).numpy()
    assert count_cells(network, network.cam_layer, channels) == 64
    heat = library_cam(network, network.cam_layer, channels, smooth=False)
    assert heat.shape == (512, 512)
    assert heat.max() == pytest.approx(1, abs=1e-3)
