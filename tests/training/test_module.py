"""`cruor.training.module`: what it gives, and what the optimizer is given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cruor.training.experiment import Experiment, NetworkSettings
from cruor.training.losses import PixelLoss
from cruor.training.module import SliceModule
from tests.training.samples import tiny_experiment

TINY = tiny_experiment(Path("none"))


def with_network(**settings: object) -> Experiment:
    return replace(TINY, network=replace(NetworkSettings(weights="random"), **settings))  # type: ignore[arg-type]


class TestSliceModule:
    def test_logits_and_maps_have_the_shapes_that_are_said(self) -> None:
        module = SliceModule(TINY, steps_per_epoch=1).eval()
        with torch.inference_mode():
            logits, maps = module(torch.zeros(2, 1, 64, 64))
        assert maps is not None
        assert (tuple(logits.shape), tuple(maps.shape)) == ((2, 6), (2, 6, 2, 2))

    def test_frozen_weights_are_not_given_to_the_optimizer(self) -> None:
        module = SliceModule(with_network(frozen_stages=2), steps_per_epoch=1)
        given = {
            id(one)
            for group in module.configure_optimizers()["optimizer"].param_groups
            for one in group["params"]
        }
        assert id(module.network.backbone.conv_stem.weight) not in given
        assert id(module.network.linear.weight) in given
        assert module.place_loss is not None
        assert {id(one) for one in module.place_loss.parameters()} <= given

    def test_without_weight_the_place_is_not_asked_for(self) -> None:
        quiet = replace(TINY, training=replace(TINY.training, place_weight=0.0))
        assert SliceModule(quiet, steps_per_epoch=1).place_loss is None

    def test_a_network_whose_map_is_blood_is_taught_it_cell_by_cell(self) -> None:
        module = SliceModule(with_network(name="blood-map"), steps_per_epoch=1)
        assert isinstance(module.place_loss, PixelLoss)

    def test_what_stands_behind_the_backbone_learns_at_its_own_rate(self) -> None:
        quicker = replace(TINY, training=replace(TINY.training, learning_rate=0.01, head_rate=3.0))
        module = SliceModule(quicker, steps_per_epoch=1)
        optimizer = module.configure_optimizers()["optimizer"]
        rates = {id(one): group["max_lr"] for group in optimizer.param_groups for one in group["params"]}
        assert rates[id(module.network.backbone.conv_head.weight)] == pytest.approx(0.01)
        assert rates[id(module.network.linear.weight)] == pytest.approx(0.03)
        assert len(rates) == sum(one.requires_grad for one in module.parameters())

    @pytest.mark.parametrize(
        ("setting", "function"), [("pasted", "paste_within_sources"), ("painted", "paint_bleeds")]
    )
    def test_blood_is_put_into_the_share_that_the_experiment_asks_for(
        self, setting: str, function: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[float] = []

        def noted(*batch: object) -> tuple[object, ...]:
            asked.append(batch[-1])  # type: ignore[arg-type]
            return batch[:3]

        monkeypatch.setattr(f"cruor.training.module.{function}", noted)
        changed = replace(TINY, augmentation=replace(TINY.augmentation, **{setting: 0.4}))
        module = SliceModule(changed, steps_per_epoch=1)
        monkeypatch.setattr(module, "log", lambda *_, **__: None)
        nothing = torch.zeros(2, 1, 64, 64)
        module.training_step((nothing, torch.zeros(2, 6), nothing, torch.zeros(2)), 0)
        assert asked == [0.4]
