"""What every slice network gives, whatever stands inside it."""

from __future__ import annotations

from abc import abstractmethod
from typing import Literal

from torch import Tensor, nn

from cruor.training.losses import PlaceLoss


class SliceNetwork(nn.Module):
    """Slices to logits, and to exact Grad-CAM maps where the head allows them.

    Attributes:
        outputs: names of the logits, the first of `prepare.store.LABELS`: `any` alone, or all.
        map_kind: what `shown` gives (`bundle.manifest.Manifest.map_kind`).
    """

    outputs: tuple[str, ...]
    map_kind: Literal["grad-cam", "blood"] = "grad-cam"

    @property
    @abstractmethod
    def cam_layer(self) -> nn.Module:
        """The layer at which Grad-CAM looks unless another is asked for."""

    @abstractmethod
    def logits_and_maps(self, channels: Tensor) -> tuple[Tensor, Tensor | None]:
        """Read slices.

        Args:
            channels: (n, windows, s, s) normalised.

        Returns:
            Logits, (n, outputs); and maps, (n, outputs or 1, h, w), the first of `any`: M = sum_k w_k A_k of
            the last features A, or what a network with a per-pixel head makes its logit from; None where
            the head is neither.
        """

    def shown(self, maps: Tensor) -> Tensor:
        """Maps as a bundle gives them: what is below 0 is cold, so that M is Grad-CAM up to a constant."""
        return maps

    def place_loss(self) -> nn.Module:
        """The loss of the map of `any`, (n, h, w), against the drawn blood, (n, 1, s, s)."""
        return PlaceLoss()

    def forward(self, channels: Tensor) -> Tensor:
        """(n, windows, s, s) normalised channels -> (n, outputs) logits."""
        return self.logits_and_maps(channels)[0]
