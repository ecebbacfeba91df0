"""`cruor.training.learning_curve`: figures against patients who taught, and what a bar would need."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import replace
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
from cruor.training.experiment import (
    DataSettings,
    Experiment,
    ExperimentError,
    TrainingSettings,
    load_experiment,
    save_experiment,
)
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

    def make(
        code: str, share: float, skill: float, *, leave_out: bool = False, size: int = 64, seed: int = 1
    ) -> Path:
        data = DataSettings(
            ("prepared",), learned_share=share, folds=3, leave_out=(("there",),) if leave_out else ()
        )
        folder = tmp_path / code
        folder.mkdir()
        made = Experiment(code, data, InputSettings(CropSettings(size)), training=TrainingSettings(seed=seed))
        save_experiment(made, folder / EXPERIMENT_FILE)
        slices = table(STUDIES, folds=3, skill=skill, outputs=OUTPUTS[:1])
        slices.to_parquet(folder / OUT_OF_FOLD)
        if leave_out:
            there = slices[slices["source"] == "there"].drop(columns="fold")
            there.assign(left_out="there").to_parquet(folder / LEFT_OUT)
        return folder

    return make


def by_name(curves: list[LearningCurve]) -> dict[str, LearningCurve]:
    return {curve.scored.name: curve for curve in curves}


def test_a_point_stands_at_the_patients_who_taught_fewest_first(make_run: MakeRun) -> None:
    runs = [make_run("all", 1.0, 2.0), make_run("third", 1 / 3, 1.0)]
    curve = by_name(learning_curves(runs, rounds=FEW))["here slices"]
    # Of 48 patients two thirds are not held out, 8 of each kind; a third of 8 is rounded up.
    assert [(point.run, point.patients) for point in curve.points] == [("third", 12), ("all", 32)]
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


def test_the_error_factor_is_what_three_times_the_patients_make_of_the_error(make_run: MakeRun) -> None:
    runs = [make_run("third", 1 / 3, 1.0), make_run("all", 1.0, 2.0)]
    curve = by_name(learning_curves(runs, rounds=FEW))["here slices"]
    patients = curve.points[-1].patients
    now, then = 1 - curve.line(np.array([1.0, 3.0]) * patients)
    assert STEP == 3
    assert curve.error_factor.value == pytest.approx(then / now)
    assert curve.error_factor.low < curve.error_factor.value < curve.error_factor.high


def test_a_bar_needs_so_many_times_the_patients_as_the_line_says(make_run: MakeRun) -> None:
    runs = [make_run("third", 1 / 3, 1.0), make_run("all", 1.0, 2.0)]
    asked = by_name(learning_curves(runs, bars={"here slices": 0.97}, rounds=FEW))["here slices"]
    needed = asked.points[-1].patients * asked.times_patients.value
    assert asked.line(np.array([needed]))[0] == pytest.approx(0.97)
    assert asked.times_patients.low < asked.times_patients.value < asked.times_patients.high


def test_a_bar_is_counted_from_the_runs_that_are_read_together(make_run: MakeRun) -> None:
    runs = [make_run("third", 1 / 3, 1.0), make_run("all", 1.0, 2.0)]
    better = make_run("better", 1.0, 2.2)
    bars = {"here slices": 0.97}
    alone, together = (
        by_name(learning_curves(runs, named, bars=bars, rounds=FEW))["here slices"]
        for named in ([], [better])
    )
    assert math.isnan(alone.ensemble.value)
    assert together.ensemble.value > together.points[-1].area.value
    assert together.times_patients.value == pytest.approx(
        ((1 - together.ensemble.value) / (1 - 0.97)) ** (-1 / together.slope)
    )
    assert together.times_patients.value < alone.times_patients.value


def test_a_bar_that_is_reached_needs_no_more(make_run: MakeRun) -> None:
    runs = [make_run("third", 1 / 3, 1.0), make_run("all", 1.0, 2.0)]
    curve = by_name(learning_curves(runs, bars={"here slices": 0.6}, rounds=FEW))["here slices"]
    assert curve.times_patients.value < 1
    assert times_text(curve.times_patients).startswith("reached (reached to ")


def test_where_more_patients_do_not_help_no_number_of_them_reaches_a_bar(make_run: MakeRun) -> None:
    runs = [make_run("third", 1 / 3, 2.0), make_run("all", 1.0, 1.0)]
    curve = by_name(learning_curves(runs, bars={"here slices": 0.99}, rounds=FEW))["here slices"]
    assert curve.times_patients.value == math.inf
    assert times_text(curve.times_patients).startswith("never (")


def test_the_interval_knows_that_runs_share_their_patients(make_run: MakeRun) -> None:
    runs = [make_run("third", 1 / 3, 2.0), make_run("all", 1.0, 2.0)]  # of the same logits
    curve = by_name(learning_curves(runs, rounds=FEW))["here slices"]
    assert [curve.error_factor.low, curve.error_factor.value, curve.error_factor.high] == pytest.approx(
        [1, 1, 1]
    )


def test_slices_are_themselves_whatever_order_a_run_has_them_in(make_run: MakeRun) -> None:
    runs = [make_run("third", 1 / 3, 1.0), make_run("all", 1.0, 2.0)]
    before = by_name(learning_curves(runs, rounds=FEW))["here slices"]
    slices = pd.read_parquet(runs[1] / OUT_OF_FOLD)
    slices.assign(fold=2 - slices["fold"]).to_parquet(runs[1] / OUT_OF_FOLD)
    assert by_name(learning_curves(runs, rounds=FEW))["here slices"].error_factor == pytest.approx(
        before.error_factor
    )


def test_runs_taught_by_as_many_patients_make_no_curve(make_run: MakeRun) -> None:
    with pytest.raises(
        ExperimentError, match=r"every run was taught by 32 patients; name runs of other shares"
    ):
        learning_curves([make_run("one", 0.999, 1.0), make_run("other", 1.0, 2.0)], rounds=FEW)


def test_runs_of_another_recipe_are_refused(make_run: MakeRun) -> None:
    runs = [make_run("third", 1 / 3, 1.0), make_run("all", 1.0, 2.0, size=96)]
    with pytest.raises(ExperimentError, match="`input` differs from that of"):
        learning_curves(runs, rounds=FEW)


def test_runs_without_hemorrhage_make_no_curve(make_run: MakeRun) -> None:
    runs = [make_run("third", 1 / 3, 1.0), make_run("all", 1.0, 2.0)]
    for run in runs:
        pd.read_parquet(run / OUT_OF_FOLD).assign(any=0.0).to_parquet(run / OUT_OF_FOLD)
    with pytest.raises(ExperimentError, match="no source has slices with and without"):
        learning_curves(runs, rounds=FEW)


def test_a_run_without_an_error_has_half_of_the_least_error_that_can_be_told(make_run: MakeRun) -> None:
    runs = [make_run("third", 1 / 3, 1.0), make_run("all", 1.0, 60.0)]
    curve = by_name(learning_curves(runs, bars={"here slices": 0.97}, rounds=FEW))["here slices"]
    perfect = curve.points[-1]
    negative = curve.cases - curve.positive
    assert (perfect.area.value, math.isnan(perfect.area.low)) == (1, True)
    assert 1 - curve.line(np.array([perfect.patients]))[0] == pytest.approx(0.5 / (curve.positive * negative))
    assert times_text(curve.times_patients).startswith("reached")


def test_seeds_of_one_share_stand_beside_each_other_on_the_curve(make_run: MakeRun) -> None:
    runs = [make_run("third", 1 / 3, 1.0), make_run("all", 1.0, 2.0), make_run("again", 1.0, 3.0, seed=2)]
    curve = by_name(learning_curves(runs, rounds=FEW))["here slices"]
    assert [point.run for point in curve.points] == ["third", "all", "again"]
    few, many, more = (math.log(1 - point.area.value) for point in curve.points)
    slope = ((many + more) / 2 - few) / math.log(32 / 12)
    assert curve.slope == pytest.approx(slope)


def test_a_run_that_is_named_twice_is_refused(make_run: MakeRun) -> None:
    runs = [make_run("third", 1 / 3, 1.0), make_run("all", 1.0, 2.0)]
    with pytest.raises(ExperimentError, match="all: named twice"):
        learning_curves([*runs, runs[1]], rounds=FEW)


def test_an_ensemble_taught_by_fewer_patients_is_refused(make_run: MakeRun) -> None:
    runs = [make_run("third", 1 / 3, 1.0), make_run("all", 1.0, 2.0)]
    with pytest.raises(ExperimentError, match=r"third: taught by a share of 0.333333, .* stands at the end"):
        learning_curves(runs, [runs[0]], rounds=FEW)


def test_a_run_of_other_augmentation_is_refused(make_run: MakeRun) -> None:
    runs = [make_run("third", 1 / 3, 1.0), make_run("all", 1.0, 2.0)]
    experiment = load_experiment(runs[1] / EXPERIMENT_FILE)
    other = replace(experiment, augmentation=replace(experiment.augmentation, noise_hu=30.0))
    save_experiment(other, runs[1] / EXPERIMENT_FILE)
    with pytest.raises(ExperimentError, match="`augmentation` differs"):
        learning_curves(runs, rounds=FEW)


def test_a_run_of_other_labels_is_refused(make_run: MakeRun) -> None:
    runs = [make_run("third", 1 / 3, 1.0), make_run("all", 1.0, 2.0)]
    slices = pd.read_parquet(runs[1] / OUT_OF_FOLD)
    slices.assign(any=1 - slices["any"]).to_parquet(runs[1] / OUT_OF_FOLD)
    with pytest.raises(ExperimentError, match=r"all: all slices: other labels or patients than in .*third"):
        learning_curves(runs, rounds=FEW)


def test_a_run_that_left_out_other_slices_is_refused(make_run: MakeRun) -> None:
    runs = [make_run("third", 1 / 3, 1.0, leave_out=True), make_run("all", 1.0, 2.0, leave_out=True)]
    pd.read_parquet(runs[1] / LEFT_OUT).iloc[1:].to_parquet(runs[1] / LEFT_OUT)
    with pytest.raises(ExperimentError, match=r"left_out.parquet: of other slices than"):
        learning_curves(runs, rounds=FEW)


def test_a_run_that_is_not_finished_is_refused(make_run: MakeRun) -> None:
    runs = [make_run("third", 1 / 3, 1.0, leave_out=True), make_run("all", 1.0, 2.0, leave_out=True)]
    (runs[1] / LEFT_OUT).unlink()
    with pytest.raises(ExperimentError, match=r"all: no left_out.parquet; run `cruor crossval`"):
        learning_curves(runs, rounds=FEW)


def test_a_damaged_table_is_named(make_run: MakeRun) -> None:
    runs = [make_run("third", 1 / 3, 1.0), make_run("all", 1.0, 2.0)]
    (runs[1] / OUT_OF_FOLD).write_bytes(b"no Parquet")
    with pytest.raises(
        ExperimentError, match=r"all/out_of_fold.parquet: cannot be read \(.*run `cruor crossval`"
    ):
        learning_curves(runs, rounds=FEW)


def test_a_folder_that_is_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(ExperimentError, match=f"no {EXPERIMENT_FILE}; name folders"):
        learning_curves([tmp_path], rounds=FEW)


def test_a_bar_of_no_test_is_refused_with_what_there_is(make_run: MakeRun) -> None:
    runs = [make_run("third", 1 / 3, 1.0), make_run("all", 1.0, 2.0)]
    with pytest.raises(ExperimentError, match=r"'elsewhere slices'; there are: .*here slices"):
        learning_curves(runs, bars={"elsewhere slices": 0.9}, rounds=FEW)


def test_a_source_of_no_slice_is_refused_with_what_there_is(make_run: MakeRun) -> None:
    runs = [make_run("third", 1 / 3, 1.0), make_run("all", 1.0, 2.0)]
    with pytest.raises(ExperimentError, match="nowhere: no such source; there are: here, there"):
        learning_curves(runs, together=("here", "nowhere"), rounds=FEW)


def test_curves_with_a_bar_come_first_in_the_order_of_the_bars(make_run: MakeRun) -> None:
    runs = [make_run("third", 1 / 3, 1.0), make_run("all", 1.0, 2.0)]
    bars = {"there studies": 0.9, "here slices": 0.97}
    names = [curve.scored.name for curve in learning_curves(runs, bars=bars, rounds=FEW)]
    assert names[:3] == ["there studies", "here slices", "all slices"]


def test_bars_are_read_by_test() -> None:
    assert read_bars(["ct-ich slices=.97", "ct-ich studies without ct-ich=0.96"]) == {
        "ct-ich slices": 0.97,
        "ct-ich studies without ct-ich": 0.96,
    }


def test_a_second_bar_of_one_curve_is_refused() -> None:
    with pytest.raises(ExperimentError, match="has a bar already"):
        read_bars(["ct-ich slices=.97", "ct-ich slices=.98"])


@pytest.mark.parametrize("said", ["ct-ich slices", "ct-ich slices=high", "=.97", "ct-ich slices=97"])
def test_a_bar_that_is_none_is_refused(said: str) -> None:
    with pytest.raises(ExperimentError, match="write the curve, = and a ROC-AUC"):
        read_bars([said])


@pytest.mark.parametrize(
    ("times", "said"),
    [
        (Estimate(3.42, 1.81, math.inf), "3.4 (1.8 to never)"),
        (Estimate(142.3, 9.97, 2000.0), "142 (10 to over 1000)"),
        (Estimate(1.8, 0.4, 99.6), "1.8 (reached to 100)"),
        (Estimate(0.9, 0.3, 5.0), "reached (reached to 5.0)"),
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
    here = rows[rows["curve"] == "here slices"]
    assert here["patients"].tolist() == [12, 32]
    assert here["roc_auc"].tolist() == pytest.approx(
        [point.area.value for point in by_name(curves)["here slices"].points]
    )
    assert (tmp_path / "out" / CURVE_PICTURE).read_bytes().startswith(b"\x89PNG")


def test_the_table_shows_each_point_and_what_a_bar_needs(make_run: MakeRun) -> None:
    runs = [make_run("third", 1 / 3, 1.0), make_run("all", 1.0, 2.0)]
    curves = learning_curves(runs, bars={"here slices": 0.97}, rounds=FEW)
    console = Console(width=220, record=True, file=io.StringIO())
    console.print(curve_table([curve for curve in curves if curve.scored.name == "here slices"]))
    shown = console.export_text()
    curve = by_name(curves)["here slices"]
    assert f"12: {curve.points[0].area.value:.3f}" in shown
    assert f"32: {curve.points[1].area.value:.3f}" in shown
    assert times_text(curve.times_patients) in shown


def test_the_command_prints_the_curve_and_keeps_it(make_run: MakeRun, tmp_path: Path) -> None:
    runs = [make_run("third", 1 / 3, 1.0), make_run("all", 1.0, 2.0)]
    out = tmp_path / "out"
    asked = [
        "--ensemble",
        str(runs[1]),
        "--together",
        "here",
        "--together",
        "there",
        "--bar",
        "here slices=.97",
    ]
    told = CliRunner().invoke(app, ["learning-curve", *map(str, runs), *asked, "--out", str(out)])
    assert told.exit_code == 0, told.output
    assert "here+there studies" in told.stdout
    assert sorted(file.name for file in out.iterdir()) == [CURVE_TABLE, CURVE_PICTURE]


def test_the_command_says_in_a_sentence_what_is_no_run(tmp_path: Path) -> None:
    told = CliRunner().invoke(app, ["learning-curve", str(tmp_path / "none"), "--out", str(tmp_path / "out")])
    assert told.exit_code == 2
    assert "no experiment.yaml; name folders of cross-validated runs" in " ".join(told.stderr.split())


def test_a_test_without_a_bar_needs_nothing(make_run: MakeRun) -> None:
    runs = [make_run("third", 1 / 3, 1.0), make_run("all", 1.0, 2.0)]
    for curve in learning_curves(runs, rounds=FEW):
        assert math.isnan(curve.times_patients.value)
        assert curve.times_patients.reason == "no bar"
