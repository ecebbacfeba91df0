"""`cruor explain PATH`: the slices to look at are explained in both forms, and nothing is left unsaid."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from cruor.cli import app
from cruor.dicom.instances import Study
from cruor.reader.results import StudyResult
from cruor.reader.study import read_study
from cruor.training.explain.explainer import Explainer
from cruor.training.explain.study import (
    LEAST_BY_DEFAULT,
    MOST_BY_DEFAULT,
    Asked,
    choose_slices,
    explain_study,
)
from tests.dicom.writing import head_slices, write_series


@pytest.fixture(scope="module")
def result(bleeding: Study, explainer: Explainer) -> StudyResult:
    return read_study(bleeding, explainer.bundle)


@pytest.fixture(scope="module")
def explained(
    bleeding: Study, result: StudyResult, explainer: Explainer, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of a study of which the two most suspicious slices were explained."""
    out = tmp_path_factory.mktemp("explained")
    explain_study(bleeding, explainer, Asked(result.suspicious[:2]), out)
    (folder,) = out.iterdir()
    return folder


class TestChoosing:
    def test_the_most_suspicious_slices_are_explained(self, result: StudyResult) -> None:
        chosen = [one.number for one in choose_slices(result, Asked())]
        assert tuple(chosen) == result.suspicious[:MOST_BY_DEFAULT]
        assert chosen

    def test_a_study_without_suspicious_slices_shows_its_likeliest(self, result: StudyResult) -> None:
        chosen = choose_slices(replace(result, suspicious=()), Asked())
        ranked = sorted((one.probability for one in result.slices), reverse=True)
        assert [one.probability for one in chosen] == ranked[:LEAST_BY_DEFAULT]

    def test_slices_can_be_asked_for_by_number(self, result: StudyResult) -> None:
        assert [one.number for one in choose_slices(result, Asked((7, 3, 7)))] == [7, 3]

    def test_every_slice_can_be_asked_for(self, result: StudyResult) -> None:
        assert len(choose_slices(result, Asked(every=True))) == result.slice_count

    def test_a_number_that_is_not_there_is_refused(self, result: StudyResult) -> None:
        with pytest.raises(ValueError, match=r"no slice 99: the study has slices 1 to \d+"):
            choose_slices(result, Asked((99,)))


class TestFiles:
    def test_a_panel_is_drawn_for_each_slice(self, explained: Path, result: StudyResult) -> None:
        names = {f"slice-{number:03d}.png" for number in result.suspicious[:2]}
        assert {file.name for file in explained.glob("*.png")} == names
        with Image.open(explained / min(names)) as panel:
            assert panel.width > 6 * 300

    def test_table_and_record_say_the_same(self, explained: Path, result: StudyResult) -> None:
        record = json.loads((explained / "explain.json").read_text())
        with (explained / "explain.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert [int(row["number"]) for row in rows] == list(result.suspicious[:2])
        for row, told in zip(rows, record["slices"], strict=True):
            assert {key: str(value) if value is not None else "" for key, value in told.items()} == row

    def test_probability_and_hottest_point_are_those_of_the_reader(
        self, explained: Path, result: StudyResult
    ) -> None:
        told = json.loads((explained / "explain.json").read_text())["slices"][0]
        one = result.slices[told["number"] - 1]
        assert told["probability"] == pytest.approx(one.probability, abs=1e-3)
        row, column = divmod(int(one.map.argmax()), one.map.shape[1])
        cell = one.box.size / len(one.map)
        assert abs(told["exact_row"] - (one.box.top + (row + 0.5) * cell)) <= cell / 2
        assert abs(told["exact_column"] - (one.box.left + (column + 0.5) * cell)) <= cell / 2

    def test_how_the_maps_agree_and_what_they_cost_is_told(self, explained: Path) -> None:
        for told in json.loads((explained / "explain.json").read_text())["slices"]:
            assert 0.5 < told["correlation"] <= 1
            assert told["apart_mm"] >= 0
            assert told["library_seconds"] > told["exact_seconds"] > 0

    def test_the_record_says_what_made_it_and_what_it_is_for(
        self, explained: Path, explainer: Explainer
    ) -> None:
        record = json.loads((explained / "explain.json").read_text())
        assert record["bundle"] == explainer.bundle.label
        assert "aug_smooth" in record["library"]
        assert "Research use only" in record["note"]


class TestCommand:
    def test_a_study_is_explained(self, bleeding_zip: Path, tmp_path: Path) -> None:
        run = CliRunner().invoke(app, ["explain", str(bleeding_zip), "--slice", "12", "--out", str(tmp_path)])
        assert run.exit_code == 0, run.output
        assert "1 slices explained" in run.output
        assert len(list(tmp_path.rglob("slice-012.png"))) == 1

    def test_a_study_that_is_refused_is_named_with_its_reason(self, tmp_path: Path) -> None:
        write_series(tmp_path / "few", head_slices(4))
        run = CliRunner().invoke(app, ["explain", str(tmp_path / "few"), "--out", str(tmp_path / "out")])
        assert run.exit_code == 1
        assert "REFUSED" in run.output
        assert not list((tmp_path / "out").iterdir())

    @pytest.mark.parametrize("given", [[], ["somewhere", "--data", "elsewhere"]])
    def test_path_and_data_are_one_or_the_other(self, given: list[str], tmp_path: Path) -> None:
        run = CliRunner().invoke(app, ["explain", *given, "--out", str(tmp_path)])
        assert run.exit_code == 2
        assert "one of them" in run.output

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            (["somewhere", "--own-map"], "--boxes, --most and --own-map go with --data"),
            (["somewhere", "--most", "3"], "--boxes, --most and --own-map go with --data"),
            (["--data", "somewhere", "--every"], "--slice and --every go with a PATH"),
        ],
    )
    def test_an_option_without_effect_is_wrong_usage(
        self, given: list[str], said: str, tmp_path: Path
    ) -> None:
        run = CliRunner().invoke(app, ["explain", *given, "--out", str(tmp_path)])
        assert run.exit_code == 2
        assert said in " ".join(run.output.split())

    def test_an_unknown_layer_is_wrong_usage(self, bleeding_zip: Path, tmp_path: Path) -> None:
        run = CliRunner().invoke(
            app, ["explain", str(bleeding_zip), "--layer", "nowhere", "--out", str(tmp_path)]
        )
        assert run.exit_code == 2
        assert "layer 'nowhere'" in run.output
