"""Networks of one make that read a slice together."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cruor.training.networks.base import SliceNetwork


class Ensemble(SliceNetwork):
    """The mean of the logits and of the maps of several networks, as of the folds of a cross-validation
    (Isensee 2021, nnU-Net): each errs in its own way, so that the mean errs less.
    """

    def __init__(self, members: Sequence[SliceNetwork]) -> None:
        """Join trained networks.

        Args:
            members: of one make: the same outputs, and maps of the same shape or none.
        """
        super().__init__()
        self.members = nn.ModuleList(members)
        self.outputs, self.map_kind = members[0].outputs, members[0].map_kind

    @property
    def cam_layer(self) -> nn.Module:
        """The first member's: Grad-CAM by the library looks at one layer."""
        return self._each()[0].cam_layer

    def logits_and_maps(self, channels: Tensor) -> tuple[Tensor, Tensor | None]:
        """(n, windows, s, s) -> means of the members' logits and maps; maps of blood are logits, too."""
        logits, maps = zip(*(member.logits_and_maps(channels) for member in self._each()), strict=True)
        return torch.stack(logits).mean(0), None if maps[0] is None else torch.stack(maps).mean(0)

    def shown(self, maps: Tensor) -> Tensor:
        """As the members show theirs."""
        return self._each()[0].shown(maps)

    def _each(self) -> list[SliceNetwork]:
        """The members, of their type: torch's list knows them as modules alone."""
        return [member for member in self.members if isinstance(member, SliceNetwork)]
