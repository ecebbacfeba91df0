"""`cruor.training.calibration`: from logits to probabilities, never by a study's own fold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from cruor.bundle.manifest import MapContext, SliceCalibration
from cruor.reader.along_scan import average_along_scan, logits_along_scan
from cruor.reader.study_head import study_features, study_probability
from cruor.training.calibration import (
    FEATURES,
    FEWEST_OF_A_CLASS,
    MAP_REACH_MM,
    PLAIN_HEAD,
    REACH_MM,
    averaged_logits,
    best_balance,
    calibrated_logits,
    calls_by_other_folds,
    complete_studies,
    cross_fitted_studies,
    fit_slice_calibration,
    fit_study_head,
    logits_for_study,
    operating_points,
    outputs_of,
    score_studies,
    sensitive_threshold,
)
from cruor.training.map_column import MAP_COLUMN, pack_maps, unpack_maps
from cruor.training.networks.blood_map import HOTTEST_SHARE, MAP_SHARE
from cruor.training.prepare.store import LABELS

FOLDS = 3
SLOPE, INTERCEPT = 0.5, 1.0


def simulated(studies: int = 60, slices: int = 12, seed: int = 1, share: float = 0.15) -> pd.DataFrame:
    """Out-of-fold slices whose raw logit is the true, balanced log odds stretched: (logit - 1) / 0.5."""
    rng = np.random.default_rng(seed)
    count = studies * slices
    blood = (rng.random(count) < share) & np.repeat(np.arange(studies) % 2 == 0, slices)
    true_log_odds = 2 * (rng.standard_normal(count) + 2 * blood - 1)  # two normal classes two apart
    table = {
        "source": np.repeat(["ct-ich", "rsna"], count // 2),
        "patient_id": np.repeat([f"P{i}" for i in range(studies)], slices),
        "study_instance_uid": np.repeat([f"S{i:03d}" for i in range(studies)], slices),
        "number": np.tile(np.arange(1, slices + 1), studies),
        "complete_series": True,
        "fold": np.repeat(np.arange(studies) // 2 % FOLDS, slices),
    }
    for label in LABELS:
        table[label] = blood.astype(float)
        table[f"logit_{label}"] = (true_log_odds - INTERCEPT) / SLOPE
    return pd.DataFrame(table)


class TestSliceCalibration:
    def test_platt_scaling_finds_the_slope_and_intercept_that_make_balanced_probabilities_right(self) -> None:
        fitted = fit_slice_calibration(simulated(studies=1500))
        assert fitted.slope == pytest.approx((SLOPE,) * 6, rel=0.1)
        assert fitted.intercept == pytest.approx((INTERCEPT,) * 6, abs=0.12)

    def test_a_probability_means_its_share_where_the_classes_are_equally_many(self) -> None:
        """Weigh positives and negatives alike; then of what scores about 0.8, 0.8 is positive."""
        slices = simulated(studies=1500)
        logits = calibrated_logits(slices, fit_slice_calibration(slices))
        chance, blood = 1 / (1 + np.exp(-logits)), slices["any"].to_numpy() == 1
        weight = np.where(blood, 1 / blood.sum(), 1 / (~blood).sum())
        for low, high in ((0.1, 0.3), (0.4, 0.6), (0.7, 0.9)):
            held = (chance > low) & (chance < high)
            share = weight[held & blood].sum() / weight[held].sum()
            assert share == pytest.approx(np.average(chance[held], weights=weight[held]), abs=0.05)

    @pytest.mark.parametrize(
        ("positives", "raw"), [(FEWEST_OF_A_CLASS - 1, True), (FEWEST_OF_A_CLASS, False)]
    )
    def test_an_output_with_few_positives_keeps_its_logit(self, positives: int, raw: bool) -> None:
        slices = simulated()
        slices["epidural"] = (np.arange(len(slices)) < positives).astype(float)
        fitted = fit_slice_calibration(slices)
        place = LABELS.index("epidural")
        assert ((fitted.slope[place], fitted.intercept[place]) == (1.0, 0.0)) is raw
        assert fitted.slope[0] != 1.0

    def test_an_output_without_negatives_keeps_its_logit(self) -> None:
        fitted = fit_slice_calibration(simulated().assign(subdural=1.0))
        assert (fitted.slope[-1], fitted.intercept[-1]) == (1.0, 0.0)

    def test_slices_whose_label_is_unknown_do_not_count(self) -> None:
        slices = simulated()
        hidden = slices.assign(subdural=slices["subdural"].where(slices.index % 2 == 0))
        hidden.loc[hidden.index % 2 == 1, "logit_subdural"] = 50.0
        assert fit_slice_calibration(hidden).slope[-1] == pytest.approx(
            fit_slice_calibration(slices[slices.index % 2 == 0]).slope[-1]
        )


class TestStudies:
    def test_slices_of_a_study_come_in_scan_order(self) -> None:
        slices = simulated(4).sample(frac=1, random_state=1)
        assert all(study["number"].tolist() == list(range(1, 13)) for study in complete_studies(slices))

    def test_single_slices_are_no_study(self) -> None:
        slices = simulated(4)
        slices.loc[slices["study_instance_uid"] == "S001", "complete_series"] = False
        assert [study["study_instance_uid"].iloc[0] for study in complete_studies(slices)] == [
            "S000",
            "S002",
            "S003",
        ]

    def test_the_head_is_fitted_to_the_features_that_the_reader_computes(self) -> None:
        """A study's probability in training is the reader's, from the probabilities of its slices."""
        slices = simulated()
        calibration = fit_slice_calibration(slices)
        head = fit_study_head(slices, calibration)
        for study in complete_studies(slices):
            logits = calibrated_logits(study, calibration)
            score = study_features(logits, FEATURES) @ np.array(head.weights) + head.intercept
            read = study_probability(1 / (1 + np.exp(-logits)), head)
            assert read == pytest.approx(1 / (1 + np.exp(-score)), abs=1e-9)

    def test_a_study_with_blood_scores_higher(self, scored: pd.DataFrame) -> None:
        studies, with_blood = scored, scored["label"].to_numpy()
        assert studies["probability"][with_blood].mean() > studies["probability"][~with_blood].mean() + 0.2

    def test_every_complete_study_is_scored_once(self, scored: pd.DataFrame) -> None:
        assert sorted(scored["study_instance_uid"]) == [f"S{i:03d}" for i in range(60)]
        assert set(scored["slice_count"]) == {12}

    def test_slices_above_the_threshold_are_counted(self, scored: pd.DataFrame) -> None:
        slices = simulated()
        others = fit_slice_calibration(slices[slices["fold"] != 0])
        first = slices[slices["study_instance_uid"] == "S000"]
        wanted = int((1 / (1 + np.exp(-calibrated_logits(first, others))) > 0.8).sum())
        counted = scored[scored["study_instance_uid"] == "S000"]["positive_slices"]
        assert counted.tolist() == [wanted]


@pytest.fixture(scope="module")
def scored() -> pd.DataFrame:
    """The simulated studies with their cross-fitted scores."""
    return cross_fitted_studies(simulated(), 0.8)


def relabelled(slices: pd.DataFrame, fold: int) -> pd.DataFrame:
    """The same slices with every label of one fold turned round."""
    turned = slices.copy()
    turned.loc[turned["fold"] == fold, list(LABELS)] = 1 - turned.loc[turned["fold"] == fold, list(LABELS)]
    return turned


@pytest.mark.parametrize("fold", range(FOLDS))
def test_the_labels_of_a_fold_do_not_touch_its_own_scores(scored: pd.DataFrame, fold: int) -> None:
    true, turned = scored, cross_fitted_studies(relabelled(simulated(), fold), 0.8)
    own = (true["fold"] == fold).to_numpy()
    score = ["probability", "positive_slices"]
    pd.testing.assert_frame_equal(true.loc[own, score], turned.loc[own, score])
    assert (true["probability"] != turned["probability"])[~own].all()


@pytest.mark.parametrize("fold", range(FOLDS))
def test_the_labels_of_a_fold_do_not_touch_the_threshold_that_calls_it(
    scored: pd.DataFrame, fold: int
) -> None:
    studies = scored
    own = (studies["fold"] == fold).to_numpy()
    turned = studies.assign(label=studies["label"] ^ own)
    np.testing.assert_array_equal(calls_by_other_folds(studies)[own], calls_by_other_folds(turned)[own])


class TestBestBalance:
    def test_it_parts_what_can_be_parted_midway(self) -> None:
        labels, chances = np.array([0, 0, 1, 1], bool), np.array([0.1, 0.3, 0.5, 0.9])
        assert best_balance(labels, chances) == pytest.approx(0.4)

    def test_no_other_threshold_has_a_better_balance(self) -> None:
        rng = np.random.default_rng(3)
        labels = rng.random(80) < 0.4
        chances = np.clip(0.4 + 0.2 * labels + 0.2 * rng.standard_normal(80), 0, 1)

        def balance(threshold: float) -> float:
            called = chances >= threshold
            return float(called[labels].mean() - called[~labels].mean())

        best = balance(best_balance(labels, chances))
        assert best == pytest.approx(max(balance(threshold) for threshold in np.linspace(0, 1, 2001)))

    def test_equal_probabilities_are_not_parted(self) -> None:
        labels, chances = np.array([0, 1, 0, 1], bool), np.array([0.2, 0.5, 0.5, 0.8])
        assert best_balance(labels, chances) in (pytest.approx(0.35), pytest.approx(0.65))


def test_the_operating_point_says_where_its_threshold_comes_from(scored: pd.DataFrame) -> None:
    studies = scored
    points = operating_points(studies, "cross-fitted over 3 folds by patient")
    assert [point.name for point in points] == ["balanced", "sensitivity-95"]
    assert points[0].threshold == best_balance(studies["label"].to_numpy(), studies["probability"].to_numpy())
    for point in points:
        assert "60 studies" in point.origin and "3 folds by patient" in point.origin
        assert f"{studies['label'].sum()} with hemorrhage" in point.origin


class TestSensitiveThreshold:
    def test_at_most_one_positive_study_in_twenty_is_below_it(self) -> None:
        rng = np.random.default_rng(1)
        labels, chances = np.arange(80) % 2 == 0, rng.random(80)
        threshold = sensitive_threshold(labels, chances)
        assert (chances[labels] >= threshold).mean() == 0.95
        assert 0 < threshold < 1

    def test_with_fewer_than_twenty_none_is_missed(self) -> None:
        labels, chances = np.array([0, 1, 1], bool), np.array([0.2, 0.4, 1.0])
        assert sensitive_threshold(labels, chances) == pytest.approx(0.3)

    def test_it_is_a_threshold_even_where_all_probabilities_are_one(self) -> None:
        assert 0 < sensitive_threshold(np.array([True, False]), np.array([1.0, 1.0])) < 1


def test_with_too_few_studies_of_a_kind_the_study_is_as_probable_as_its_peak() -> None:
    slices = simulated(4)
    assert fit_study_head(slices, fit_slice_calibration(slices)) == PLAIN_HEAD


def test_a_table_of_one_output_is_calibrated_for_one() -> None:
    slices = simulated(60)
    alone = slices[[name for name in slices if not name.startswith("logit_") or name == "logit_any"]]
    assert outputs_of(alone) == ("any",)
    assert fit_slice_calibration(alone).slope == fit_slice_calibration(slices).slope[:1]


def test_calibrated_logits_are_those_of_any_hemorrhage() -> None:
    slices = simulated(4).assign(logit_subdural=99.0)
    calibration = SliceCalibration((2.0, *[9.0] * 5), (0.5, *[9.0] * 5))
    np.testing.assert_allclose(calibrated_logits(slices, calibration), 2 * slices["logit_any"] + 0.5)


def placed() -> pd.DataFrame:
    """Simulated slices of 5 mm."""
    slices = simulated()
    return slices.assign(position_mm=slices["number"] * 5.0)


REACHING = SliceCalibration((), (), reach_mm=4.0)
CONTEXT = MapContext(reach_mm=4.0, hottest_share=0.02, logit_share=0.7)


def with_maps(slices: pd.DataFrame) -> pd.DataFrame:
    """The slices with maps of 3 x 3 cells by chance."""
    maps = np.random.default_rng(3).uniform(0.01, 0.99, (len(slices), 3, 3))
    return slices.assign(**{MAP_COLUMN: pack_maps(maps)})


class TestAveragedLogits:
    def test_slices_of_complete_series_are_averaged_as_the_reader_does(self) -> None:
        slices = placed()
        averaged = averaged_logits(slices, REACHING)
        study = next(iter(complete_studies(slices)))
        positions = study["position_mm"].to_numpy()
        logits = study[[f"logit_{label}" for label in LABELS]].to_numpy()
        rows = slices.index.get_indexer(study.index)
        np.testing.assert_allclose(averaged[rows], average_along_scan(logits, positions, 4.0))

    def test_maps_of_neighbours_are_asked_where_the_calibration_says_so(self) -> None:
        slices = with_maps(placed())
        study = next(iter(complete_studies(slices)))
        rows = slices.index.get_indexer(study.index)
        asking = replace(REACHING, maps=CONTEXT)
        logits = study[[f"logit_{label}" for label in LABELS]].to_numpy()
        maps, positions = unpack_maps(study[MAP_COLUMN]), study["position_mm"].to_numpy()
        wanted = logits_along_scan(logits, maps, positions, asking)
        np.testing.assert_allclose(averaged_logits(slices, asking)[rows], wanted)
        assert np.abs(wanted[:, 0] - averaged_logits(slices, REACHING)[rows, 0]).max() > 0.1

    def test_slices_far_from_each_other_stand_for_themselves(self) -> None:
        slices = placed()
        far = averaged_logits(slices.assign(position_mm=slices["number"] * 100.0), REACHING)
        assert (far[:, 0] == slices["logit_any"]).all()

    @pytest.mark.parametrize("changes", [{"complete_series": False}, {"position_mm": np.nan}])
    def test_single_slices_and_those_of_unknown_place_stand_for_themselves(
        self, changes: dict[str, object]
    ) -> None:
        slices = placed().assign(**changes)
        assert (averaged_logits(slices, REACHING)[:, 0] == slices["logit_any"]).all()

    @pytest.mark.parametrize("calibration", [REACHING, replace(REACHING, maps=CONTEXT)])
    def test_shuffled_rows_get_the_same_values(self, calibration: SliceCalibration) -> None:
        slices = with_maps(placed())
        order = np.random.default_rng(0).permutation(len(slices))
        np.testing.assert_allclose(
            averaged_logits(slices.iloc[order], calibration), averaged_logits(slices, calibration)[order]
        )

    def test_a_calibration_that_asks_maps_of_a_table_without_is_refused(self) -> None:
        with pytest.raises(ValueError, match="the table holds none"):
            averaged_logits(placed(), replace(REACHING, maps=CONTEXT))

    def test_calibration_is_fitted_to_and_tells_that_reach(self) -> None:
        slices = placed()
        fitted = fit_slice_calibration(slices)
        assert fitted.reach_mm == REACH_MM
        alone = fit_slice_calibration(slices.assign(position_mm=np.nan))
        assert fitted.slope != alone.slope
        assert alone.reach_mm == 0, "nothing was averaged, so the reader must not"

    def test_studies_are_judged_without_the_maps_of_neighbours(self) -> None:
        slices = with_maps(placed())
        calibration = fit_slice_calibration(slices)
        without = replace(calibration, maps=None)
        np.testing.assert_array_equal(
            logits_for_study(slices, calibration), calibrated_logits(slices, without)
        )
        scored, alone = (score_studies(slices, one, PLAIN_HEAD, 0.8) for one in (calibration, without))
        assert (scored["probability"] == alone["probability"]).all()
        assert (scored["positive_slices"] != alone["positive_slices"]).any()

    def test_calibration_asks_maps_where_the_network_has_them(self) -> None:
        slices = with_maps(placed())
        fitted = fit_slice_calibration(slices)
        assert fitted.maps == MapContext(MAP_REACH_MM, HOTTEST_SHARE, MAP_SHARE)
        assert fitted.slope != fit_slice_calibration(placed()).slope
        assert fit_slice_calibration(placed()).maps is None
        assert fit_slice_calibration(slices.assign(complete_series=False)).maps is None
