"""`cruor evaluate` from end to end: what is written, what is said, and what must not crash."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from cruor import __version__
from cruor.bundle.manifest import OUTPUTS, DataSource
from cruor.cli import app
from cruor.training.evaluation import evaluate
from cruor.training.evaluation.evaluate import write_evaluation
from cruor.training.evaluation.measure import may_have_taught, measure
from cruor.training.evaluation.predictions import Predictions
from cruor.training.evaluation.tables import RESEARCH_ONLY
from cruor.training.prepare.store import write_table
from tests.bundle.making import write_bundle
from tests.training.evaluation.making import NAN, QUICK, predicted, table
from tests.training.samples import prepare_some

CLI = CliRunner()
DATA = (DataSource("ct-ich", "CC BY 4.0", 12, 60, 18),)


def no_constant(word: str) -> None:
    raise AssertionError(f"{word} is no JSON")


def metrics_of(folder: Path) -> dict[str, Any]:
    found = json.loads((folder / "metrics.json").read_text(), parse_constant=no_constant)
    assert isinstance(found, dict)
    return found


def evaluated(folder: Path, predictions: Predictions, second: Predictions | None = None) -> dict[str, Any]:
    write_evaluation(predictions, second, folder, QUICK, "cruor evaluate ...")
    return metrics_of(folder)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two networks on twenty made-up studies."""
    folder = tmp_path_factory.mktemp("whole")
    first = predicted(table(40, skill=2.0), "first 1", learned_from=["here"], data=["prepared/here"])
    evaluated(folder, first, predicted(table(40, skill=1.0, seed=2), "second 2"))
    return folder


class TestMetrics:
    @pytest.fixture
    def metrics(self, whole: Path) -> dict[str, Any]:
        return metrics_of(whole)

    def test_the_main_figures_stand_where_they_are_looked_for(self, metrics: dict[str, Any]) -> None:
        for part in (
            metrics["slice"]["roc_auc"],
            metrics["slice"]["average_precision"],
            metrics["study"]["roc_auc"],
            metrics["slice"]["roc_auc"]["delong"],
        ):
            assert part["low"] < part["value"] < part["high"]

    def test_both_tables_have_all_their_rows(self, metrics: dict[str, Any]) -> None:
        assert [(row["draw"], row["threshold"]) for row in metrics["table1"]] == [
            (draw, threshold) for draw in ("natural", "balanced") for threshold in (0.5, 0.7, 0.9)
        ]
        assert [row["rule"] for row in metrics["table2"]] == [
            "paper-2.5",
            "paper-5",
            "paper-10",
            "probability",
        ]
        names = {"ACC", "TPR", "TNR", "PPV", "NPV"}
        assert all(names <= set(row) for row in metrics["table1"] + metrics["table2"])
        assert {"PR", "ROC"} <= set(metrics["table1"][0])

    def test_they_name_where_they_come_from(self, metrics: dict[str, Any]) -> None:
        assert metrics["cruor"] == __version__ and metrics["command"] == "cruor evaluate ..."
        assert metrics["evaluated"]["name"] == "first 1" and metrics["against"]["name"] == "second 2"
        assert metrics["evaluated"]["data"] == ["prepared/here"]
        assert metrics["research_use_only"] == RESEARCH_ONLY and len(metrics["date"]) == 10

    def test_parts_of_the_data_have_figures_of_their_own(self, metrics: dict[str, Any]) -> None:
        groups = {row["group"] for row in metrics["subgroups"]}
        assert groups == {"source", "subtype", "slice spacing", "age", "sex"}
        (women,) = [row for row in metrics["subgroups"] if row["part"] == "F"]
        assert women["slices"]["cases"] == 200 and women["slice_roc_auc"]["value"] > 0.6

    def test_a_part_with_few_cases_says_how_few(self, metrics: dict[str, Any]) -> None:
        (epidural,) = [row for row in metrics["subgroups"] if row["part"] == "epidural"]
        assert epidural["study_tpr"] == {
            "value": None,
            "low": None,
            "high": None,
            "reason": "fewer than 5 with or without hemorrhage (4 of 24)",
        }

    def test_each_output_has_its_own_area(self, metrics: dict[str, Any]) -> None:
        assert set(metrics["slice"]["outputs"]) == set(OUTPUTS[1:])


class TestFiles:
    @pytest.mark.parametrize(
        "name",
        ["roc_slice", "roc_study", "precision_recall_slice", "reliability", "table1_natural", "table2"],
    )
    def test_curves_and_tables_are_pictures_and_numbers(self, whole: Path, name: str) -> None:
        assert Image.open(whole / f"{name}.png").size > (200, 100)
        with (whole / f"{name}.csv").open(newline="") as file:
            assert len(list(csv.DictReader(file))) > 2

    def test_a_table_has_low_and_high_in_columns_of_their_own(self, whole: Path) -> None:
        rows = pd.read_csv(whole / "table2.csv")
        assert (rows["TPR low"] <= rows["TPR"]).all() and (rows["TPR"] <= rows["TPR high"]).all()
        metrics = metrics_of(whole)
        assert rows["TPR"].tolist() == pytest.approx(
            [row["TPR"]["value"] for row in metrics["table2"]], abs=1e-5
        )

    def test_latex_is_escaped_and_says_what_it_is_for(self, whole: Path) -> None:
        text = (whole / "table2.tex").read_text()
        assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 1
        assert r"95 \% intervals" in text and RESEARCH_ONLY in text and "--" in text
        body = text.split(r"\midrule")[1].split(r"\bottomrule")[0].strip().splitlines()
        head = text.split(r"\toprule")[1].split(r"\midrule")[0]
        assert {line.count("&") for line in body} == {head.count("&")}

    def test_the_page_is_whole_in_itself(self, whole: Path) -> None:
        page = (whole / "index.html").read_text()
        assert page.index(RESEARCH_ONLY) < page.index("<h1>")
        assert "data:image/png;base64," in page
        assert not [word for word in ("<script", "http://", "https://", 'src="/') if word in page]

    def test_the_page_warns_of_patients_that_may_have_taught(self, whole: Path) -> None:
        assert "20 of the 20 patients evaluated here may have stood in its training" in (
            (whole / "index.html").read_text()
        )

    def test_the_same_is_made_again_from_what_was_kept(self, whole: Path, tmp_path: Path) -> None:
        options = ["--predictions", str(whole / "predictions.parquet"), "--rounds", str(QUICK.rounds)]
        assert CLI.invoke(app, ["evaluate", *options, "--out", str(tmp_path)]).exit_code == 0
        kept, again = metrics_of(whole), metrics_of(tmp_path)
        for part in ("slice", "study", "table1", "table2", "calibration", "subgroups"):
            assert kept[part] == again[part]


def of_patients_only(slices: pd.DataFrame) -> pd.DataFrame:
    return slices.assign(**dict.fromkeys(OUTPUTS, NAN))


AWKWARD = {
    "labels of patients only": of_patients_only(table()),
    "no label at all": of_patients_only(table()).assign(study_any=NAN),
    "every study bleeds": table().query("study_any == 1"),
    "no study bleeds": table().query("study_any == 0"),
    "one study": table(2).query("study_any == 1"),
    "one slice": table(2)[:1],
    "one output": table(outputs=("any",)),
    "perfect": table(skill=100.0),
    "single slices": table().assign(complete_series=False, study_any=NAN),
    "nothing known of the patients": table().assign(age_years=NAN, spacing_mm=NAN, sex=""),
    "subtypes unknown": table().assign(**dict.fromkeys(OUTPUTS[1:], NAN)),
}


@pytest.mark.parametrize("what", AWKWARD)
def test_what_cannot_be_measured_is_said_and_nothing_crashes(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "TABLE_PICTURES", ())  # they take longest and show text alone
    predictions = predicted(AWKWARD[what])
    metrics = evaluated(tmp_path, predictions, predictions)
    for estimate in estimates(metrics):
        if None in (estimate["value"], estimate["low"], estimate["high"]):
            assert estimate["reason"]


def estimates(part: Any) -> list[dict[str, Any]]:
    if isinstance(part, list):
        return [found for item in part for found in estimates(item)]
    if not isinstance(part, dict):
        return []
    own = [part] if {"value", "low", "high"} <= set(part) else []
    return own + [found for item in part.values() for found in estimates(item)]


def test_labels_of_patients_only_give_study_figures_and_say_that_slices_have_none() -> None:
    metrics = measure(predicted(of_patients_only(table())), QUICK)
    assert math.isnan(metrics["slice"]["roc_auc"].bootstrap.value)
    assert metrics["study"]["roc_auc"].bootstrap.value > 0.5
    assert "No slice figures that need both classes: no cases with a known label." in metrics["said"]


def test_what_is_not_known_of_the_patients_is_said() -> None:
    metrics = measure(predicted(table().assign(age_years=NAN, spacing_mm=NAN, sex="")), QUICK)
    assert "Not known in this data, so no figures by it: slice spacing, age, sex." in metrics["said"]


class TestTaught:
    def test_patients_that_training_left_out_do_not_count(self) -> None:
        slices = table(4).assign(source="here")
        one_left = predicted(slices, learned_from=["here"], left_out_patients=["P001", "P002", "P003"])
        (sentence,) = may_have_taught(one_left)
        assert "1 of the 4 patients" in sentence and "name a split" in sentence
        none_left = predicted(slices, learned_from=["here"], left_out_patients=[f"P00{i}" for i in range(4)])
        assert may_have_taught(none_left) == []

    def test_a_source_that_did_not_teach_brings_no_warning(self) -> None:
        assert may_have_taught(predicted(learned_from=["elsewhere"])) == []

    def test_a_split_is_taken_at_its_word_only_if_training_kept_to_it(self) -> None:
        split = {"file": "split.csv", "side": "test"}
        (sentence,) = may_have_taught(predicted(table(4), learned_from=["here"], split=split))
        assert "side 'test' of split.csv keeps them apart only if training kept to that split" in sentence


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare_some(tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_bundle(tmp_path_factory.mktemp("bundle"), data=DATA))


class TestCommand:
    def run(self, *options: object) -> Any:
        return CLI.invoke(app, ["evaluate", "--rounds", "20", *map(str, options)])

    def test_a_bundle_on_prepared_data(self, bundle: str, prepared: Path, tmp_path: Path) -> None:
        done = self.run("--bundle", bundle, "--data", prepared, "--out", tmp_path, "--thresholds", "0.6")
        assert (done.exit_code, done.stdout.strip()) == (0, str(tmp_path / "index.html"))
        metrics = metrics_of(tmp_path)
        assert {row["threshold"] for row in metrics["table1"]} == {0.6}
        assert metrics["slice"]["cases"] == 60 and metrics["study"]["cases"] == 12
        assert metrics["evaluated"]["data"] == [str(prepared)] and metrics["evaluated"]["digest"]
        assert "12 of the 12 patients" in metrics["warnings"][0]
        assert metrics["command"].startswith(f"cruor evaluate --out {tmp_path} --bundle {bundle} --data")

    def test_only_the_patients_of_a_side(self, bundle: str, prepared: Path, tmp_path: Path) -> None:
        sides = [f"patient of ct-ich-{i:02d},{'test' if i < 4 else 'train'}" for i in range(12)]
        split = tmp_path / "split.csv"
        split.write_text("\n".join(["patient_id,side", *sides]) + "\n")
        done = self.run("--bundle", bundle, "--data", prepared, "--split", split, "--out", tmp_path / "out")
        assert done.exit_code == 0
        metrics = metrics_of(tmp_path / "out")
        assert metrics["study"]["patients"] == 4
        assert metrics["evaluated"]["split"] == {"file": str(split), "side": "test"}

    def test_out_of_fold_predictions_say_how_they_were_calibrated(self, tmp_path: Path) -> None:
        write_table(table(40, folds=4), tmp_path / "out_of_fold.parquet")
        assert self.run("--predictions", tmp_path / "out_of_fold.parquet", "--out", tmp_path).exit_code == 0
        assert "no label of a patient touched its own probability" in (tmp_path / "index.html").read_text()

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--bundle", "lite0"], "name --bundle and --data, or --predictions"),
            (["--predictions", "some.parquet", "--bundle", "lite0"], "--predictions stands alone"),
            (["--predictions", "nowhere.parquet"], "nowhere.parquet: cannot be read as Parquet"),
            (["--bundle", "nobody", "--data", "nowhere"], "no bundle 'nobody'"),
            (["--bundle", "lite0", "--data", "nowhere"], "make it with `cruor prepare`"),
            (["--thresholds", "0.5;0.7"], "numbers with commas between"),
            (["--thresholds", "0.5,1.5"], "--thresholds: numbers between 0 and 1"),
            (["--prevalence", "10"], "--prevalence: numbers between 0 and 1"),
            (["--slice-threshold", "0"], "--slice-threshold: numbers between 0 and 1"),
        ],
    )
    def test_what_cannot_be_done_is_a_sentence_and_exit_2(
        self, options: list[str], message: str, tmp_path: Path
    ) -> None:
        done = self.run(*options, "--out", tmp_path)
        assert done.exit_code == 2 and message in done.stderr

    def test_a_side_that_the_split_lacks_is_said(self, prepared: Path, bundle: str, tmp_path: Path) -> None:
        split = tmp_path / "split.csv"
        split.write_text("patient_id,side\npatient of ct-ich-00,train\n")
        done = self.run("--bundle", bundle, "--data", prepared, "--split", split, "--out", tmp_path)
        assert done.exit_code == 2 and "no patient on side 'test'; its sides: train" in done.stderr


def test_two_bundles_are_compared_on_the_same_slices(tmp_path: Path) -> None:
    first, second = predicted(table(40), "first"), predicted(table(40, seed=5), "second")
    metrics = evaluated(tmp_path, first, replace(second, slices=second.slices[::-1]))
    wanted = np.unique([row["figure"] for row in metrics["comparison"]["differences"]])
    assert "study ROC-AUC" in wanted and metrics["comparison"]["slices"] == 400
    assert (tmp_path / "comparison.csv").exists() and "first" in (tmp_path / "index.html").read_text()
