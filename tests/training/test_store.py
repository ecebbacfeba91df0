"""`cruor.training.prepare.store`: prepared data comes back as it was put in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

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


def test_a_folder_that_was_not_prepared_says_how_to_prepare_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="cruor prepare"):
        read_index(tmp_path)
