"""A network that is shown more windows than it learned from."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from cruor.preprocessing.windows import Window
from cruor.training.networks.base import SliceNetwork


def show_more_windows(network: SliceNetwork, learned: Sequence[Window], shown: Sequence[Window]) -> None:
    """Let a network take channels of further windows, which it does not look at; changed in place.

    The weights of its first convolution for them are 0, so that it says what it said, to the bit, and can
    stand in one graph beside networks that were taught by them.

    Args:
        network: whose first convolution reads the channels.
        learned: windows of the channels it was taught by, HU.
        shown: windows of the channels it shall take; those learned are among them.
    """
    if tuple(learned) == tuple(shown):
        return
    first = next(layer for layer in network.modules() if isinstance(layer, nn.Conv2d))
    weight = first.weight.new_zeros(first.out_channels, len(shown), *first.kernel_size)
    weight[:, [list(shown).index(window) for window in learned]] = first.weight.detach()
    first.weight, first.in_channels = nn.Parameter(weight), len(shown)
