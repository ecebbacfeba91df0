"""`networks.first_weights`: a file fills a network or its backbone, whole, or is refused in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch
import torchvision
from effdet import create_model
from torch import Tensor, nn

from cruor.training.experiment import ExperimentError, NetworkSettings
from cruor.training.networks import build_network
from cruor.training.networks.effclass import EffClass
from cruor.training.networks.first_weights import load_file, read_tensors
from cruor.training.networks.lite0 import OPEN_GATE
from cruor.training.networks.pooled import Pooled, timm_backbone
from cruor.training.networks.resnet import ResNet

State = dict[str, Tensor]


def saved(folder: Path, content: object) -> Path:
    torch.save(content, folder / "weights.pth")
    return folder / "weights.pth"


def pooled(backbone: str) -> Pooled:
    return Pooled(timm_backbone(backbone, 3, 64), 0.0)


def differing(state: State, other: State) -> list[str]:
    return [name for name in state if not torch.equal(state[name], other[name])]


class TestWhatFits:
    def test_a_state_dict_of_the_whole_network_fills_it(self, tmp_path: Path) -> None:
        given, network = ResNet(18, 3), ResNet(18, 3)
        load_file(network, saved(tmp_path, given.state_dict()))
        assert differing(network.state_dict(), given.state_dict()) == []

    def test_a_runs_checkpoint_fills_it_without_what_stands_beside_the_network(self, tmp_path: Path) -> None:
        given, network = ResNet(18, 3), ResNet(18, 3)
        state = {f"network.{name}": one for name, one in given.state_dict().items()}
        checkpoint = {"epoch": 3, "state_dict": {**state, "place_loss.shift": torch.ones(1)}}
        load_file(network, saved(tmp_path, checkpoint))
        assert differing(network.state_dict(), given.state_dict()) == []

    def test_a_resnet_of_torchvision_fills_all_but_the_last_layer(self, tmp_path: Path) -> None:
        given, network = torchvision.models.resnet18(), ResNet(18, 3)
        last = network.resnet.fc.weight.clone()
        load_file(network, saved(tmp_path, given.state_dict()))
        left = {"fc.weight", "fc.bias"}
        own = {name: one for name, one in network.resnet.state_dict().items() if name not in left}
        assert differing(own, given.state_dict()) == []
        assert torch.equal(network.resnet.fc.weight, last)

    @pytest.mark.parametrize("name", ["efficientnet_b0", "mobilenetv3_large_100", "convnext_atto"])
    def test_a_whole_classifier_of_timm_fills_the_backbone(self, name: str, tmp_path: Path) -> None:
        given, network = timm.create_model(name), pooled(name)
        safetensors.torch.save_file(given.state_dict(), tmp_path / "model.safetensors")
        load_file(network, tmp_path / "model.safetensors")
        assert differing(network.backbone.state_dict(), given.state_dict()) == []

    def test_a_detector_with_its_heads_fills_effclass_but_not_its_resnet(self, tmp_path: Path) -> None:
        given, network = create_model("efficientdet_d0", pretrained_backbone=False), EffClass()
        resnet = {name: one.clone() for name, one in network.resnet.state_dict().items()}
        load_file(network, saved(tmp_path, given.state_dict()))
        assert differing(network.effdet.state_dict(), given.state_dict()) == []
        assert differing(resnet, network.resnet.state_dict()) == []

    def test_a_resnet_fills_that_of_effclass_but_not_the_convolution_of_the_same_name(
        self, tmp_path: Path
    ) -> None:
        given, network = torchvision.models.resnet18(), EffClass()
        convolution = network.conv1.weight.clone()
        load_file(network, saved(tmp_path, given.state_dict()))
        assert torch.equal(network.resnet.conv1.weight, given.conv1.weight)
        assert torch.equal(network.conv1.weight, convolution)


class TestWhatIsRefused:
    def refused(self, network: nn.Module, file: Path, message: str) -> None:
        before = {name: one.clone() for name, one in network.state_dict().items()}
        with pytest.raises(ExperimentError, match=message) as caught:
            load_file(network, file)
        assert str(caught.value).startswith(str(file))
        assert "\n" not in str(caught.value)
        assert differing(before, network.state_dict()) == []

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        self.refused(ResNet(18, 3), tmp_path / "none.pth", "cannot be read as weights.*No such file")

    @pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
    def test_a_file_of_something_else(self, name: str, tmp_path: Path) -> None:
        (tmp_path / name).write_bytes(b"\x89PNG no weights at all, but long enough to be some")
        self.refused(ResNet(18, 3), tmp_path / name, "cannot be read as weights")

    def test_an_empty_file(self, tmp_path: Path) -> None:
        (tmp_path / "weights.pth").touch()
        self.refused(ResNet(18, 3), tmp_path / "weights.pth", "cannot be read as weights")

    def test_a_file_cut_short(self, tmp_path: Path) -> None:
        file = saved(tmp_path, ResNet(18, 3).state_dict())
        file.write_bytes(file.read_bytes()[:100_000])
        self.refused(ResNet(18, 3), file, "cannot be read as weights")

    def test_a_pickle_that_would_run_code(self, tmp_path: Path) -> None:
        self.refused(ResNet(18, 3), saved(tmp_path, ResNet(18, 3)), "cannot be read as weights")

    @pytest.mark.parametrize("content", [[1, 2], {}, {"epoch": 3}, torch.ones(3)])
    def test_a_file_without_a_state_dict(self, content: object, tmp_path: Path) -> None:
        self.refused(ResNet(18, 3), saved(tmp_path, content), "holds no state dict")

    def test_weights_of_quite_another_network(self, tmp_path: Path) -> None:
        file = saved(tmp_path, {"encoder.weight": torch.ones(3)})
        self.refused(ResNet(18, 3), file, r"encoder\.weight.*are not this network's")

    def test_a_deeper_resnet_of_the_same_shapes(self, tmp_path: Path) -> None:
        file = saved(tmp_path, torchvision.models.resnet34().state_dict())
        self.refused(ResNet(18, 3), file, r"'layer1\.2\.conv1\.weight' has no place")

    def test_a_shallower_resnet(self, tmp_path: Path) -> None:
        file = saved(tmp_path, torchvision.models.resnet18().state_dict())
        self.refused(ResNet(34, 3), file, r"'layer1\.2\.conv1\.weight' is missing")

    def test_a_tensor_of_another_shape(self, tmp_path: Path) -> None:
        file = saved(tmp_path, torchvision.models.resnet18().state_dict())
        message = r"conv1\.weight: shape \(64, 3, 7, 7\) where \(64, 2, 7, 7\) is wanted"
        self.refused(ResNet(18, 2), file, message)

    def test_a_network_whose_last_layer_is_missing(self, tmp_path: Path) -> None:
        state = ResNet(18, 3).state_dict()
        del state["resnet.fc.bias"]
        self.refused(ResNet(18, 3), saved(tmp_path, state), r"'resnet\.fc\.bias' is missing")


def test_counters_are_left_out(tmp_path: Path) -> None:
    tensors = read_tensors(saved(tmp_path, nn.BatchNorm2d(3).state_dict()))
    assert tensors.keys() == {"weight", "bias", "running_mean", "running_var"}


def test_the_trunk_of_effclass_can_begin_with_lite0s_weights() -> None:
    trunk = build_network(NetworkSettings("effclass", weights="imagenet-lite0"), 3, 512).get_submodule(
        "effdet.backbone"
    )
    lite0 = build_network(NetworkSettings("lite0"), 3, 64).get_submodule("backbone")
    given, own = lite0.state_dict(), trunk.state_dict()
    shared = given.keys() & own.keys()
    assert len(shared) == 288
    for name in shared:
        torch.testing.assert_close(own[name], given[name])
    gates = [value for name, value in own.items() if name.endswith("se.conv_expand.bias")]
    assert gates
    assert all((gate == OPEN_GATE).all() for gate in gates)


def test_lite0s_weights_are_for_effclass_alone() -> None:
    with pytest.raises(ExperimentError, match="'resnet18' has none"):
        build_network(NetworkSettings("resnet18", weights="imagenet-lite0"), 3, 64)
