"""`cruor.training.prepare.store`: prepared data comes back as it was put in."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from cruor.training.prepare.store import INDEX, LABELS, LabelledStudy, read_index, read_slices, write_prepared
from tests.training.samples import UNKNOWN, labels, study

BLEEDING = study("bleeding", (False, True, True))
QUIET = study("quiet", (False, False))


def test_hu_come_back_exactly_and_in_the_order_of_the_index(tmp_path: Path) -> None:
    write_prepared([BLEEDING, QUIET], tmp_path)
    read = [stored.hu for stored in read_slices(tmp_path, read_index(tmp_path))]
    np.testing.assert_array_equal(np.stack(read), np.concatenate([BLEEDING.hu, QUIET.hu]))
    assert {hu.dtype for hu in read} == {np.dtype(np.int16)}


def test_slices_come_in_the_order_of_a_shuffled_index(tmp_path: Path) -> None:
    write_prepared([BLEEDING, QUIET], tmp_path)
    shuffled = read_index(tmp_path).iloc[[3, 0, 4, 2]]
    read = [stored.hu for stored in read_slices(tmp_path, shuffled)]
    np.testing.assert_array_equal(
        np.stack(read), np.stack([QUIET.hu[0], BLEEDING.hu[0], QUIET.hu[1], BLEEDING.hu[2]])
    )


def test_drawn_blood_comes_back_where_there_is_some(tmp_path: Path) -> None:
    write_prepared([BLEEDING], tmp_path)
    drawn = [stored.drawn for stored in read_slices(tmp_path, read_index(tmp_path))]
    assert drawn[0] is None
    for row in (1, 2):
        np.testing.assert_array_equal(drawn[row], BLEEDING.drawn[row])
    assert read_index(tmp_path)["drawn"].tolist() == [False, True, True]


def test_unknown_labels_stay_nan(tmp_path: Path) -> None:
    index = write_prepared([BLEEDING], tmp_path)
    assert labels(1.0)[1:] == pytest.approx([UNKNOWN] * 5, nan_ok=True)
    kept = read_index(tmp_path)[list(LABELS)]
    assert kept.iloc[1].tolist() == pytest.approx(list(labels(1.0)), nan_ok=True)
    pd.testing.assert_frame_equal(read_index(tmp_path), index)


def _interrupted() -> Iterator[LabelledStudy]:
    yield BLEEDING
    raise KeyboardInterrupt


def test_the_index_is_written_last(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        write_prepared(_interrupted(), tmp_path)
    assert not (tmp_path / INDEX).exists()


def test_an_index_of_before_does_not_stand_over_data_written_half_anew(tmp_path: Path) -> None:
    write_prepared([BLEEDING, QUIET], tmp_path)
    with pytest.raises(KeyboardInterrupt):
        write_prepared(_interrupted(), tmp_path)
    assert not (tmp_path / INDEX).exists()


def test_masks_come_back_where_there_are_some(tmp_path: Path) -> None:
    mask = (BLEEDING.hu[1] > 70).astype(np.uint8)
    write_prepared([replace(BLEEDING, masks={1: mask})], tmp_path)
    found = [stored.mask for stored in read_slices(tmp_path, read_index(tmp_path))]
    assert found[0] is None and found[2] is None
    np.testing.assert_array_equal(found[1], mask)
    assert read_index(tmp_path)["masked"].tolist() == [False, True, False]


@given(
    arrays(
        np.int16, array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(-(2**15), 2**15 - 1)
    )
)
def test_any_hu_come_back(hu: NDArray[np.int16]) -> None:
    one = replace(QUIET.slices[0])
    with tempfile.TemporaryDirectory() as folder:
        write_prepared([LabelledStudy((one,), hu[None])], Path(folder))
        (stored,) = read_slices(Path(folder), read_index(Path(folder)))
    np.testing.assert_array_equal(stored.hu, hu)


def test_hu_kept_as_int16_by_an_earlier_version_are_read(tmp_path: Path) -> None:
    index = write_prepared([QUIET], tmp_path)
    np.savez_compressed(tmp_path / index["file"][0], hu0=QUIET.hu[0], hu1=QUIET.hu[1])
    read = [stored.hu for stored in read_slices(tmp_path, index)]
    np.testing.assert_array_equal(np.stack(read), QUIET.hu)


def test_a_study_is_written_as_the_same_bytes_every_time(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        write_prepared([BLEEDING], tmp_path / folder)
    (first,), (second,) = ((tmp_path / folder / "studies").iterdir() for folder in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()
    assert {member.date_time[0] for member in zipfile.ZipFile(first).infolist()} == {1980}


@pytest.mark.parametrize(
    ("of_slices", "complete", "of_study"),
    [
        ((0.0, 1.0, UNKNOWN), True, 1.0),
        ((0.0, 0.0, 0.0), True, 0.0),
        ((0.0, 0.0, UNKNOWN), True, UNKNOWN),
        ((0.0, 1.0, 0.0), False, UNKNOWN),
        ((0.0, 0.0, 0.0), False, UNKNOWN),
    ],
)
def test_the_label_of_a_study_follows_from_the_slices_of_a_complete_series(
    tmp_path: Path, of_slices: tuple[float, ...], complete: bool, of_study: float
) -> None:
    slices = tuple(
        replace(one, labels=labels(value), complete_series=complete)
        for one, value in zip(BLEEDING.slices, of_slices, strict=True)
    )
    write_prepared([replace(BLEEDING, slices=slices)], tmp_path)
    assert read_index(tmp_path)["study_any"].tolist() == pytest.approx([of_study] * 3, nan_ok=True)


def test_a_study_keeps_the_labels_that_it_was_given(tmp_path: Path) -> None:
    slices = tuple(replace(one, labels=labels(UNKNOWN), study_labels=labels(1.0)) for one in QUIET.slices)
    write_prepared([replace(QUIET, slices=slices)], tmp_path)
    index = read_index(tmp_path)
    assert index["study_any"].tolist() == [1.0, 1.0]
    assert index["any"].isna().all() and index["study_epidural"].isna().all()


def test_what_is_known_of_a_slice_stands_in_the_index(tmp_path: Path) -> None:
    known = {"age_years": 57.0, "sex": "F", "spacing_mm": 5.0, "pixel_spacing_mm": 0.4, "known_low_hu": -4.0}
    first = replace(QUIET.slices[0], **known)
    write_prepared([replace(QUIET, slices=(first, QUIET.slices[1]))], tmp_path)
    index = read_index(tmp_path)
    assert {name: index[name][0] for name in known} == known
    assert index["sex"][1] == "" and index[["age_years", "spacing_mm", "known_low_hu"]].iloc[1].isna().all()


def test_a_broken_file_of_a_study_is_named(tmp_path: Path) -> None:
    index = write_prepared([BLEEDING], tmp_path)
    file = tmp_path / index["file"].iloc[0]
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(OSError, match=f"{file.name}.*run `cruor prepare` again"):
        list(read_slices(tmp_path, index))


def test_a_broken_index_is_named(tmp_path: Path) -> None:
    write_prepared([BLEEDING], tmp_path)
    (tmp_path / INDEX).write_bytes(b"no table")
    with pytest.raises(OSError, match=f"{INDEX}.*run `cruor prepare` again"):
        read_index(tmp_path)


def test_a_folder_that_was_not_prepared_says_how_to_prepare_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="cruor prepare"):
        read_index(tmp_path)
