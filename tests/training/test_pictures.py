"""The kind `pictures`: HU inside a stated window, and whose patient a picture is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cruor.training.prepare.plan import PrepareError
from cruor.training.prepare.store import LABELS, LabelledStudy
from tests.training.preparing import WINDOW, flat, picture_set, readings

HEADER = "sop_instance_uid,patient_id,series_instance_uid,any,subdural,file"


def table(root: Path, *rows: str) -> Path:
    root.mkdir(exist_ok=True)
    (root / "labels.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    return root


def read(root: Path, tmp_path: Path) -> list[LabelledStudy]:
    found = readings("pictures", root, tmp_path / "out", WINDOW)
    return [study for reading in found for study in reading.studies]


def test_grey_is_hu_inside_the_window(tmp_path: Path) -> None:
    root = picture_set(tmp_path / "set", 256)
    values = {int(study.hu[0, 0, 0]) for study in read(root, tmp_path)}
    assert values == {round(-4 + grey * 80 / 255) for grey in range(256)}


def test_what_the_window_clips_is_said(tmp_path: Path) -> None:
    (study,) = read(picture_set(tmp_path / "set", 1), tmp_path)
    assert (study.slices[0].known_low_hu, study.slices[0].known_high_hu) == (-4, 76)


def test_a_patient_is_the_patient_else_the_series_else_the_slice(tmp_path: Path) -> None:
    root = table(tmp_path / "set", "a,p,s,1,1,g", "b,,s2,0,0,g", "c,,,0,0,g")
    flat(root / "g", 7)
    found = {study.slices[0].sop_instance_uid: study.slices[0].patient_id for study in read(root, tmp_path)}
    assert found == {"a": "p", "b": "s2", "c": "c"}


def test_pictures_of_one_series_are_one_study_of_single_slices(tmp_path: Path) -> None:
    root = table(tmp_path / "set", "b,p,s,1,1,g", "c,q,,0,0,g", "a,p,s,0,0,g")
    flat(root / "g", 7)
    studies = read(root, tmp_path)
    assert [[one.sop_instance_uid for one in study.slices] for study in studies] == [["c"], ["a", "b"]]
    assert not any(one.complete_series for study in studies for one in study.slices)


def test_labels_stand_in_the_order_of_the_outputs_and_missing_ones_are_unknown(tmp_path: Path) -> None:
    root = table(tmp_path / "set", "a,,,1,0,g")
    flat(root / "g", 7)
    (study,) = read(root, tmp_path)
    by_label = dict(zip(LABELS, study.slices[0].labels, strict=True))
    assert (by_label["any"], by_label["subdural"]) == (1.0, 0.0)
    assert np.isnan(by_label["epidural"])


def test_pictures_of_more_than_8_bits_are_put_aside(tmp_path: Path) -> None:
    root = table(tmp_path / "set", "a,,,1,0,deep.png")
    Image.fromarray(np.full((4, 4), 1000, np.uint16)).save(root / "deep.png")
    *_, reading = readings("pictures", root, tmp_path / "out", WINDOW)
    assert not reading.studies and [Path(one.file).name for one in reading.not_read] == ["deep.png"]


def test_one_of_another_size_than_its_series_is_put_aside(tmp_path: Path) -> None:
    root = table(tmp_path / "set", "a,,s,1,0,large", "b,,s,1,0,small")
    flat(root / "large", 7, 8)
    flat(root / "small", 7, 4)
    *_, reading = readings("pictures", root, tmp_path / "out", WINDOW)
    assert len(reading.studies[0].slices) == 1
    assert [Path(one.file).name for one in reading.not_read] == ["small"]


@pytest.mark.parametrize(
    ("header", "row", "why"),
    [("a,b", "1,2", "no column 'sop_instance_uid'"), (HEADER, "a,,,yes,0,g", "'yes' is neither 0 nor 1")],
)
def test_a_wrong_table_is_an_error_that_says_what(tmp_path: Path, header: str, row: str, why: str) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "labels.csv").write_text(f"{header}\n{row}\n")
    with pytest.raises(PrepareError, match=why):
        read(tmp_path / "set", tmp_path)
