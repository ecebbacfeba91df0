"""`cruor.training.losses`: what each loss asks for, and where it asks for nothing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from cruor.training.losses import PixelLoss, PlaceLoss, masked_loss

NAN = float("nan")


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


def gradient(blood: Tensor, loss: type[nn.Module]) -> Tensor:
    """Of a place loss by 4 x 4 cells of the map; below zero asks for more, above for less. (n, h, w)."""
    maps = torch.zeros(len(blood), 4, 4, requires_grad=True)
    loss()(maps, blood).backward()
    assert maps.grad is not None
    return maps.grad


def drawn_in_a_corner(share: float = 1.0) -> Tensor:
    """Blood in the first of 4 x 4 cells, (1, 1, 64, 64)."""
    blood = torch.zeros(1, 1, 64, 64)
    blood[0, 0, 4:12, 4:12] = share
    return blood


@pytest.mark.parametrize("loss", [PlaceLoss, PixelLoss])
class TestBothPlaceLosses:
    def test_a_negative_slice_asks_every_cell_for_nothing(self, loss: type[nn.Module]) -> None:
        assert (gradient(torch.zeros(2, 1, 64, 64), loss) > 0).all()

    def test_a_positive_slice_without_a_drawing_asks_no_cell(self, loss: type[nn.Module]) -> None:
        assert (gradient(torch.full((2, 1, 64, 64), -1.0), loss) == 0).all()

    def test_one_without_a_drawing_does_not_change_what_others_ask(self, loss: type[nn.Module]) -> None:
        unknown = torch.full((1, 1, 64, 64), -1.0)
        both = gradient(torch.cat([drawn_in_a_corner(), unknown]), loss)
        torch.testing.assert_close(both[:1], gradient(drawn_in_a_corner(), loss))
        assert (both[1] == 0).all()

    def test_a_cell_with_drawn_blood_is_asked_for_one(self, loss: type[nn.Module]) -> None:
        assert gradient(drawn_in_a_corner(), loss)[0, 0, 0] < 0

    def test_cells_well_away_from_it_are_asked_for_nothing(self, loss: type[nn.Module]) -> None:
        asked = gradient(drawn_in_a_corner(), loss)[0]
        assert (asked[2:] > 0).all() and (asked[:, 2:] > 0).all()

    def test_cells_beside_it_are_not_asked(self, loss: type[nn.Module]) -> None:
        asked = gradient(drawn_in_a_corner(), loss)[0]
        assert asked[0, 1] == asked[1, 0] == asked[1, 1] == 0


class TestPlaceLoss:
    def test_faintly_drawn_blood_is_not_asked(self) -> None:
        assert gradient(drawn_in_a_corner(0.3), PlaceLoss)[0, 0, 0] == 0

    def test_it_learns_its_own_scale_and_shift(self) -> None:
        loss = PlaceLoss()
        loss(torch.randn(1, 4, 4), drawn_in_a_corner()).backward()
        assert all(parameter.grad is not None and parameter.grad != 0 for parameter in loss.parameters())


class TestPixelLoss:
    def test_a_cell_counts_from_a_twentieth_of_it_drawn_on(self) -> None:
        blood = torch.zeros(1, 1, 64, 64)
        blood[0, 0, 4, :13] = 1.0  # 13 of 256 pixels
        assert gradient(blood, PixelLoss)[0, 0, 0] < 0
        blood[0, 0, 4, 12] = 0.0
        assert gradient(blood, PixelLoss)[0, 0, 0] == 0

    @pytest.mark.parametrize("side, share", [(8, 0.3), (2, 1.0)])
    def test_a_positive_slice_whose_drawing_is_faint_or_too_small_is_not_asked(
        self, side: int, share: float
    ) -> None:
        blood = torch.zeros(1, 1, 64, 64)
        blood[0, 0, 4 : 4 + side, 4 : 4 + side] = share
        assert (gradient(blood, PixelLoss) == 0).all()

    def test_cells_near_faint_blood_are_not_asked(self) -> None:
        blood = drawn_in_a_corner()
        blood[0, 0, 50:60, 50:60] = 0.3
        asked = gradient(blood, PixelLoss)[0]
        assert (asked[2:, 2:] == 0).all() and asked[0, 0] < 0 and asked[3, 0] > 0

    def test_it_has_no_weights_of_its_own(self) -> None:
        assert not list(PixelLoss().parameters())
