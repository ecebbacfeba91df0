"""`cruor.training.module`: the two losses, and what the optimizer is given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from cruor.training.experiment import Experiment, NetworkSettings
from cruor.training.module import PlaceLoss, SliceModule, masked_loss
from tests.training.samples import tiny_experiment

NAN = float("nan")
TINY = tiny_experiment(Path("none"))


def with_network(**settings: object) -> Experiment:
    return replace(TINY, network=replace(NetworkSettings(weights="random"), **settings))  # type: ignore[arg-type]


class TestMaskedLoss:
    def test_unknown_labels_do_not_count(self) -> None:
        logits = torch.tensor([[0.3, -2.0], [1.5, 4.0]])
        some = masked_loss(logits, torch.tensor([[1.0, NAN], [0.0, NAN]]))
        known = masked_loss(logits[:, :1], torch.tensor([[1.0], [0.0]]))
        assert some == pytest.approx(float(known))

    def test_unknown_labels_teach_nothing(self) -> None:
        logits = torch.tensor([[0.3, -2.0]], requires_grad=True)
        (asked,) = torch.autograd.grad(masked_loss(logits, torch.tensor([[1.0, NAN]])), logits)
        assert asked[0, 1] == 0 and asked[0, 0] < 0

    def test_at_a_logit_of_nothing_it_is_the_logarithm_of_two(self) -> None:
        assert masked_loss(torch.zeros(2, 6), torch.ones(2, 6)) == pytest.approx(0.6931, abs=1e-4)


def gradient(blood: Tensor, size: int = 4) -> Tensor:
    """Of the place loss by the cells of the map; below zero asks for more, above for less. (n, h, w)."""
    maps = torch.zeros(len(blood), size, size, requires_grad=True)
    PlaceLoss()(maps, blood).backward()
    assert maps.grad is not None
    return maps.grad


def drawn_in_a_corner(share: float = 1.0) -> Tensor:
    """Blood in the first of 4 x 4 cells, (1, 1, 64, 64)."""
    blood = torch.zeros(1, 1, 64, 64)
    blood[0, 0, 4:12, 4:12] = share
    return blood


class TestPlaceLoss:
    def test_a_negative_slice_asks_every_cell_for_nothing(self) -> None:
        assert (gradient(torch.zeros(2, 1, 64, 64)) > 0).all()

    def test_a_positive_slice_without_a_drawing_asks_no_cell(self) -> None:
        assert (gradient(torch.full((2, 1, 64, 64), -1.0)) == 0).all()

    def test_one_without_a_drawing_does_not_change_what_others_ask(self) -> None:
        unknown = torch.full((1, 1, 64, 64), -1.0)
        both = gradient(torch.cat([drawn_in_a_corner(), unknown]))
        torch.testing.assert_close(both[:1], gradient(drawn_in_a_corner()))
        assert (both[1] == 0).all()

    def test_a_cell_with_drawn_blood_is_asked_for_one(self) -> None:
        assert gradient(drawn_in_a_corner())[0, 0, 0] < 0

    def test_cells_well_away_from_it_are_asked_for_nothing(self) -> None:
        asked = gradient(drawn_in_a_corner())[0]
        assert (asked[2:] > 0).all() and (asked[:, 2:] > 0).all()

    def test_cells_beside_it_are_not_asked(self) -> None:
        asked = gradient(drawn_in_a_corner())[0]
        assert asked[0, 1] == asked[1, 0] == asked[1, 1] == 0

    def test_faintly_drawn_blood_is_not_asked(self) -> None:
        assert gradient(drawn_in_a_corner(0.3))[0, 0, 0] == 0

    def test_it_learns_its_own_scale_and_shift(self) -> None:
        loss = PlaceLoss()
        loss(torch.randn(1, 4, 4), drawn_in_a_corner()).backward()
        assert all(parameter.grad is not None and parameter.grad != 0 for parameter in loss.parameters())


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
