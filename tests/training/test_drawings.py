"""`cruor.training.prepare.drawings`: blood that a machine has drawn, and `prepare_data`, which lays it by."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cruor.training.prepare.drawings import Drawings
from cruor.training.prepare.store import read_index, read_slices
from tests.training.preparing import flat, prepared


def _drawn(folder: Path, *rows: tuple[str, str, int]) -> Path:
    """A folder of drawings: each 3 x 3, its middle (peak, 40, 20) in red, green and blue."""
    folder.mkdir(exist_ok=True)
    lines = ["set,id,context,peak,pixels_above_half,file"]
    for source, slice_id, peak in rows:
        kinds = np.zeros((3, 3, 3), np.uint8)
        kinds[1, 1] = peak, 40, 20
        Image.fromarray(kinds).save(folder / f"{source}-{slice_id}.png")
        lines.append(f"{source},{slice_id},3d,{peak},1,{source}-{slice_id}.png")
    (folder / "maps.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_the_three_kinds_of_blood_are_added(tmp_path: Path) -> None:
    picture = Drawings(_drawn(tmp_path, ("ct-ich", "050_07", 150))).of("ct-ich", "050_07")
    assert picture is not None
    assert (picture.shape, int(picture[1, 1]), int(picture.sum())) == ((3, 3), 210, 210)
    assert picture.dtype == np.uint8


def test_their_sum_stays_a_probability(tmp_path: Path) -> None:
    picture = Drawings(_drawn(tmp_path, ("ct-ich", "050_07", 250))).of("ct-ich", "050_07")
    assert picture is not None and picture.max() == 255


@pytest.mark.parametrize(("peak", "says_something"), [(127, False), (128, True)])
def test_a_drawing_that_nowhere_reaches_half_says_nothing(
    tmp_path: Path, peak: int, says_something: bool
) -> None:
    picture = Drawings(_drawn(tmp_path, ("ct-ich", "050_07", peak))).of("ct-ich", "050_07")
    assert (picture is not None) is says_something


def test_slices_of_two_sets_with_one_name_are_kept_apart(tmp_path: Path) -> None:
    drawings = Drawings(_drawn(tmp_path, ("rsna-sample", "one", 200)))
    assert drawings.of("rsna-train", "one") is None


def test_preparing_lays_each_drawing_by_its_slice(tmp_path: Path) -> None:
    root, drawings = tmp_path / "pictures", _drawn(tmp_path / "drawings", ("ct-ich", "050_02", 200))
    names = "patient,slice,any,epidural,intraparenchymal,intraventricular,subarachnoid,subdural,brain,bone"
    (root / "brain").mkdir(parents=True)
    rows = [f"50,{n},{n - 1},0,0,0,0,0,brain/{n}.jpg," for n in (1, 2)]
    (root / "slices.csv").write_text("\n".join([names, *rows]) + "\n")
    for number in (1, 2):
        flat(root / "brain" / f"{number}.jpg", 100)
    assert prepared("ct-ich", root, tmp_path / "out", drawings=drawings).slices == 2
    found = [stored.drawn for stored in read_slices(tmp_path / "out", read_index(tmp_path / "out"))]
    assert found[0] is None
    assert found[1] is not None and found[1].max() == 255


def test_a_real_drawing_lies_over_the_field_of_its_slice(shared_data: Path) -> None:
    drawings = Drawings(shared_data / "blood-maps")
    with (shared_data / "ct-ich" / "slices.csv").open() as lines:
        positive = [line.split(",")[:2] for line in lines if line.split(",")[2] == "1"]
    names = [f"{int(patient):03d}_{int(number):02d}" for patient, number in positive]
    found = [
        picture for picture in (drawings.of("ct-ich", name) for name in names[:40]) if picture is not None
    ]
    assert len(found) > 20
    assert all(picture.shape[0] == picture.shape[1] and picture.max() >= 128 for picture in found)
