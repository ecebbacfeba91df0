"""Blood drawn in one slice, put into another that has none.

Heads with blood are few, and the network learns their look along with the blood. The same blood in another
head, and patches of other heads that are no blood, leave it the blood alone to go by.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

DRAWN = 0.5
BLOOD_SHARE = 0.6
"""Of the slices that get something; the others get a decoy: another head's tissue in a drawing's form."""

SHIFT = 0.05
"""Blood is mirrored and shifted by up to this share of the side: heads are cropped alike, so it stays in its
compartment and keeps its subtypes."""

TISSUE_HU = (5.0, 70.0)
"""Blood is put over soft tissue, not into bone or air. Decoys may lie anywhere: their seams are no blood."""

RIM = 5
"""Pixels over which what is put in fades out."""

LEAST_SHARE = 0.0004
"""Share of a crop below which blood is too small to be seen: the slice is left as it was."""


def paste_within_sources(
    hu: Tensor, labels: Tensor, blood: Tensor, source: Tensor, share: float
) -> tuple[Tensor, Tensor, Tensor]:
    """`paste_blood` for slices of each source, (n,), among themselves.

    Sources differ in grain: a patch of another one would be told by its grain, and blood that belongs where
    it lies would look unlike it.
    """
    if share == 0:  # draws no chance: older experiments keep their numbers
        return hu, labels, blood
    hu, labels, blood = hu.clone(), labels.clone(), blood.clone()
    for one in torch.unique(source):
        own = torch.nonzero(source == one)[:, 0]
        hu[own], labels[own], blood[own] = paste_blood(hu[own], labels[own], blood[own], share)
    return hu, labels, blood


def paste_blood(hu: Tensor, labels: Tensor, blood: Tensor, share: float) -> tuple[Tensor, Tensor, Tensor]:
    """Put blood, or a decoy, into a share of the slices without hemorrhage of a batch.

    Args:
        hu: (n, 1, s, s).
        labels: (n, outputs), 1, 0 or NaN, `any` first.
        blood: (n, 1, s, s) in 0..1, below 0 where nothing is known.
        share: of the negative slices.

    Returns:
        The same three, changed copies: a slice with blood has the labels of the slice it came from.
    """
    device = hu.device
    given = torch.nonzero((labels[:, 0] == 1) & (blood.amax((1, 2, 3)) >= DRAWN))[:, 0]
    negative = torch.nonzero(labels[:, 0] == 0)[:, 0]
    taken = negative[torch.rand(len(negative), device=device) < share]
    if len(given) == 0 or len(taken) == 0:
        return hu, labels, blood
    donor, other = _any_of(given, len(taken)), _any_of(negative, len(taken))
    is_blood = torch.rand(len(taken), device=device) < BLOOD_SHARE
    each_is_blood = is_blood[:, None, None, None]

    form = (blood[donor] >= DRAWN).float()
    filling, form = _moved(torch.where(each_is_blood, hu[donor], hu[other]), form)
    receiver = hu[taken]
    tissue = _smooth(((receiver > TISSUE_HU[0]) & (receiver < TISSUE_HU[1])).float(), 3)
    soft = _smooth(nn.functional.max_pool2d(form, 3, 1, 1), RIM)
    soft = torch.where(each_is_blood, soft * tissue, soft)
    lies = form * (tissue > DRAWN)
    bleeds = is_blood & (lies.mean((1, 2, 3)) >= LEAST_SHARE)
    changed = (bleeds | ~is_blood)[:, None, None, None]

    hu, labels, blood = hu.clone(), labels.clone(), blood.clone()
    hu[taken] = torch.where(changed, receiver * (1 - soft) + filling * soft, receiver)
    labels[taken[bleeds]] = labels[donor[bleeds]]
    blood[taken[bleeds]] = lies[bleeds]
    return hu, labels, blood


def _any_of(rows: Tensor, count: int) -> Tensor:
    return rows[torch.randint(len(rows), (count,), device=rows.device)]


def _moved(hu: Tensor, form: Tensor) -> tuple[Tensor, Tensor]:
    """Mirror and shift HU and form alike, by whole pixels: resampling would leave a mark of its own."""
    reach = round(SHIFT * hu.shape[-1])
    moved = []
    for one in torch.cat([hu, form], dim=1):
        down, right = torch.randint(-reach, reach + 1, (2,)).tolist()
        turned = one.flip(-1) if torch.rand(1) < 0.5 else one
        moved.append(turned.roll((down, right), (-2, -1)))
    both = torch.stack(moved)
    return both[:, :1], both[:, 1:]


def _smooth(pictures: Tensor, side: int) -> Tensor:
    return nn.functional.avg_pool2d(pictures, side, 1, side // 2, count_include_pad=False)
