"""`cruor explain --data`: whether a map points at the bleed is counted fairly, beside chance."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from typer.testing import CliRunner

from cruor.cli import app
from cruor.preprocessing.crop import Box
from cruor.reader.study_head import study_probability
from cruor.training.explain.cam import Cams
from cruor.training.explain.explainer import Explainer
from cruor.training.explain.pointing import (
    BOX,
    DRAWN,
    MASK,
    Places,
    point_at_blood,
    point_own_map,
    read_boxes,
    score,
)
from cruor.training.prepare.store import INDEX, write_prepared
from tests.training.samples import SIDE, as_pictures, blob, study

AT_THE_BLOB = (40, 60)
ELSEWHERE = (60, 30)


class Pointing(Explainer):
    """Points where it is told: the library's form and the exact form; `logit` is what the bundle says."""

    def __init__(
        self, real: Explainer, library: tuple[int, int], exact: tuple[int, int] | None, logit: float
    ) -> None:
        for name in ("bundle", "network", "layer", "layer_name", "cells"):
            object.__setattr__(self, name, getattr(real, name))
        object.__setattr__(self, "points", (library, exact))
        object.__setattr__(self, "logit", logit)

    def explain(self, hu: NDArray[np.int16]) -> tuple[Cams, Box]:
        heats = [None if point is None else spot(point) for point in self.points]  # type: ignore[attr-defined]
        logits = np.arange(6, dtype=np.float32) + self.logit  # type: ignore[attr-defined]
        return Cams(heats[0], heats[1], logits, 1.0, 0.1), Box(0, 0, SIDE)


def cropping(told: Pointing, area: Literal["head", "slice"]) -> Pointing:
    """The same with a bundle of this crop area."""
    manifest = told.bundle.manifest  # type: ignore[attr-defined]
    crop = replace(manifest.input.crop, area=area)
    changed = replace(manifest, input=replace(manifest.input, crop=crop))
    object.__setattr__(told, "bundle", replace(told.bundle, manifest=changed))  # type: ignore[attr-defined]
    return told


def spot(point: tuple[int, int]) -> NDArray[np.float32]:
    heat = np.zeros((SIDE, SIDE), dtype=np.float32)
    heat[point[0] - 1 : point[0] + 2, point[1] - 1 : point[1] + 2] = 1
    return heat


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two patients; of one bleed a machine's drawing is known."""
    bleeding, quiet = study("a", (False, True, True)), study("b", (False, True), drawn=False)
    write_prepared([bleeding, quiet], tmp_path / "ct-ich")
    return tmp_path / "ct-ich"


def with_masks(folder: Path) -> Path:
    """The same, the bleeds outlined by hand beside the drawings."""
    index = pd.read_parquet(folder / INDEX)
    for file in set(index["file"]):
        with np.load(folder / file) as archive:
            arrays = dict(archive)
        rows = index[(index["file"] == file) & (index["any"] == 1)]["row"]
        masks = {f"mask{row}": blob().astype(np.uint8) for row in rows}
        np.savez_compressed(folder / file, allow_pickle=False, **arrays, **masks)
    index.assign(masked=index["any"] == 1).to_parquet(folder / INDEX)
    return folder


Pointer = Callable[..., Pointing]


@pytest.fixture
def pointing(explainer: Explainer) -> Pointer:
    return lambda library=AT_THE_BLOB, exact=AT_THE_BLOB, logit=0.0: Pointing(
        explainer, library, exact, logit
    )


class TestCounting:
    def test_each_form_is_counted_by_itself(self, folder: Path, tmp_path: Path, pointing: Pointer) -> None:
        record = point_at_blood(Places([folder]), pointing(exact=ELSEWHERE), tmp_path / "out")
        library, exact = record["figures"]
        assert (library["form"], library["hit"]["value"], library["inside"]["value"]) == ("library", 1, 1)
        assert (exact["form"], exact["hit"]["value"], exact["inside"]["value"]) == ("exact", 0, 0)
        assert library["truth"] == DRAWN

    def test_only_slices_with_a_known_bleed_count(
        self, folder: Path, tmp_path: Path, pointing: Pointer
    ) -> None:
        record = point_at_blood(Places([folder]), pointing(), tmp_path / "out")
        assert record["slices"] == 2
        assert record["figures"][0]["patients"] == 1

    def test_slices_are_suspected_at_the_operating_points_that_they_reach_alone(
        self, folder: Path, tmp_path: Path, pointing: Pointer
    ) -> None:
        told = pointing(logit=0.7)
        manifest = told.bundle.manifest
        calibrated = manifest.calibration.slope[0] * 0.7 + manifest.calibration.intercept[0]
        alone = np.array([1 / (1 + np.exp(-calibrated))])
        probability = study_probability(alone, manifest.study_head)
        strict = replace(manifest.rules.operating_point, name="strict", threshold=probability * 1.01)
        mild = replace(strict, name="mild", threshold=probability * 0.99)
        rules = replace(manifest.rules, operating_point=strict, other_points=(mild,))
        object.__setattr__(told, "bundle", replace(told.bundle, manifest=replace(manifest, rules=rules)))
        record = point_at_blood(Places([folder]), told, tmp_path / "out")
        for figure in record["figures"]:
            shares = {name: share["value"] for name, share in figure["suspected"].items()}
            assert shares == {"strict": 0.0, "mild": 1.0}
        lines = pd.read_csv(tmp_path / "out" / "explain.csv")
        np.testing.assert_allclose(lines["probability"], probability, rtol=1e-6)

    def test_a_mask_by_hand_goes_before_a_machines_drawing(
        self, folder: Path, tmp_path: Path, pointing: Pointer
    ) -> None:
        record = point_at_blood(Places([with_masks(folder)]), pointing(), tmp_path / "out")
        assert {figure["truth"] for figure in record["figures"]} == {MASK}
        assert record["slices"] == 3

    def test_a_drawing_without_a_pixel_above_half_places_nothing(
        self, tmp_path: Path, pointing: Pointer
    ) -> None:
        faint = study("a", (True, True))
        faint.drawn[0] = np.minimum(faint.drawn[0], 100)
        write_prepared([faint], tmp_path / "faint")
        record = point_at_blood(Places([tmp_path / "faint"]), pointing(), tmp_path / "out")
        assert record["slices"] == 1

    def test_the_head_of_a_picture_ends_where_black_begins(self, tmp_path: Path, pointing: Pointer) -> None:
        """Chance counts over the head: in pictures air is not -1000 HU, and all of one would be the head."""
        one = study("a", (True,))
        chances = []
        told = cropping(pointing(), "slice")
        for name, same in (("slices", one), ("pictures", as_pictures(one))):
            write_prepared([same], tmp_path / name)
            record = point_at_blood(Places([tmp_path / name]), told, tmp_path / "out")
            chances.append(record["figures"][0]["chance"])
        assert chances[1] == pytest.approx(chances[0], rel=0.05)

    def test_pictures_in_which_the_bundle_would_find_no_head_are_refused(
        self, tmp_path: Path, pointing: Pointer
    ) -> None:
        write_prepared([as_pictures(study("a", (True,)))], tmp_path / "pictures")
        with pytest.raises(ValueError, match=r"^ct-ich: pictures .* cannot read it: take a bundle"):
            point_at_blood(Places([tmp_path / "pictures"]), cropping(pointing(), "head"), tmp_path / "out")

    def test_boxes_are_found_by_the_pictures_name(
        self, folder: Path, tmp_path: Path, pointing: Pointer
    ) -> None:
        boxes = tmp_path / "boxes.csv"
        boxes.write_text("file,x_min,y_min,x_max,y_max\njpg/b.2.jpg,55,35,65,45\n")
        record = point_at_blood(Places([folder], boxes), pointing(exact=ELSEWHERE), tmp_path / "out")
        library, exact = record["figures"]
        assert (library["truth"], library["slices"]) == (BOX, 1)
        assert (library["hit"]["value"], exact["hit"]["value"]) == (1, 0)

    def test_a_table_without_a_column_of_the_box_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "boxes.csv").write_text("file,x_min\na,1\n")
        with pytest.raises(ValueError, match=r"boxes\.csv: no column y_min, x_max, y_max"):
            read_boxes(tmp_path / "boxes.csv")

    def test_a_network_without_the_exact_form_is_counted_by_the_librarys(
        self, folder: Path, tmp_path: Path, pointing: Pointer
    ) -> None:
        record = point_at_blood(Places([folder]), pointing(exact=None), tmp_path / "out")
        assert [figure["form"] for figure in record["figures"]] == ["library"]
        assert record["figures"][0]["correlation"] is None

    def test_fewer_slices_are_drawn_by_chance_but_always_the_same(
        self, folder: Path, tmp_path: Path, pointing: Pointer
    ) -> None:
        with_masks(folder)
        for out in ("first", "second"):
            point_at_blood(Places([folder], most=2), pointing(), tmp_path / out)
        first, second = (pd.read_csv(tmp_path / out / "explain.csv") for out in ("first", "second"))
        assert first["sop_instance_uid"].nunique() == 2
        assert first["sop_instance_uid"].tolist() == second["sop_instance_uid"].tolist()

    def test_the_own_map_alone_is_counted_as_beside_the_librarys(
        self, folder: Path, tmp_path: Path, explainer: Explainer
    ) -> None:
        both = point_at_blood(Places([folder]), explainer, tmp_path / "both")["figures"]
        record = point_own_map(Places([folder]), explainer, tmp_path / "own")
        [own] = record["figures"]
        assert "Grad-CAM" not in record["note"]
        wanted = next(figure for figure in both if figure["form"] == "exact")
        for differing in ("seconds_per_slice", "correlation"):
            del own[differing], wanted[differing]
        assert own == wanted

    def test_the_own_map_of_a_bundle_without_one_is_refused(
        self, folder: Path, tmp_path: Path, pointing: Pointer
    ) -> None:
        told = pointing()
        manifest = replace(told.bundle.manifest, map_scale=0.0)
        object.__setattr__(told, "bundle", replace(told.bundle, manifest=manifest))
        with pytest.raises(ValueError, match="has no map of its own; leave out --own-map"):
            point_own_map(Places([folder]), told, tmp_path / "out")

    def test_the_peak_of_each_map_stands_in_its_line(
        self, folder: Path, tmp_path: Path, pointing: Pointer
    ) -> None:
        point_at_blood(Places([folder]), pointing(), tmp_path / "out")
        assert (pd.read_csv(tmp_path / "out" / "explain.csv")["peak"] == 1).all()

    def test_the_file_holds_what_is_given_back(self, folder: Path, tmp_path: Path, pointing: Pointer) -> None:
        record = point_at_blood(Places([folder]), pointing(), tmp_path / "out")
        assert json.loads((tmp_path / "out" / "explain.json").read_text()) == record

    def test_data_without_any_known_bleed_is_refused(self, tmp_path: Path, pointing: Pointer) -> None:
        write_prepared([study("b", (False, True), drawn=False)], tmp_path / "plain")
        with pytest.raises(ValueError, match=r"plain: no positive slice with a mask, a drawing or a box"):
            point_at_blood(Places([tmp_path / "plain"]), pointing(), tmp_path / "out")


class TestScore:
    HEAD = np.hypot(*(np.mgrid[:SIDE, :SIDE] - 47.5)) < 40

    def test_chance_is_the_bleeds_share_of_the_head(self) -> None:
        told = score(spot(AT_THE_BLOB), blob(), self.HEAD, reach=4)
        assert told.chance == pytest.approx(blob().sum() / self.HEAD.sum(), rel=0.02)
        assert told.chance < told.near_chance < 1

    def test_blindly_drawn_points_hit_as_often_as_chance_says(self) -> None:
        rng = np.random.default_rng(4)
        points = rng.permutation(np.argwhere(self.HEAD))[:600]
        told = [score(_pixel(point), blob(), self.HEAD, reach=6) for point in points]
        assert np.mean([one.hit for one in told]) == pytest.approx(told[0].chance, abs=0.02)
        assert np.mean([one.near for one in told]) == pytest.approx(told[0].near_chance, abs=0.03)

    def test_a_point_beside_the_bleed_is_near_within_reach_only(self) -> None:
        beside = _pixel((40, 60 + 7 + 4))
        assert not score(beside, blob(), self.HEAD, reach=3).near
        close = score(beside, blob(), self.HEAD, reach=5)
        assert (close.hit, close.near) == (False, True)

    def test_a_cold_map_hits_nothing(self) -> None:
        told = score(np.zeros((SIDE, SIDE), dtype=np.float32), blob(), self.HEAD, reach=5)
        assert (told.hit, told.near, told.inside, told.cold) == (False, False, 0, True)

    @given(st.floats(0.01, 100))
    def test_the_scale_of_a_map_does_not_matter(self, scale: float) -> None:
        heat = np.random.default_rng(2).random((SIDE, SIDE)).astype(np.float32)
        assert score(heat * np.float32(scale), blob(), self.HEAD, 4) == score(heat, blob(), self.HEAD, 4)


def _pixel(point: NDArray[np.int64] | tuple[int, int]) -> NDArray[np.float32]:
    heat = np.zeros((SIDE, SIDE), dtype=np.float32)
    heat[tuple(point)] = 1
    return heat


class TestCommand:
    def test_the_table_is_printed(self, folder: Path, tmp_path: Path) -> None:
        run = CliRunner().invoke(app, ["explain", "--data", str(folder), "--out", str(tmp_path / "out")])
        assert run.exit_code == 0, run.output
        assert "ct-ich, drawn by a machine: 2 slices, 1 patients" in run.output
        assert "Research use only" in run.output.replace("\n", " ")
        assert "each slice alone, suspected at: balanced" in " ".join(run.output.split())

    def test_a_folder_that_was_not_prepared_is_wrong_usage(self, tmp_path: Path) -> None:
        run = CliRunner().invoke(app, ["explain", "--data", str(tmp_path), "--out", str(tmp_path / "out")])
        assert run.exit_code == 2
        assert "cruor prepare" in run.output
