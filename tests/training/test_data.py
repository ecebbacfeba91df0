"""`cruor.training.data`: what a network is shown, and that no patient teaches and tests."""

from __future__ import annotations

import pickle
import re
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from cruor.preprocessing.channels import InputSettings, crop_head, to_channels
from cruor.preprocessing.crop import CropSettings
from cruor.preprocessing.windows import WINDOWS_HU, Window
from cruor.training import data
from cruor.training.data import (
    UNKNOWN_BLOOD,
    CropsInMemory,
    Heads,
    SliceDataset,
    augment,
    channels_of,
    draw_epoch,
    load_heads,
    why_no_heads,
)
from cruor.training.experiment import AugmentationSettings, DataSettings, ExperimentError
from cruor.training.prepare.ct_ich import rebuild_hu
from cruor.training.prepare.store import INDEX, LABELS, StoredSlice, read_index, read_slice, write_prepared
from cruor.training.splits import check_no_patient_on_two_sides, split_by_patient
from tests.training.samples import SIDE, as_pictures, blob, head, labels, study

INPUT = InputSettings(CropSettings(size=64))
BOUNDS = INPUT.bounds_hu
NOTHING = AugmentationSettings(0, 0, 0, 0, 0, 0, 0)

some_studies = st.lists(
    st.tuples(st.integers(0, 9), st.sampled_from(["ct-ich", "rsna"]), st.booleans(), st.integers(1, 6)),
    min_size=10,
    max_size=40,
)
seeds = st.integers(0, 2**31)


def index_of(studies: list[tuple[int, str, bool, int]]) -> pd.DataFrame:
    """An index of (patient, source, blood, slices); a patient may have several studies."""
    rows = [
        {"patient_id": f"{source}-{patient}", "source": source, "any": float(blood and i == 0)}
        for patient, source, blood, count in studies
        for i in range(count)
    ]
    return pd.DataFrame(rows)


BRAIN_ALONE: tuple[Window, ...] = ((0, 80),)
Area = Literal["head", "shown-head", "slice"]


def slices_and_pictures(folder: Path) -> pd.DataFrame:
    """Index of a source of slices and one of pictures."""
    write_prepared([study("a", (True,), source="ct-ich")], folder / "slices")
    write_prepared([as_pictures(study("b", (True,), source="pictures"))], folder / "pictures")
    return pd.concat([read_index(folder / name) for name in ("slices", "pictures")], ignore_index=True)


class TestLoadHeads:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        unknown = study("unknown", (False, False))
        without = tuple(
            type(one)(**{**vars(one), "labels": (float("nan"),) * len(LABELS)}) for one in unknown.slices
        )
        studies = [
            study("one", (False, True), patient="P1"),
            study("two", (True,), patient="P2", drawn=False),
            type(unknown)(without, unknown.hu),
            study("three", (False,), patient="P3"),
        ]
        write_prepared(studies, tmp_path)
        return tmp_path

    def test_heads_are_cut_out_as_the_reader_cuts_them(self, folder: Path) -> None:
        heads = load_heads(DataSettings((str(folder),)), INPUT)
        wanted = crop_head(study("one", (False, True)).hu[1], INPUT)[0]
        np.testing.assert_array_equal(heads.crops[1].hu, np.round(wanted))
        assert heads.crops[1].hu.dtype == np.int16

    @pytest.mark.parametrize(
        ("area", "windows", "above"),
        [("head", BRAIN_ALONE, -350), ("head", WINDOWS_HU, -350), ("shown-head", WINDOWS_HU[::-1], -102.5)],
    )
    def test_pictures_are_told_of_which_a_crop_would_take_all_for_head(
        self, area: Area, windows: tuple[Window, ...], above: float, tmp_path: Path
    ) -> None:
        settings = InputSettings(CropSettings(size=64, area=area), windows_hu=windows)
        reason = why_no_heads(slices_and_pictures(tmp_path), settings)
        wanted = f"^pictures: .* nothing is darker than -4 HU, .* above {above:g} HU for head$"
        assert reason is not None
        assert re.search(wanted, reason)

    @pytest.mark.parametrize(
        ("area", "windows"),
        [
            *(("shown-head", windows) for windows in (BRAIN_ALONE, WINDOWS_HU)),
            *(("slice", windows) for windows in (BRAIN_ALONE, WINDOWS_HU)),
        ],
    )
    def test_pictures_are_taken_by_a_crop_that_finds_the_head_in_them(
        self, area: Area, windows: tuple[Window, ...], tmp_path: Path
    ) -> None:
        settings = InputSettings(CropSettings(size=64, area=area), windows_hu=windows)
        assert why_no_heads(slices_and_pictures(tmp_path), settings) is None

    def test_a_prepared_folder_from_before_black_was_told_is_taken_for_slices(self, folder: Path) -> None:
        index = pd.read_parquet(folder / INDEX)
        index.drop(columns=["known_low_hu", "known_high_hu"]).to_parquet(folder / INDEX)
        assert why_no_heads(read_index(folder), INPUT) is None

    def test_a_slice_and_a_picture_of_it_are_shown_alike(self, tmp_path: Path) -> None:
        one = study("a", (True,))
        settings = InputSettings(CropSettings(size=64, area="shown-head"), windows_hu=((0, 80),))
        write_prepared([one], tmp_path / "slices")
        write_prepared([as_pictures(one)], tmp_path / "pictures")
        crops = [
            load_heads(DataSettings((str(tmp_path / name),)), settings).crops[0].hu
            for name in ("slices", "pictures")
        ]
        np.testing.assert_allclose(crops[0], crops[1], atol=4)  # bone is 80 HU, and 76 in the picture

    def test_slices_without_a_label_are_not_read(self, folder: Path) -> None:
        heads = load_heads(DataSettings((str(folder),)), INPUT)
        assert heads.index["study_instance_uid"].tolist() == ["one", "one", "two", "three"]
        assert len(heads.crops.hu) == 4

    def test_patients_that_are_left_out_are_not_read(self, folder: Path) -> None:
        heads = load_heads(DataSettings((str(folder),), left_out_patients=("P1",)), INPUT)
        assert heads.index["patient_id"].tolist() == ["P2", "P3"]

    def test_a_misspelt_patient_among_those_left_out_is_refused(self, folder: Path) -> None:
        with pytest.raises(ExperimentError, match="no patient 'P1O' in the data"):
            load_heads(DataSettings((str(folder),), left_out_patients=("P1O", "P2")), INPUT)

    def test_that_none_of_those_left_out_is_there_is_said(
        self, folder: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        load_heads(DataSettings((str(folder),), left_out_patients=("CT-ICH-077",)), INPUT)
        assert "left_out_patients: none of them is in the data" in caplog.text

    def test_the_slices_of_several_folders_are_numbered_through(self, folder: Path) -> None:
        heads = load_heads(DataSettings((str(folder), str(folder))), INPUT)
        assert heads.index.index.tolist() == list(range(8))
        assert [row for row in range(8) if heads.crops[row].drawn is not None] == [1, 5]

    def test_a_drawing_is_cut_out_with_its_slice(self, folder: Path) -> None:
        heads = load_heads(DataSettings((str(folder),)), INPUT)
        hu, drawn = heads.crops[1].hu, heads.crops[1].drawn > 127
        bright = (hu > 60) & (hu < 100)
        assert (drawn & bright).sum() > 0.8 * drawn.sum() > 0

    def test_slices_read_when_asked_for_are_the_same_to_the_bit(self, folder: Path) -> None:
        other = folder / "other"
        write_prepared([study("four", (True, False))], other)
        settings = DataSettings((str(folder), str(other)), left_out_patients=("P3",))
        memory = load_heads(settings, INPUT)
        disk = load_heads(replace(settings, in_memory=False), INPUT)
        pd.testing.assert_frame_equal(disk.index, memory.index)
        rows = np.array([4, 1, 0, 2, 3])
        for kept, read in zip(SliceDataset(memory, rows), SliceDataset(disk, rows), strict=True):
            for one, other in zip(kept, read, strict=True):
                torch.testing.assert_close(other, one, rtol=0, atol=0, equal_nan=True)

    def test_nothing_is_read_before_it_is_asked_for_and_then_that_slice_alone(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        read: list[int] = []

        def watched(folder: Path, file: str, row: int) -> StoredSlice:
            read.append(row)
            return read_slice(folder, file, row)

        monkeypatch.setattr(data, "read_slice", watched)
        monkeypatch.setattr(data, "read_slices", None)
        heads = load_heads(DataSettings((str(folder),), in_memory=False), INPUT)
        assert read == []
        SliceDataset(heads, np.array([1, 3]))[0]
        assert read == [1]

    def test_a_study_whose_file_is_missing_is_named_before_anything_is_read(self, folder: Path) -> None:
        file = next((folder / "studies").iterdir())
        file.unlink()
        with pytest.raises(FileNotFoundError, match=rf"{file.name}: is missing; run `cruor prepare` again"):
            load_heads(DataSettings((str(folder),), in_memory=False), INPUT)

    def test_a_damaged_study_is_named(self, folder: Path) -> None:
        heads = load_heads(DataSettings((str(folder),), in_memory=False), INPUT)
        for file in (folder / "studies").iterdir():
            file.write_bytes(file.read_bytes()[:400])
        with pytest.raises(OSError, match=r"studies/\w+\.npz: cannot be read .* run `cruor prepare` again"):
            heads.crops[0]

    def test_what_goes_to_a_process_that_reads_is_small(self, folder: Path) -> None:
        heads = load_heads(DataSettings((str(folder),), in_memory=False), INPUT)
        sent = pickle.dumps(SliceDataset(heads, np.array([0, 1])))
        assert b"patient_id" not in sent
        assert len(sent) < 4000

    def test_progress_counts_slices(self, folder: Path) -> None:
        told: list[int] = []
        load_heads(DataSettings((str(folder),)), INPUT, told.append)
        assert told == [1, 2, 3, 4]


class TestSplitByPatient:
    @settings(max_examples=30)
    @given(studies=some_studies, folds=st.integers(2, 4), seed=st.integers(0, 1000))
    @pytest.mark.filterwarnings("ignore:The least populated class:UserWarning")
    def test_no_patient_is_held_out_in_two_folds(
        self, studies: list[tuple[int, str, bool, int]], folds: int, seed: int
    ) -> None:
        index = index_of(studies)
        assume(index["patient_id"].nunique() >= folds)
        fold = split_by_patient(index, folds, seed)
        assert pd.Series(fold).groupby(index["patient_id"]).nunique().max() == 1
        for number in range(folds):
            check_no_patient_on_two_sides(
                index, np.flatnonzero(fold != number), np.flatnonzero(fold == number)
            )

    @pytest.mark.parametrize("seed", range(5))
    def test_each_fold_has_slices_of_both_classes_from_each_source(self, seed: int) -> None:
        studies = [(i, source, i % 3 == 0, 5) for i in range(30) for source in ("ct-ich", "rsna")]
        index = index_of(studies)
        held = index.assign(fold=split_by_patient(index, 5, seed)).groupby(["fold", "source"])["any"]
        assert held.nunique().tolist() == [2] * 10

    def test_the_same_seed_splits_the_same_way(self) -> None:
        index = index_of([(i, "ct-ich", i % 2 == 0, 3) for i in range(20)])
        np.testing.assert_array_equal(split_by_patient(index, 4, 1), split_by_patient(index, 4, 1))
        assert (split_by_patient(index, 4, 1) != split_by_patient(index, 4, 2)).any()

    def test_a_patient_on_two_sides_is_refused_by_name(self) -> None:
        index = index_of([(1, "ct-ich", True, 2), (2, "ct-ich", False, 1)])
        with pytest.raises(ValueError, match="ct-ich-1"):
            check_no_patient_on_two_sides(index, np.array([0]), np.array([1, 2]))


class TestDrawEpoch:
    LABEL = np.array([1, 0, 0, 1, 0, 0, 0, 0, 1, 0] * 5, dtype=np.float32)
    ROWS = np.arange(3, 50)

    def drawn(self, ratio: float, seed: int = 7) -> list[int]:
        return [int(row) for row in draw_epoch(self.LABEL, self.ROWS, ratio, seed)]

    def test_every_positive_slice_is_in_every_epoch(self) -> None:
        positive = set(self.ROWS[self.LABEL[self.ROWS] == 1].tolist())
        assert all(positive <= set(self.drawn(1.0, seed)) for seed in range(5))

    @pytest.mark.parametrize("ratio", [0.0, 0.5, 1.0, 2.0])
    def test_negatives_are_drawn_to_the_ratio_that_is_asked(self, ratio: float) -> None:
        chosen = self.LABEL[self.drawn(ratio)]
        assert (chosen == 0).sum() == round(ratio * (chosen == 1).sum())

    def test_with_too_few_negatives_all_are_taken(self) -> None:
        assert sorted(self.drawn(100.0)) == self.ROWS.tolist()

    def test_nothing_is_drawn_twice_and_nothing_from_outside_the_rows(self) -> None:
        chosen = self.drawn(1.5)
        assert len(set(chosen)) == len(chosen)
        assert set(chosen) <= set(self.ROWS.tolist())

    def test_the_same_seed_draws_the_same_in_the_same_order(self) -> None:
        assert self.drawn(1.0, 3) == self.drawn(1.0, 3)

    def test_another_seed_draws_other_negatives(self) -> None:
        assert set(self.drawn(1.0, 3)) != set(self.drawn(1.0, 4))


def heads_of(*any_labels: float) -> Heads:
    """One slice a label; the first is drawn."""
    index = pd.DataFrame([dict(zip(LABELS, labels(value), strict=True)) for value in any_labels])
    hu = np.stack([head(i)[:64, :64] for i in range(len(any_labels))])
    return Heads(index, CropsInMemory(hu, {0: np.where(blob()[:64, :64], 255, 0).astype(np.uint8)}))


class TestSliceDataset:
    def test_labels_may_be_written_to_so_that_torch_does_not_warn(self) -> None:
        assert heads_of(1, 0).labels.flags.writeable

    def test_a_drawn_slice_gives_its_drawing_as_a_share(self) -> None:
        _, _, blood = SliceDataset(heads_of(1, 0), np.array([0]))[0]
        np.testing.assert_array_equal(blood[0].numpy(), blob()[:64, :64].astype(np.float32))

    def test_a_negative_slice_has_no_blood_even_where_a_machine_drew_some(self) -> None:
        assert SliceDataset(heads_of(0), np.array([0]))[0][2].abs().max() == 0

    def test_the_blood_of_a_positive_slice_without_a_drawing_is_unknown(self) -> None:
        assert (SliceDataset(heads_of(1, 1), np.array([1]))[0][2] == UNKNOWN_BLOOD).all()

    def test_unknown_labels_stay_nan(self) -> None:
        wanted = torch.tensor(labels(1.0))
        torch.testing.assert_close(SliceDataset(heads_of(1), np.array([0]))[0][1], wanted, equal_nan=True)

    def test_rows_are_given_in_the_order_asked_for(self) -> None:
        heads = heads_of(1, 0, 1)
        hu = SliceDataset(heads, np.array([2, 0]))[0][0]
        np.testing.assert_array_equal(hu[0].numpy(), heads.crops[2].hu)


def bleeding_batch(n: int = 4) -> tuple[Tensor, Tensor]:
    """Heads in which nothing is brighter than the blood, and the blood in them."""
    hu = torch.from_numpy(np.stack([head(i, blood=True) for i in range(n)])).float()[:, None]
    hu = torch.where(hu > 100, 30.0, hu).clamp(*BOUNDS)
    return hu, torch.from_numpy(blob()).float().expand(n, 1, SIDE, SIDE).clone()


def middle(weights: Tensor) -> Tensor:
    """Centre of mass of each slice, (n, 2), in pixels."""
    places = torch.stack(torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij"), -1).float()
    weights = weights[:, 0, :, :, None]
    return (weights * places).sum((1, 2)) / weights.sum((1, 2))


class TestAugment:
    @settings(max_examples=20)
    @given(seed=seeds, strength=st.floats(0, 20))
    def test_hu_stay_within_the_bounds(self, seed: int, strength: float) -> None:
        torch.manual_seed(seed)
        much = AugmentationSettings(180, 0.5, 0.5, strength / 10, strength * 20, strength * 20, 0.5)
        hu, _ = augment(*bleeding_batch(), much, INPUT)
        assert BOUNDS[0] <= hu.min() and hu.max() <= BOUNDS[1]

    @settings(max_examples=40)
    @given(seed=seeds, degrees=st.floats(0, 180), scale=st.floats(0, 0.2), shift=st.floats(0, 0.1))
    def test_blood_moves_with_the_picture(
        self, seed: int, degrees: float, scale: float, shift: float
    ) -> None:
        torch.manual_seed(seed)
        moving = AugmentationSettings(degrees, scale, shift, 0, 0, 0, 0)
        hu, blood = augment(*bleeding_batch(), moving, INPUT)
        bright = (hu - 55).clamp(min=0)
        assert (middle(bright) - middle(blood)).abs().max() < 1.5

    def test_a_moved_drawing_stays_a_probability(self) -> None:
        torch.manual_seed(0)
        _, blood = augment(*bleeding_batch(), AugmentationSettings(), INPUT)
        assert blood.min() >= 0 and blood.max() <= 1

    @settings(max_examples=20)
    @given(seed=seeds)
    def test_unknown_blood_stays_unknown_everywhere_and_only_in_its_slice(self, seed: int) -> None:
        torch.manual_seed(seed)
        hu, blood = bleeding_batch()
        blood[1] = UNKNOWN_BLOOD
        _, moved = augment(hu, blood, AugmentationSettings(), INPUT)
        assert (moved[1] == UNKNOWN_BLOOD).all()
        assert (moved[[0, 2, 3]] >= 0).all()

    def test_a_slice_without_blood_keeps_none(self) -> None:
        hu, blood = bleeding_batch()
        assert augment(hu, torch.zeros_like(blood), AugmentationSettings(), INPUT)[1].abs().max() == 0

    def test_what_comes_in_from_outside_is_air(self) -> None:
        torch.manual_seed(1)
        tissue = torch.full((8, 1, SIDE, SIDE), 40.0)
        hu, _ = augment(tissue, torch.zeros_like(tissue), AugmentationSettings(45, 0, 0, 0, 0, 0, 0), INPUT)
        corner = hu[:, 0, 0, 0]
        assert corner.min() == BOUNDS[0]
        assert hu[:, 0, SIDE // 2, SIDE // 2].tolist() == pytest.approx([40.0] * 8, abs=1e-3)

    def test_with_all_ranges_at_nothing_it_only_mirrors(self) -> None:
        torch.manual_seed(2)
        hu, blood = bleeding_batch(16)
        changed_hu, changed_blood = augment(hu, blood, NOTHING, INPUT)
        mirrored = (changed_hu - hu).abs().amax((1, 2, 3)) > 1
        assert 0 < mirrored.sum() < 16
        flip = mirrored[:, None, None, None]
        torch.testing.assert_close(changed_hu, torch.where(flip, hu.flip(3), hu), rtol=0, atol=0.05)
        torch.testing.assert_close(changed_blood, torch.where(flip, blood.flip(3), blood), rtol=0, atol=1e-3)

    def test_each_slice_of_a_batch_is_changed_by_itself(self) -> None:
        torch.manual_seed(3)
        hu, blood = bleeding_batch(1)
        changed, _ = augment(
            hu.expand(4, -1, -1, -1), blood.expand(4, -1, -1, -1), AugmentationSettings(), INPUT
        )
        assert all((changed[i] - changed[0]).abs().max() > 1 for i in (1, 2, 3))

    def test_a_share_of_slices_is_shown_as_a_picture_of_the_first_window_shows_them(self) -> None:
        torch.manual_seed(5)
        bone = torch.full((64, 1, 8, 8), 140.0)
        wide = InputSettings(CropSettings(size=8), windows_hu=((0, 80), (0, 140)))
        clipped = replace(NOTHING, shift=0, clipped=0.5)
        hu, _ = augment(bone, torch.zeros_like(bone), clipped, wide)
        kept = hu[:, 0, 4, 4]
        assert set(kept.tolist()) == {80.0, 140.0}
        assert 16 < (kept == 80).sum() < 48

    def test_the_same_seed_changes_the_same_way(self) -> None:
        changed = []
        for _ in range(2):
            torch.manual_seed(4)
            changed.append(augment(*bleeding_batch(), AugmentationSettings(), INPUT)[0])
        assert torch.equal(*changed)


@pytest.mark.parametrize("std", [0.5, 0.226])
def test_channels_of_tensors_are_those_of_preprocessing(std: float) -> None:
    given_settings = InputSettings(CropSettings(size=64), mean=0.45, std=std)
    hu = np.random.default_rng(1).uniform(*BOUNDS, (3, 64, 64)).astype(np.float32)
    ours = channels_of(torch.from_numpy(hu)[:, None], given_settings).numpy()
    np.testing.assert_allclose(ours, to_channels(hu, given_settings), rtol=0, atol=1e-6)


def test_channels_of_a_real_head_are_those_of_preprocessing(shared_data: Path) -> None:
    root = shared_data / "ct-ich"
    hu, _ = crop_head(rebuild_hu(root / "brain" / "050_07.jpg", root / "bone" / "050_07.jpg"), INPUT)
    ours = channels_of(torch.tensor(hu)[None, None], INPUT).numpy()[0]
    np.testing.assert_allclose(ours, to_channels(hu, INPUT), rtol=0, atol=1e-6)
