"""What every slice network gives, whatever stands inside it."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor, nn


class SliceNetwork(nn.Module):
    """Slices to logits, and to exact Grad-CAM maps where the head allows them.

    Attributes:
        outputs: names of the logits, the first of `prepare.store.LABELS`: `any` alone, or all.
    """

    outputs: tuple[str, ...]

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
            Logits, (n, outputs); and maps M = sum_k w_k A_k of the last features A, (n, outputs, h, w),
            None where the head is not pooling by the mean and one linear layer.
        """

    def forward(self, channels: Tensor) -> Tensor:
        """(n, windows, s, s) normalised channels -> (n, outputs) logits."""
        return self.logits_and_maps(channels)[0]
