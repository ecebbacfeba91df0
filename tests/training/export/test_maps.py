"""Maps of a Grad-CAM network are Grad-CAM, to the last constant."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pytorch_grad_cam import GradCAM, base_cam
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

from cruor.bundle.model import MODEL_FILE, Bundle
from cruor.preprocessing.channels import InputSettings, crop_head, to_channels
from cruor.preprocessing.crop import CropSettings
from cruor.training.networks.lite0 import Lite0, load_imagenet
from cruor.training.prepare.ct_ich import rebuild_hu
from tests.training.export.reading import generated_channels, rounded

pytestmark = pytest.mark.filterwarnings("ignore:::lightning")


def grad_cam(
    network: Lite0, channels: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> NDArray[np.float32]:
    """Grad-CAM of `any` at the last features by the library, neither stretched nor resized: (n, h, w)."""
    monkeypatch.setattr(base_cam, "scale_cam_image", lambda cam, size=None: cam)
    with GradCAM(model=network, target_layers=[network.backbone.bn2]) as cam:
        found = cam(input_tensor=torch.tensor(channels), targets=[ClassifierOutputTarget(0)] * len(channels))
    return np.asarray(found, dtype=np.float32)


def assert_equal_up_to_one_constant(maps: NDArray[np.float32], cams: NDArray[np.float32]) -> None:
    """Grad-CAM's weights are the linear layer's through h w cells: that is the constant, of all slices."""
    positive = np.maximum(maps, 0)
    assert (positive.reshape(len(maps), -1).max(axis=1) > 0).any(), (
        "no map has a hot cell: nothing is compared"
    )
    cells = maps.shape[1] * maps.shape[2]
    np.testing.assert_allclose(positive, cams * cells, rtol=1e-4, atol=1e-4 * float(positive.max()))


def real_channels(shared: Path, settings: InputSettings) -> NDArray[np.float32]:
    """Three real slices through preprocessing."""
    root = shared / "ct-ich"
    with (root / "slices.csv").open(newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["any"] == "1" and row["bone"]]
    chosen = [rows[place] for place in (0, len(rows) // 2, -1)]
    heads = [crop_head(rebuild_hu(root / row["brain"], root / row["bone"]), settings)[0] for row in chosen]
    return to_channels(np.stack(heads), settings)


@pytest.fixture(scope="module")
def imagenet() -> Lite0:
    torch.manual_seed(0)
    network = Lite0()
    load_imagenet(network)
    return network.eval()


FULL_SIZE = InputSettings(CropSettings(size=256))


def maps_of(network: Lite0, channels: NDArray[np.float32]) -> NDArray[np.float32]:
    with torch.inference_mode():
        return np.asarray(network.logits_and_maps(torch.tensor(channels))[1][:, 0])


def test_maps_of_generated_slices_are_grad_cam(imagenet: Lite0, monkeypatch: pytest.MonkeyPatch) -> None:
    channels = generated_channels(3, FULL_SIZE)
    assert_equal_up_to_one_constant(maps_of(imagenet, channels), grad_cam(imagenet, channels, monkeypatch))


def test_maps_of_real_slices_are_grad_cam(
    imagenet: Lite0, shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    channels = real_channels(shared_data, FULL_SIZE)
    assert_equal_up_to_one_constant(maps_of(imagenet, channels), grad_cam(imagenet, channels, monkeypatch))


def test_maps_of_the_bundle_are_grad_cam_of_the_same_weights(
    network: Lite0, bundle: Bundle, exported: Path, shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    channels = real_channels(shared_data, bundle.manifest.input)
    cams = grad_cam(rounded(network, exported / MODEL_FILE), channels, monkeypatch)
    maps = bundle.run(channels)[1]
    assert maps.max() > 0, "no map has a hot cell: nothing is compared"
    cells = maps.shape[1] * maps.shape[2]
    np.testing.assert_allclose(np.maximum(maps, 0), cams * cells, rtol=0, atol=5e-4)
