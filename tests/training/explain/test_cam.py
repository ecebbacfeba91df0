"""`training.explain.cam`: the library's Grad-CAM and the exact map are the same thing where they must be."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from cruor.bundle.manifest import BundleError
from cruor.dicom.instances import Study
from cruor.dicom.pixels import read_hu
from cruor.preprocessing.channels import crop_head, to_channels
from cruor.reader.study import read_study
from cruor.training.explain.cam import agreement, cams, count_cells, find_layer, hottest_point, library_cam
from cruor.training.explain.explainer import Explainer


@pytest.fixture(scope="module")
def channels(bleeding: Study, explainer: Explainer) -> NDArray[np.float32]:
    """The slice of a real head on which the network is surest of blood."""
    result = read_study(bleeding, explainer.bundle)
    surest = max(result.slices, key=lambda one: one.probability)
    settings = explainer.bundle.manifest.input
    return to_channels(crop_head(read_hu(surest.frame), settings)[0], settings)


class TestBothForms:
    def test_without_smoothing_the_librarys_map_is_the_exact_one_but_for_its_scale(
        self, explainer: Explainer, channels: NDArray[np.float32]
    ) -> None:
        exact = cams(explainer.network, explainer.layer, explainer.bundle, channels).exact
        plain = library_cam(explainer.network, explainer.layer, channels, smooth=False)
        assert exact is not None
        assert exact.max() > 0
        correlation = agreement(plain, exact).correlation
        assert correlation is not None
        assert correlation > 0.98

    def test_smoothing_is_the_mean_over_mirror_and_contrasts(
        self, explainer: Explainer, channels: NDArray[np.float32]
    ) -> None:
        parts = []
        for factor in (0.9, 1.0, 1.1):
            parts.append(library_cam(explainer.network, explainer.layer, channels * factor, smooth=False))
            mirrored = np.ascontiguousarray(channels[..., ::-1] * factor)
            mirror = library_cam(explainer.network, explainer.layer, mirrored, smooth=False)
            parts.append(mirror[..., ::-1])
        smooth = library_cam(explainer.network, explainer.layer, channels)
        np.testing.assert_allclose(smooth, np.mean(parts, axis=0), atol=1e-4)

    def test_no_hook_stays_in_the_network(self, explainer: Explainer, channels: NDArray[np.float32]) -> None:
        library_cam(explainer.network, explainer.layer, channels)
        assert not explainer.layer._forward_hooks

    def test_the_time_of_each_is_told(self, explainer: Explainer, channels: NDArray[np.float32]) -> None:
        both = cams(explainer.network, explainer.layer, explainer.bundle, channels)
        assert both.library_seconds > both.exact_seconds > 0


class TestLayers:
    def test_any_layer_can_be_asked_for(self, explainer: Explainer, channels: NDArray[np.float32]) -> None:
        layer = find_layer(explainer.network, "backbone.blocks.3")
        assert count_cells(explainer.network, layer, channels) == 16
        assert library_cam(explainer.network, layer, channels, smooth=False).shape == (256, 256)

    def test_an_unknown_layer_is_refused_with_the_nearest_names(self, explainer: Explainer) -> None:
        with pytest.raises(BundleError, match=r"'backbone\.block\.3'.*near: backbone\.blocks\.3"):
            find_layer(explainer.network, "backbone.block.3")

    def test_a_layer_without_maps_is_refused(
        self, explainer: Explainer, channels: NDArray[np.float32]
    ) -> None:
        layer = find_layer(explainer.network, "linear")
        with pytest.raises(BundleError, match=r"shape \(1, 6\).*maps"):
            count_cells(explainer.network, layer, channels)

    def test_a_layer_that_runs_twice_is_refused(self, channels: NDArray[np.float32]) -> None:
        class Twice(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.shared = nn.Conv2d(3, 3, 3)

            def forward(self, channels: Tensor) -> Tensor:
                return torch.mean(self.shared(self.shared(channels)), (2, 3))

        network = Twice()
        with pytest.raises(BundleError, match="features 2 times"):
            count_cells(network, network.shared, channels)


class TestHottestPoint:
    def test_it_is_the_pixel_with_the_largest_value(self) -> None:
        heat = np.zeros((9, 7), dtype=np.float32)
        heat[6, 2] = 0.5
        heat[1, 1] = 0.4
        assert hottest_point(heat) == (6, 2)

    def test_a_cold_map_has_none(self) -> None:
        assert hottest_point(np.zeros((4, 4), dtype=np.float32)) is None

    @given(st.integers(0, 12), st.integers(0, 12))
    def test_of_a_plateau_its_middle_is_meant(self, top: int, left: int) -> None:
        heat = np.zeros((16, 16), dtype=np.float32)
        heat[top : top + 3, left : left + 3] = 1
        assert hottest_point(heat) == (top + 1, left + 1)


class TestAgreement:
    def test_a_map_agrees_with_itself_on_another_scale(self) -> None:
        heat = np.random.default_rng(0).random((8, 8)).astype(np.float32)
        same = agreement(heat, heat * 7)
        assert same.correlation == pytest.approx(1)
        assert same.apart == (0, 0)

    def test_the_distance_is_a_share_of_rows_and_columns(self) -> None:
        first, second = np.zeros((2, 10, 20), dtype=np.float32)
        first[2, 4] = second[7, 14] = 1
        assert agreement(first, second).apart == (0.5, 0.5)

    def test_a_cold_map_has_neither_correlation_nor_distance(self) -> None:
        cold, warm = np.zeros((4, 4), dtype=np.float32), np.eye(4, dtype=np.float32)
        assert agreement(cold, warm) == agreement(warm, cold)
        assert agreement(cold, warm).correlation is None
        assert agreement(cold, warm).apart is None
