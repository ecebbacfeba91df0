"""`show_more_windows`: a network beside others that were taught by more windows."""

from __future__ import annotations

import pytest
import torch

from cruor.training.experiment import NetworkSettings
from cruor.training.networks import build_network
from cruor.training.networks.base import SliceNetwork
from cruor.training.networks.windows import show_more_windows

SIZE = 64
BRAIN, WIDE, BONE = (0, 80), (0, 140), (-450, 1050)


def network(windows: int) -> SliceNetwork:
    torch.manual_seed(4)
    return build_network(NetworkSettings("blood-map", weights="random"), windows, SIZE).eval()


@pytest.mark.parametrize(
    ("learned", "places"), [([BRAIN], [0]), ([BRAIN, BONE], [0, 2]), ([BONE, BRAIN], [2, 0])]
)
@torch.no_grad()
def test_it_says_what_it_said_whatever_the_further_windows_hold(
    learned: list[tuple[int, int]], places: list[int]
) -> None:
    known = network(len(learned))
    channels = torch.randn(2, 3, SIZE, SIZE)
    wanted = known.logits_and_maps(channels[:, places])
    show_more_windows(known, learned, [BRAIN, WIDE, BONE])
    for said, before in zip(known.logits_and_maps(channels), wanted, strict=True):
        assert said is not None and before is not None
        torch.testing.assert_close(said, before, rtol=0, atol=1e-5)


def test_a_network_of_the_same_windows_is_left_as_it_is() -> None:
    known = network(2)
    before = list(known.parameters())
    show_more_windows(known, [BRAIN, WIDE], [BRAIN, WIDE])
    assert all(one is other for one, other in zip(known.parameters(), before, strict=True))
