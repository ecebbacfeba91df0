"""`cruor.training.pasting`: blood is put where a skull holds tissue, and labels and drawings follow it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cruor.training import pasting
from cruor.training.pasting import paste_blood, paste_within_sources

SIDE = 96
BRAIN_HU, BLOOD_HU, BONE_HU = 32.0, 68.0, 80.0


def heads(count: int) -> Tensor:
    """Round skulls full of brain in air, (count, 1, 96, 96)."""
    line = torch.arange(SIDE) - SIDE / 2
    distance = (line[:, None] ** 2 + line[None, :] ** 2).sqrt()
    hu = torch.where(distance < 42, BONE_HU, 0.0)
    hu[distance < 36] = BRAIN_HU
    return hu.expand(count, 1, SIDE, SIDE).clone()


def batch(negatives: int = 12) -> tuple[Tensor, Tensor, Tensor]:
    """One head with a drawn bleed in its middle, and heads without."""
    hu, blood = heads(1 + negatives), torch.zeros(1 + negatives, 1, SIDE, SIDE)
    hu[0, 0, 40:56, 40:56], blood[0, 0, 40:56, 40:56] = BLOOD_HU, 1.0
    labels = torch.zeros(1 + negatives, 6)
    labels[0, [0, 2]] = 1.0
    return hu, labels, blood


@pytest.fixture(autouse=True)
def _same_every_time() -> None:
    torch.manual_seed(5)


def only(blood_share: float, monkeypatch: pytest.MonkeyPatch) -> tuple[Tensor, Tensor, Tensor]:
    """The batch with blood alone, or decoys alone, put into every slice without hemorrhage."""
    monkeypatch.setattr(pasting, "BLOOD_SHARE", blood_share)
    return paste_blood(*batch(), 1.0)


def test_a_slice_that_got_blood_has_the_labels_of_the_slice_it_came_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, labels, _ = only(1.0, monkeypatch)
    assert (labels == labels[0]).all()


def test_the_drawing_lies_where_the_slice_became_bright_and_nowhere_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hu, _, blood = only(1.0, monkeypatch)
    brain = heads(1)[0, 0] == BRAIN_HU
    for row in range(1, len(hu)):
        drawn = blood[row, 0] > 0
        assert drawn.any() and brain[drawn].all()
        assert hu[row, 0][drawn].mean() > BRAIN_HU + 25
        assert hu[row, 0][~drawn & brain].mean() < BRAIN_HU + 2


def test_it_comes_to_lie_elsewhere_each_time_but_in_its_compartment(monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, blood = only(1.0, monkeypatch)
    middles = torch.stack([torch.nonzero(one[0] > 0).float().mean(0) for one in blood])
    moved = (middles[1:] - middles[0]).abs()
    assert len(set(map(tuple, moved.tolist()))) > 6
    assert moved.max() <= pasting.SHIFT * SIDE + 1


def test_blood_is_not_put_over_bone_or_air(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pasting, "BLOOD_SHARE", 1.0)
    hu, labels, blood = batch()
    hu[0, 0, 40:56, 8:24], blood[0] = BLOOD_HU, 0.0
    blood[0, 0, 40:56, 8:24] = 1.0  # over skull and scalp
    changed, _, drawn = paste_blood(hu, labels, blood, 1.0)
    skull = heads(1)[0, 0] != BRAIN_HU
    assert (drawn[1:, 0][:, skull] == 0).all()
    away = heads(1)[0, 0] == 0.0
    assert torch.equal(changed[1:, 0][:, away], hu[1:, 0][:, away])


def test_too_little_blood_to_be_seen_leaves_the_slice_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pasting, "BLOOD_SHARE", 1.0)
    hu, labels, blood = batch()
    blood[0] = 0.0
    blood[0, 0, 48, 48] = 1.0
    changed, changed_labels, _ = paste_blood(hu, labels, blood, 1.0)
    assert torch.equal(changed, hu) and torch.equal(changed_labels, labels)


def test_a_decoy_is_another_heads_tissue_and_changes_no_label_and_no_drawing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pasting, "BLOOD_SHARE", 0.0)
    hu, labels, blood = batch()
    hu[1::2] = torch.where(hu[1::2] == BRAIN_HU, 40.0, hu[1::2])
    changed, changed_labels, drawn = paste_blood(hu, labels, blood, 1.0)
    assert not torch.equal(changed, hu) and changed[1:].max() <= BONE_HU
    assert torch.equal(changed_labels, labels) and torch.equal(drawn, blood)


def test_slices_with_hemorrhage_and_the_batch_that_was_given_stay_as_they_are() -> None:
    hu, labels, blood = batch()
    kept = hu.clone(), labels.clone(), blood.clone()
    given = paste_blood(hu, labels, blood, 1.0)
    for before, after, changed in zip(kept, (hu, labels, blood), given, strict=True):
        assert torch.equal(before, after)
        assert torch.equal(before[0], changed[0])


def test_about_the_share_asked_for_is_changed() -> None:
    hu, labels, blood = batch(200)
    changed = (paste_blood(hu, labels, blood, 0.5)[0] != hu).flatten(1).any(1).float().mean()
    assert 0.25 < changed < 0.5  # of those taken, decoys of even brain change nothing


@pytest.mark.parametrize("label, drawn", [(0.0, 0.0), (1.0, -1.0), (1.0, 0.3)])
def test_without_drawn_blood_in_the_batch_nothing_changes(label: float, drawn: float) -> None:
    hu, labels, blood = batch()
    labels[0, 0], blood[0] = label, drawn
    changed = paste_blood(hu, labels, blood, 1.0)
    assert all(torch.equal(before, after) for before, after in zip((hu, labels, blood), changed, strict=True))


class TestWithinSources:
    def test_slices_of_a_source_without_drawn_blood_stay_as_they_are(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pasting, "BLOOD_SHARE", 1.0)
        hu, labels, blood = batch()
        source = (torch.arange(len(hu)) >= 7).long()  # the bleed is of source 0
        changed, changed_labels, _ = paste_within_sources(hu, labels, blood, source, 1.0)
        assert (changed_labels[:7, 0] == 1).all()
        assert torch.equal(changed[7:], hu[7:]) and torch.equal(changed_labels[7:], labels[7:])

    def test_a_share_of_nothing_draws_no_chance(self) -> None:
        before = torch.get_rng_state()
        paste_within_sources(*batch(), torch.zeros(13), 0.0)
        assert torch.equal(torch.get_rng_state(), before)
