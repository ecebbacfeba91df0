"""`cruor.training.evaluation.predictions`: evaluation reads as the reader reads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cruor.bundle.manifest import MapContext
from cruor.bundle.model import open_bundle
from cruor.demo.phantom import EPIDURAL, write_phantom_study
from cruor.dicom.pixels import read_hu
from cruor.dicom.studies import find_studies
from cruor.reader.study import read_study
from cruor.training.calibration import cross_fitted_studies
from cruor.training.evaluation.predictions import (
    EvaluationError,
    by_patient,
    cross_fit,
    load_index,
    read_predictions,
    run_bundle,
    studies_of,
    write_predictions,
)
from cruor.training.experiment import DataSettings, Experiment, NetworkSettings, save_experiment
from cruor.training.prepare.store import LABELS, LabelledSlice, LabelledStudy, write_prepared, write_table
from tests.reader.fakes import NoNumbers, bundle
from tests.training.evaluation.making import NAN, predicted, table
from tests.training.samples import as_pictures, prepare_some, study


def test_a_series_gives_the_same_numbers_to_the_last_digit_through_reader_and_evaluation(
    tmp_path: Path,
) -> None:
    write_phantom_study(tmp_path, "epidural", EPIDURAL)
    shipped = open_bundle()
    context = MapContext(reach_mm=4.0, hottest_share=0.02, logit_share=0.7)
    calibration = replace(shipped.manifest.calibration, reach_mm=4.0, maps=context)
    shipped = replace(shipped, manifest=replace(shipped.manifest, calibration=calibration))
    read = read_study(find_studies([tmp_path]).studies[0], shipped, "paper-5")
    slices = tuple(
        LabelledSlice(
            *("made up", "P", "S", one.sop_instance_uid, one.number, True, (1.0, *[NAN] * 5)),
            position_mm=one.position_mm,
        )
        for one in read.slices
    )
    hu = np.stack([read_hu(one.frame) for one in read.slices])
    write_prepared([LabelledStudy(slices, hu)], tmp_path / "prepared")

    evaluated = run_bundle(shipped, load_index((tmp_path / "prepared",)))

    assert len(read.slices) > 8, "more than one batch"
    assert evaluated.slices["probability_any"].tolist() == [one.probability for one in read.slices]
    for subtype in LABELS[1:]:
        wanted = [one.findings[subtype] for one in read.slices]
        assert evaluated.slices[f"probability_{subtype}"].tolist() == wanted
    (row,) = studies_of(evaluated.slices, 0.8).itertuples()
    assert (row.probability, row.positive_slices, row.slice_count) == (
        read.probability,
        read.positive_slices,
        read.slice_count,
    )


class TestRunning:
    def test_slices_are_read_in_scan_order_whatever_the_order_of_the_index(self, tmp_path: Path) -> None:
        index = load_index((prepare_some(tmp_path, 4),))
        first, again = (
            run_bundle(bundle(), rows).slices for rows in (index, index.sample(frac=1, random_state=1))
        )
        key = "sop_instance_uid"
        said = ["logit_any", "study_probability"]
        pd.testing.assert_frame_equal(
            first.set_index(key)[said].sort_index(), again.set_index(key)[said].sort_index()
        )

    def test_progress_is_told_study_by_study(self, tmp_path: Path) -> None:
        told: list[tuple[int, int]] = []
        index = load_index((prepare_some(tmp_path, 3),))
        run_bundle(bundle(), index, lambda done, total: told.append((done, total)))
        assert told == [(5, 15), (10, 15), (15, 15)]

    def test_a_network_that_gives_no_number_is_said_with_the_slice(self, tmp_path: Path) -> None:
        index = load_index((prepare_some(tmp_path, 1),))
        with pytest.raises(EvaluationError, match=r"no number for slice ct-ich-00\.1; check the bundle"):
            run_bundle(bundle(NoNumbers()), index)

    def test_pictures_in_which_the_bundle_would_find_no_head_are_refused(self, tmp_path: Path) -> None:
        write_prepared([as_pictures(study("a", (True,)))], tmp_path)
        with pytest.raises(EvaluationError, match=r"^ct-ich: pictures .* cannot read it: take a bundle"):
            run_bundle(bundle(), load_index((tmp_path,)))

    def test_nothing_to_read_is_said(self, tmp_path: Path) -> None:
        index = load_index((prepare_some(tmp_path, 1),))
        with pytest.raises(EvaluationError, match="look at --data, --split and --side"):
            run_bundle(bundle(), index[:0])

    def test_a_study_file_that_is_gone_is_said(self, tmp_path: Path) -> None:
        index = load_index((prepare_some(tmp_path, 1),))
        next((tmp_path / "studies").iterdir()).unlink()
        with pytest.raises(EvaluationError, match="run `cruor prepare` again"):
            run_bundle(bundle(), index)

    def test_a_folder_named_twice_is_refused(self, tmp_path: Path) -> None:
        folder = prepare_some(tmp_path, 1)
        with pytest.raises(EvaluationError, match="stands twice"):
            load_index((folder, folder))

    def test_a_folder_that_was_not_prepared_is_said(self, tmp_path: Path) -> None:
        with pytest.raises(EvaluationError, match="make it with `cruor prepare`"):
            load_index((tmp_path,))


class TestStudies:
    def test_a_study_bleeds_when_a_slice_does(self, tmp_path: Path) -> None:
        write_prepared([study("a", (False, True)), study("b", (False, False))], tmp_path)
        found = studies_of(run_bundle(bundle(), load_index((tmp_path,))).slices, 0.8)
        assert dict(zip(found["study_instance_uid"], found["label"], strict=True)) == {"a": True, "b": False}

    def test_a_study_whose_label_is_unknown_is_not_there(self) -> None:
        slices = predicted().slices
        slices.loc[slices["study_instance_uid"] == "S003", "study_any"] = NAN
        assert "S003" not in set(studies_of(slices, 0.8)["study_instance_uid"])

    def test_a_label_of_the_patient_alone_is_a_label_of_the_study(self) -> None:
        slices = predicted(table().assign(any=NAN)).slices
        assert studies_of(slices, 0.8)["label"].sum() == 10

    def test_slices_above_the_threshold_are_counted_and_those_at_it_are_not(self) -> None:
        slices = predicted(table(2, 4)).slices.assign(probability_any=[0.8, 0.81, 0.9, 0.1] * 2)
        assert studies_of(slices, 0.8)["positive_slices"].tolist() == [2, 2]


class TestOutOfFold:
    def test_probabilities_are_those_of_the_calibration_that_ships(self) -> None:
        slices = table(40, folds=4)
        wanted = cross_fitted_studies(slices, 0.8).set_index("study_instance_uid").sort_index()
        found = studies_of(cross_fit(slices, "made up").slices, 0.8).set_index("study_instance_uid")
        for column in ("label", "probability", "positive_slices", "slice_count"):
            pd.testing.assert_series_equal(found[column], wanted[column])

    @pytest.mark.parametrize("fold", range(4))
    def test_labels_of_a_fold_touch_neither_its_probabilities_nor_its_threshold(self, fold: int) -> None:
        slices = table(40, folds=4)
        own = slices["fold"] == fold
        turned = slices.copy()
        turned.loc[own, [*LABELS, "study_any"]] = 1 - turned.loc[own, [*LABELS, "study_any"]]
        said = ["sop_instance_uid", "probability_any", "study_probability", "study_threshold"]
        first, again = (cross_fit(one, "made up").slices for one in (slices, turned))
        pd.testing.assert_frame_equal(
            first.loc[first["fold"] == fold, said], again.loc[again["fold"] == fold, said]
        )

    def test_one_output_alone_is_enough(self) -> None:
        found = cross_fit(table(40, folds=4, outputs=("any",)), "made up")
        assert found.outputs == ("any",) and found.slices["study_probability"].notna().all()

    def test_where_the_other_folds_lack_a_class_the_study_probability_is_unknown(self) -> None:
        slices = table(20, folds=2)
        slices.loc[slices["fold"] == 1, [*LABELS, "study_any"]] = 0.0
        found = cross_fit(slices, "made up").slices
        assert found.loc[found["fold"] == 0, "study_probability"].isna().all()
        assert found["probability_any"].notna().all()


class TestFiles:
    def test_what_is_written_is_read_again(self, tmp_path: Path) -> None:
        made = predicted(default_rule="paper-10", learned_from=["here"])
        write_predictions(made, tmp_path)
        again = read_predictions(tmp_path / "predictions.parquet")
        assert again.made_by == made.made_by
        pd.testing.assert_frame_equal(again.slices, made.slices)

    def test_the_table_for_people_has_no_columns_of_storage(self, tmp_path: Path) -> None:
        write_predictions(predicted(), tmp_path)
        head = (tmp_path / "slices.csv").read_text().splitlines()[0].split(",")
        assert "probability_any" in head and not {"file", "row", "drawn"} & set(head)

    def test_logits_of_a_cross_validation_are_cross_fitted(self, tmp_path: Path) -> None:
        (tmp_path / "run").mkdir()
        write_table(table(40, folds=4), tmp_path / "run" / "out_of_fold.parquet")
        found = read_predictions(tmp_path / "run" / "out_of_fold.parquet")
        assert found.made_by == {"name": "run, out of fold", "how": "cross-fitted", "folds": 4}

    @pytest.mark.parametrize(
        ("slices", "message"),
        [
            (table(4), "no column 'fold'"),
            (table(4, folds=1), "one fold alone"),
            (table(4).drop(columns="logit_any"), "no column 'logit_any'"),
        ],
    )
    def test_a_table_that_holds_no_predictions_is_refused(
        self, tmp_path: Path, slices: pd.DataFrame, message: str
    ) -> None:
        write_table(slices, tmp_path / "some.parquet")
        with pytest.raises(EvaluationError, match=message):
            read_predictions(tmp_path / "some.parquet")

    def test_a_cross_validation_without_the_maps_of_its_network_is_refused(self, tmp_path: Path) -> None:
        data, network = DataSettings(("somewhere",)), NetworkSettings(name="blood-map", weights="random")
        experiment = Experiment(code="mapped", data=data, network=network)
        save_experiment(experiment, tmp_path / "experiment.yaml")
        write_table(table(8, folds=2), tmp_path / "out_of_fold.parquet")
        with pytest.raises(EvaluationError, match="kept no maps; run `cruor crossval`"):
            read_predictions(tmp_path / "out_of_fold.parquet")

    def test_a_cross_validation_whose_experiment_cannot_be_read_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "experiment.yaml").write_text("network: none\n")
        write_table(table(8, folds=2), tmp_path / "out_of_fold.parquet")
        with pytest.raises(EvaluationError, match=r"experiment\.yaml"):
            read_predictions(tmp_path / "out_of_fold.parquet")

    def test_a_file_that_is_no_parquet_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "some.parquet").write_text("no table")
        with pytest.raises(EvaluationError, match="cannot be read as Parquet"):
            read_predictions(tmp_path / "some.parquet")


def test_studies_of_one_patient_are_one_case_of_the_papers_table() -> None:
    slices = predicted().slices
    shared = slices.assign(patient_id=slices["patient_id"].replace("P001", "P000"))
    studies = studies_of(shared, 0.8)
    patients = by_patient(studies)
    assert (len(studies), len(patients)) == (20, 19)
    one, both = patients.set_index("patient_id").loc["P000"], studies[studies["patient_id"] == "P000"]
    assert one["label"]
    assert (one["slice_count"], one["positive_slices"]) == (20, both["positive_slices"].sum())
    assert one["probability"] == both["probability"].max()


def test_patients_of_one_study_each_are_the_studies() -> None:
    studies = studies_of(predicted().slices, 0.8)
    pd.testing.assert_frame_equal(by_patient(studies), studies)
