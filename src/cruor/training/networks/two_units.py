"""The end that the paper's networks share: two outputs, "no" and "yes", under softmax (appendix A.1)."""

from __future__ import annotations

from torch import Tensor, nn

NO, YES = 0, 1
"""Places of the two outputs."""


def one_logit(two_logits: Tensor) -> Tensor:
    """(n, 2) -> (n, 1) logit z_yes - z_no, whose sigmoid is the softmax over the two."""
    return (two_logits[:, YES] - two_logits[:, NO])[:, None]


def yes_map(features: Tensor, linear: nn.Linear) -> Tensor:
    """Exact Grad-CAM, up to a constant, of the output of hemorrhage: sum_k w_k A_k.

    Args:
        features: (n, k, h, w), pooled by the mean before `linear`.
        linear: k -> 2.

    Returns:
        (n, 1, h, w).
    """
    return nn.functional.conv2d(features, linear.weight[YES : YES + 1, :, None, None])
