"""EffClass against the paper's figures A4 to A7, and against its own docstring."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("effdet")

from cruor.training.networks.effclass import SIZE, EffClass  # noqa: E402


@pytest.fixture(scope="module")
def network() -> EffClass:
    torch.manual_seed(1)
    return EffClass().eval()


@pytest.fixture(scope="module")
def channels() -> torch.Tensor:
    return torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_it_has_the_parameters_that_the_figures_give(network: EffClass) -> None:
    assert sum(parameter.numel() for parameter in network.parameters()) == 16_027_268


@torch.inference_mode()
def test_every_transposed_convolution_gives_224_by_224(network: EffClass, channels: torch.Tensor) -> None:
    shapes = [tuple(feature.shape) for feature in network.upsampled(channels)]
    assert shapes == [(1, maps, 224, 224) for maps in (16, 12, 8, 4, 2)]


@torch.inference_mode()
def test_a_slice_gives_two_logits_and_one_probability(network: EffClass, channels: torch.Tensor) -> None:
    logits = network(channels)
    assert logits.shape == (1, 2)
    assert network.probability(channels).item() == pytest.approx(logits.softmax(1)[0, 1].item(), rel=1e-5)


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
