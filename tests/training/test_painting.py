"""`cruor.training.painting`: bleeds are painted where they may lie, and labels and place follow them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from cruor.training import painting
from cruor.training.painting import (
    Bleed,
    Head,
    beside_falx,
    crescent,
    find_head,
    in_sulci,
    lens,
    paint,
    paint_bleeds,
)
from cruor.training.prepare.store import LABELS

SIDE = 144
BRAIN_HU, BONE_HU, FLUID_HU = 32.0, 80.0, 8.0


def oval(seed: int = 0, bone_hu: float = BONE_HU, bone: float = 6.0) -> NDArray[np.float32]:
    """A skull longer than wide, of brain with some noise and dark sulci along its left, in air.

    Its bone is so many pixels thick.
    """
    rows, columns = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    distance = np.hypot(rows / 1.25, columns)
    hu = np.where(distance < 46 + bone, bone_hu, 0.0)
    inside = distance < 46
    hu[inside] = BRAIN_HU + 4 * np.random.default_rng(seed).standard_normal(int(inside.sum()))
    hu[inside & (distance > 34) & (columns < 0) & (rows.astype(int) % 12 < 4)] = FLUID_HU
    return hu.astype(np.float32)


def depth_of_oval() -> NDArray[np.float32]:
    """How deep below the skull a pixel lies, pixels across."""
    rows, columns = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    return (46 - np.hypot(rows / 1.25, columns)).astype(np.float32)


BONE_AND_AIR = np.where(oval() == BONE_HU, BONE_HU, 0).astype(np.float32)


def batch() -> tuple[Tensor, Tensor, Tensor]:
    """Eight heads without hemorrhage, of the first unknown kinds, and one with a drawn bleed."""
    hu = torch.from_numpy(np.stack([oval(seed) for seed in range(9)]))[:, None]
    blood, labels = torch.zeros_like(hu), torch.zeros(9, len(LABELS))
    hu[8, 0, 60:70, 60:70], blood[8, 0, 60:70, 60:70] = 65.0, 1.0
    labels[8, [0, 2]] = 1.0
    labels[0, 1:] = torch.nan
    return hu, labels, blood


def painted(shape: Callable[[Head, np.random.Generator], Bleed | None], seed: int) -> tuple[Head, Bleed]:
    head = find_head(oval())
    assert head is not None
    bleed = shape(head, np.random.default_rng(seed))
    assert bleed is not None
    return head, bleed


@pytest.fixture(autouse=True)
def _same_every_time() -> None:
    torch.manual_seed(5)


class TestBatches:
    def test_a_painted_slice_has_blood_its_subtype_and_no_other(self) -> None:
        _, labels, _ = paint_bleeds(*batch(), 1.0)
        assert (labels[:8, 0] == 1).all()
        assert (labels[:8, 1:].sum(1) == 1).all()

    def test_its_blood_lies_where_the_slice_was_changed_most(self) -> None:
        before, _, _ = batch()
        hu, _, blood = paint_bleeds(*batch(), 1.0)
        for row in range(8):
            change = (hu[row] - before[row]).abs()
            assert change[blood[row] == 1].mean() > 8 * change[blood[row] == 0].mean()

    def test_a_slice_with_hemorrhage_is_left_alone(self) -> None:
        for one, before in zip(paint_bleeds(*batch(), 1.0), batch(), strict=True):
            assert torch.equal(one[8], before[8])

    def test_the_share_of_slices_is_painted(self) -> None:
        hu, labels, blood = (torch.cat([one[:8]] * 25) for one in batch())
        assert 0.1 < paint_bleeds(hu, labels, blood, 0.2)[1][:, 0].mean() < 0.3

    def test_what_is_given_stays_as_it_was(self) -> None:
        given = batch()
        paint_bleeds(*given, 1.0)
        for one, before in zip(given, batch(), strict=True):
            torch.testing.assert_close(one, before, rtol=0, atol=0, equal_nan=True)

    def test_the_same_seed_paints_the_same(self) -> None:
        first = paint_bleeds(*batch(), 0.5)
        torch.manual_seed(5)
        for one, again in zip(first, paint_bleeds(*batch(), 0.5), strict=True):
            torch.testing.assert_close(one, again, rtol=0, atol=0, equal_nan=True)

    def test_no_share_draws_no_chance(self) -> None:
        paint_bleeds(*batch(), 0.0)
        drawn = torch.rand(1)
        torch.manual_seed(5)
        assert torch.equal(drawn, torch.rand(1))


class TestOneSlice:
    @pytest.mark.parametrize(("bone_hu", "bone"), [(80.0, 6.0), (140.0, 6.0), (76.0, 6.0), (80.0, 1.5)])
    def test_bone_and_what_lies_outside_keep_their_hu(self, bone_hu: float, bone: float) -> None:
        hu = oval(bone_hu=bone_hu, bone=bone)
        head = find_head(hu)
        assert head is not None
        for seed in range(20):
            found = paint(hu, np.random.default_rng(seed))
            assert found is not None
            changed = found[0] != hu
            assert not changed[hu == bone_hu].any()
            assert not changed[hu == 0].any()
            assert found[0][changed].max() < bone_hu

    def test_blood_is_brighter_than_the_brain_unless_it_is_old(self) -> None:
        found = [paint(oval(), np.random.default_rng(seed)) for seed in range(60)]
        levels = [float(np.median(one[0][one[1]])) for one in found if one is not None]
        assert len(levels) > 50
        assert np.mean(np.array(levels) > BRAIN_HU + 5) > 0.9

    def test_fresh_blood_makes_nothing_darker_be_it_the_rim_of_bone(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(painting, "OLD_SHARE", 0.0)
        rimmed = oval()
        depth = depth_of_oval()
        rimmed[(depth > 0) & (depth < 2)] = 70
        tried = [paint(rimmed, np.random.default_rng(seed)) for seed in range(20)]
        found = [one for one in tried if one is not None]
        assert len(found) > 5
        for hu, form, _ in found:
            assert (hu >= rimmed).all()
            assert np.median((hu - rimmed)[form]) >= painting.LEAST_CHANGE_HU

    def test_what_cannot_be_told_from_the_rim_of_bone_is_not_painted(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(painting, "SHAPES", (lambda head, rng: Bleed(head.depth == 1, "subdural"),))
        monkeypatch.setattr(painting, "SHAPE_SHARES", (1.0,))
        assert paint(oval(), np.random.default_rng(0)) is not None
        rimmed = oval()
        rimmed[(depth_of_oval() > 0) & (depth_of_oval() < 3)] = 72
        assert paint(rimmed, np.random.default_rng(0)) is None

    @pytest.mark.parametrize(
        ("what", "hu"),
        [
            ("air", np.zeros((SIDE, SIDE), dtype=np.float32)),
            ("no skull", np.full((SIDE, SIDE), BRAIN_HU, dtype=np.float32)),
            ("bone alone", np.full((SIDE, SIDE), BONE_HU, dtype=np.float32)),
            ("a skull full of air", BONE_AND_AIR),
            ("a skull with a rest of brain", np.where(depth_of_oval() > 26, oval(), BONE_AND_AIR)),
            ("a vertex", oval()[::4, ::4]),
        ],
    )
    def test_nothing_is_painted_where_no_brain_is_found(self, what: str, hu: NDArray[np.float32]) -> None:
        small = np.zeros((SIDE, SIDE), dtype=np.float32)
        small[: len(hu), : len(hu)] = hu
        assert paint(small, np.random.default_rng(0)) is None, what


class TestShapes:
    @pytest.mark.parametrize("seed", range(5))
    @pytest.mark.parametrize("shape", [crescent, lens])
    def test_blood_under_the_skull_touches_it_and_is_of_one_piece(
        self, shape: Callable[[Head, np.random.Generator], Bleed], seed: int
    ) -> None:
        head, bleed = painted(shape, seed)
        _, pieces = painting.ndimage.label(bleed.form, structure=np.ones((3, 3)))
        assert pieces == 1
        assert head.depth[bleed.form].min() == 1
        assert head.depth[bleed.form].max() <= 11 * head.unit

    def test_a_lens_is_shorter_for_its_thickness_than_a_crescent(self) -> None:
        def flatness(shape: Callable[[Head, np.random.Generator], Bleed]) -> float:
            all_of_it = [painted(shape, seed) for seed in range(40)]
            return float(np.median([b.form.sum() / h.depth[b.form].max() ** 2 for h, b in all_of_it]))

        assert flatness(crescent) > 3 * flatness(lens)

    def test_blood_beside_the_falx_lies_near_the_middle_of_a_long_head(self) -> None:
        for seed in range(10):
            head, bleed = painted(beside_falx, seed)
            assert bleed.subtype == "subdural"
            columns = np.nonzero(bleed.form)[1]
            assert np.abs(columns - head.centre[1]).max() < 6

    def test_a_head_that_is_wider_than_long_tells_no_falx(self) -> None:
        head = find_head(np.ascontiguousarray(oval().T))
        assert head is not None
        assert beside_falx(head, np.random.default_rng(0)) is None

    def test_a_round_head_tells_no_falx(self) -> None:
        rows, columns = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
        distance = np.hypot(rows, columns)
        head = find_head(np.select([distance < 46, distance < 52], [BRAIN_HU, BONE_HU], 0).astype(np.float32))
        assert head is not None
        assert beside_falx(head, np.random.default_rng(0)) is None

    def test_subarachnoid_blood_takes_the_place_of_fluid(self) -> None:
        head, bleed = painted(in_sulci, 0)
        assert bleed.subtype == "subarachnoid"
        assert bleed.form.any() and np.median(head.hu[bleed.form]) == FLUID_HU

    def test_a_brain_without_sulci_gets_none(self) -> None:
        full = oval()
        full[full == FLUID_HU] = BRAIN_HU
        head = find_head(full)
        assert head is not None
        assert in_sulci(head, np.random.default_rng(0)) is None

    def test_sizes_follow_the_size_of_the_crop(self) -> None:
        twice = find_head(np.kron(oval(), np.ones((2, 2), dtype=np.float32)))
        once = find_head(oval())
        assert once is not None and twice is not None
        sizes = [lens(head, np.random.default_rng(3)).form.sum() for head in (once, twice)]
        assert sizes[1] == pytest.approx(4 * sizes[0], rel=0.25)
