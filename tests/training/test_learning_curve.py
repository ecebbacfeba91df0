"""`cruor.training.learning_curve`: figures against patients who taught, and what a bar would need."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from typer.testing import CliRunner

from cruor.bundle.manifest import OUTPUTS
from cruor.cli import app
from cruor.preprocessing.channels import InputSettings
from cruor.preprocessing.crop import CropSettings
from cruor.training.evaluation.metrics import Estimate
from cruor.training.experiment import DataSettings, Experiment, ExperimentError, save_experiment
from cruor.training.learning_curve import (
    CURVE_PICTURE,
    CURVE_TABLE,
    STEP,
    LearningCurve,
    curve_table,
    learning_curves,
    read_bars,
    times_text,
    write_learning_curve,
)
from cruor.training.runs import EXPERIMENT_FILE, LEFT_OUT, OUT_OF_FOLD
from tests.training.evaluation.making import table

FEW = 50
"""Draws of the bootstrap: enough to have an interval."""

STUDIES = 48

MakeRun = Callable[..., Path]


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """A cross-validated run whose logits know so much, taught by a share of 48 studies' patients."""

    def make(code: str, share: float, skill: float, *, leave_out: bool = False, size: int = 64) -> Path:
        data = DataSettings(
            ("prepared",), learned_share=share, folds=3, leave_out=(("there",),) if leave_out else ()
        )
        folder = tmp_path / code
        folder.mkdir()
        save_experiment(Experiment(code, data, InputSettings(CropSettings(size))), folder / EXPERIMENT_FILE)
        slices = table(STUDIES, folds=3, skill=skill, outputs=OUTPUTS[:1])
        slices.to_parquet(folder / OUT_OF_FOLD)
        if leave_out:
            there = slices[slices["source"] == "there"].drop(columns="fold")
            there.assign(left_out="there").to_parquet(folder / LEFT_OUT)
        return folder

    return make


def by_name(curves: list[LearningCurve]) -> dict[str, LearningCurve]:
    return {curve.test.name: curve for curve in curves}


def test_a_point_stands_at_the_patients_who_taught_fewest_first(make_run: MakeRun) -> None:
    runs = [make_run("all", 1.0, 2.0), make_run("third", 1 / 3, 1.0)]
    curve = by_name(learning_curves(runs, rounds=FEW))["here slices"]
    assert [point.patients for point in curve.points] == [
        21,
        60,
    ]  # of 48 two thirds are not held out; each kind rounded up
    assert curve.points[0].area.value < curve.points[1].area.value


def test_each_source_has_a_curve_of_slices_and_one_of_studies(make_run: MakeRun) -> None:
    runs = [make_run("third", 1 / 3, 1.0), make_run("all", 1.0, 2.0)]
    names = set(by_name(learning_curves(runs, together=("here", "there"), rounds=FEW)))
    sources = ("all", "here", "there", "here+there")
    assert names == {f"{source} {counted}" for source in sources for counted in ("slices", "studies")}


def test_a_source_left_out_has_a_curve_with_the_patients_of_the_others(make_run: MakeRun) -> None:
    runs = [
        make_run("third", 1 / 3, 1.0, leave_out=True),
        make_run("all", 1.0, 2.0, leave_out=True),
    ]
    curve = by_name(learning_curves(runs, rounds=FEW))["there slices without there"]
    assert [point.patients for point in curve.points] == [8, 24]


def test_the_line_of_two_runs_goes_through_both(make_run: MakeRun) -> None:
    runs = [make_run("third", 1 / 3, 1.0), make_run("all", 1.0, 2.0)]
    for curve in learning_curves(runs, rounds=FEW):
        patients = np.array([point.patients for point in curve.points], dtype=float)
        assert curve.line(patients) == pytest.approx([point.area.value for point in curve.points])


def test_shrink_is_what_three_times_the_patients_make_of_the_error(make_run: MakeRun) -> None:
    runs = [make_run("third", 1 / 3, 1.0), make_run("all", 1.0, 2.0)]
    curve = by_name(learning_curves(runs, rounds=FEW))["here slices"]
    patients = curve.points[-1].patients
    now, then = 1 - curve.line(np.array([1.0, 3.0]) * patients)
    assert STEP == 3
    assert curve.shrink.value == pytest.approx(then / now)
    assert curve.shrink.low < curve.shrink.value < curve.shrink.high


def test_a_bar_needs_so_many_times_the_patients_as_the_line_says(make_run: MakeRun) -> None:
    runs = [make_run("third", 1 / 3, 1.0), make_run("all", 1.0, 2.0)]
    asked = by_name(learning_curves(runs, bars={"here slices": 0.97}, rounds=FEW))["here slices"]
    needed = asked.points[-1].patients * asked.times.value
    assert asked.line(np.array([needed]))[0] == pytest.approx(0.97)
    assert asked.times.low < asked.times.value < asked.times.high


def test_a_bar_is_counted_from_the_runs_that_are_read_together(make_run: MakeRun) -> None:
    runs = [make_run("third", 1 / 3, 1.0), make_run("all", 1.0, 2.0)]
    reader = make_run("better", 1.0, 2.2)
    bars = {"here slices": 0.97}
    alone, together = (
        by_name(learning_curves(runs, named, bars=bars, rounds=FEW))["here slices"]
        for named in ([], [reader])
    )
    assert math.isnan(alone.reader.value)
    assert together.reader.value > together.points[-1].area.value
    assert together.times.value == pytest.approx(
        ((1 - together.reader.value) / (1 - 0.97)) ** (-1 / together.slope)
    )
    assert together.times.value < alone.times.value


def test_a_bar_that_is_reached_needs_no_more(make_run: MakeRun) -> None:
    runs = [make_run("third", 1 / 3, 1.0), make_run("all", 1.0, 2.0)]
    curve = by_name(learning_curves(runs, bars={"here slices": 0.6}, rounds=FEW))["here slices"]
    assert times_text(curve.times) == "reached"


def test_where_more_patients_do_not_help_no_number_of_them_reaches_a_bar(make_run: MakeRun) -> None:
    runs = [make_run("third", 1 / 3, 2.0), make_run("all", 1.0, 1.0)]
    curve = by_name(learning_curves(runs, bars={"here slices": 0.99}, rounds=FEW))["here slices"]
    assert curve.times.value == math.inf
    assert times_text(curve.times).startswith("over 1000 (")


def test_the_interval_knows_that_runs_share_their_patients(make_run: MakeRun) -> None:
    runs = [make_run("third", 1 / 3, 2.0), make_run("all", 1.0, 2.0)]  # of the same logits
    curve = by_name(learning_curves(runs, rounds=FEW))["here slices"]
    assert [curve.shrink.low, curve.shrink.value, curve.shrink.high] == pytest.approx([1, 1, 1])


def test_slices_are_themselves_whatever_order_a_run_has_them_in(make_run: MakeRun) -> None:
    runs = [make_run("third", 1 / 3, 1.0), make_run("all", 1.0, 2.0)]
    before = by_name(learning_curves(runs, rounds=FEW))["here slices"]
    slices = pd.read_parquet(runs[1] / OUT_OF_FOLD)
    slices.assign(fold=2 - slices["fold"]).to_parquet(runs[1] / OUT_OF_FOLD)
    assert by_name(learning_curves(runs, rounds=FEW))["here slices"].shrink == pytest.approx(before.shrink)


def test_runs_of_one_share_make_no_curve(make_run: MakeRun) -> None:
    with pytest.raises(ExperimentError, match="two or more"):
        learning_curves([make_run("one", 1.0, 1.0), make_run("other", 1.0, 2.0)], rounds=FEW)


def test_runs_of_another_recipe_are_refused(make_run: MakeRun) -> None:
    runs = [make_run("third", 1 / 3, 1.0), make_run("all", 1.0, 2.0, size=96)]
    with pytest.raises(ExperimentError, match="another recipe than"):
        learning_curves(runs, rounds=FEW)


def test_runs_without_hemorrhage_make_no_curve(make_run: MakeRun) -> None:
    runs = [make_run("third", 1 / 3, 1.0), make_run("all", 1.0, 2.0)]
    for run in runs:
        pd.read_parquet(run / OUT_OF_FOLD).assign(any=0.0).to_parquet(run / OUT_OF_FOLD)
    with pytest.raises(ExperimentError, match="no source has slices with and without"):
        learning_curves(runs, rounds=FEW)


def test_a_perfect_reader_has_no_line_and_no_interval(make_run: MakeRun) -> None:
    runs = [make_run("third", 1 / 3, 1.0), make_run("all", 1.0, 60.0)]
    curve = by_name(learning_curves(runs, bars={"here slices": 0.97}, rounds=FEW))["here slices"]
    assert curve.points[-1].area.value == 1
    assert math.isnan(curve.points[-1].area.low)
    assert math.isnan(curve.shrink.value)
    assert times_text(curve.times) == "-"


def test_a_folder_that_is_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(ExperimentError, match=f"no {EXPERIMENT_FILE}; name folders"):
        learning_curves([tmp_path], rounds=FEW)


def test_a_bar_of_no_test_is_refused_with_what_there_is(make_run: MakeRun) -> None:
    runs = [make_run("third", 1 / 3, 1.0), make_run("all", 1.0, 2.0)]
    with pytest.raises(ExperimentError, match=r"'elsewhere slices'; there are: .*here slices"):
        learning_curves(runs, bars={"elsewhere slices": 0.9}, rounds=FEW)


def test_bars_are_read_by_test() -> None:
    assert read_bars(["ct-ich slices=.97", "ct-ich studies without ct-ich=0.96"]) == {
        "ct-ich slices": 0.97,
        "ct-ich studies without ct-ich": 0.96,
    }


@pytest.mark.parametrize("said", ["ct-ich slices", "ct-ich slices=high", "=.97", "ct-ich slices=97"])
def test_a_bar_that_is_none_is_refused(said: str) -> None:
    with pytest.raises(ExperimentError, match="write the test, = and a ROC-AUC"):
        read_bars([said])


@pytest.mark.parametrize(
    ("times", "said"),
    [
        (Estimate(3.42, 1.81, math.inf), "3.4 (1.8 to over 1000)"),
        (Estimate(142.3, 12.3, 999.6), "142 (12 to 1000)"),
        (Estimate(math.nan, math.nan, math.nan, "no bar"), "-"),
    ],
)
def test_times_are_told_in_few_digits(times: Estimate, said: str) -> None:
    assert times_text(times) == said


def test_table_and_picture_are_written(make_run: MakeRun, tmp_path: Path) -> None:
    runs = [make_run("third", 1 / 3, 1.0), make_run("all", 1.0, 2.0)]
    curves = learning_curves(runs, bars={"here slices": 0.97}, rounds=FEW)
    write_learning_curve(curves, tmp_path / "out")
    rows = pd.read_csv(tmp_path / "out" / CURVE_TABLE)
    here = rows[rows["test"] == "here slices"]
    assert here["patients"].tolist() == [12, 32]
    assert here["roc_auc"].tolist() == pytest.approx(
        [point.area.value for point in by_name(curves)["here slices"].points]
    )
    assert (tmp_path / "out" / CURVE_PICTURE).read_bytes().startswith(b"\x89PNG")


def test_the_table_shows_each_point_and_what_a_bar_needs(make_run: MakeRun) -> None:
    runs = [make_run("third", 1 / 3, 1.0), make_run("all", 1.0, 2.0)]
    curves = learning_curves(runs, bars={"here slices": 0.97}, rounds=FEW)
    console = Console(width=220, record=True, file=io.StringIO())
    console.print(curve_table([curve for curve in curves if curve.test.name == "here slices"]))
    shown = console.export_text()
    curve = by_name(curves)["here slices"]
    assert f"12: {curve.points[0].area.value:.3f}" in shown
    assert f"32: {curve.points[1].area.value:.3f}" in shown
    assert times_text(curve.times) in shown


def test_the_command_prints_the_curve_and_keeps_it(make_run: MakeRun, tmp_path: Path) -> None:
    runs = [make_run("third", 1 / 3, 1.0), make_run("all", 1.0, 2.0)]
    out = tmp_path / "out"
    command = ["learning-curve", *map(str, runs), "--bar", "here slices=.97", "--out", str(out)]
    told = CliRunner().invoke(app, command)
    assert told.exit_code == 0, told.output
    assert "there studies" in told.stdout
    assert sorted(file.name for file in out.iterdir()) == [CURVE_TABLE, CURVE_PICTURE]


def test_the_command_says_in_a_sentence_what_is_no_run(tmp_path: Path) -> None:
    told = CliRunner().invoke(app, ["learning-curve", str(tmp_path / "none"), "--out", str(tmp_path / "out")])
    assert told.exit_code == 2
    assert "no experiment.yaml; name folders of cross-validated runs" in " ".join(told.stderr.split())


def test_a_test_without_a_bar_needs_nothing(make_run: MakeRun) -> None:
    runs = [make_run("third", 1 / 3, 1.0), make_run("all", 1.0, 2.0)]
    for curve in learning_curves(runs, rounds=FEW):
        assert math.isnan(curve.times.value)
        assert curve.times.reason == "no bar"
