"""EffClass against its own docstrings; `test_figures.py` holds it to the paper's figures."""

from __future__ import annotations

import pytest
import torch

from cruor.training.networks.effclass import SIZE, EffClass


@pytest.fixture(scope="module")
def network() -> EffClass:
    torch.manual_seed(1)
    return EffClass().eval()


@pytest.fixture(scope="module")
def channels() -> torch.Tensor:
    return torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1)) * 2 - 1


@torch.inference_mode()
def test_every_transposed_convolution_gives_224_by_224(network: EffClass, channels: torch.Tensor) -> None:
    shapes = [tuple(feature.shape) for feature in network.upsampled(channels)]
    assert shapes == [(1, maps, 224, 224) for maps in (16, 12, 8, 4, 2)]


@torch.inference_mode()
def test_the_one_logit_says_what_the_softmax_over_two_says(network: EffClass, channels: torch.Tensor) -> None:
    two = network.two_logits(network.last_features(channels))
    assert two.shape == (1, 2)
    assert network(channels).sigmoid().item() == pytest.approx(two.softmax(1)[0, 1].item(), rel=1e-5)
    assert network.probability(channels).item() == pytest.approx(two.softmax(1)[0, 1].item(), rel=1e-5)


@torch.inference_mode()
def test_the_two_logits_are_those_of_the_whole_resnet(network: EffClass, channels: torch.Tensor) -> None:
    joined = torch.cat(network.upsampled(channels), dim=1)
    whole = network.resnet(network.conv1(network.conv0(joined)))
    torch.testing.assert_close(network.two_logits(network.last_features(channels)), whole)


@torch.inference_mode()
@pytest.mark.parametrize("name, side, written", [("deconv3", 8, 0.1033), ("deconv4", 4, 0.2775)])
def test_the_coarse_transposed_convolutions_leave_holes(
    network: EffClass, name: str, side: int, written: float
) -> None:
    deconv = getattr(network, name)
    reach = torch.nn.functional.conv_transpose2d(
        torch.ones(1, 1, side, side),
        torch.ones(1, 1, *deconv.kernel_size),
        stride=deconv.stride,
        padding=deconv.padding,
        dilation=deconv.dilation,
    )
    assert (reach > 0).float().mean().item() == pytest.approx(written, rel=0.01)


@torch.inference_mode()
def test_nothing_non_linear_stands_between_the_features_and_the_resnet(network: EffClass) -> None:
    first, second = torch.rand(2, 1, 42, 32, 32)

    def mapped(joined: torch.Tensor) -> torch.Tensor:
        return network.conv1(network.conv0(joined))

    straight = mapped(first) + mapped(second) - mapped(torch.zeros_like(first))
    assert torch.allclose(mapped(first + second), straight, atol=1e-5)
