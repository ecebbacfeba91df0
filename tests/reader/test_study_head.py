import numpy as np
import pytest

from cruor.bundle.manifest import STUDY_FEATURES, StudyHead
from cruor.reader.study_head import FEATURES, study_features, study_probability, to_logits

HEAD = StudyHead(("peak", "top_mean"), (0.7, 0.5), -1.0)


def probabilities(bleed: int, slices: int = 30) -> np.ndarray:
    values = np.full(slices, 0.05)
    values[10 : 10 + bleed] = 0.97
    return values


def test_more_slices_with_blood_make_a_study_more_probable():
    said = [study_probability(probabilities(bleed), HEAD) for bleed in (0, 1, 2, 5)]
    assert said == sorted(said)
    assert said[0] < 0.3 < 0.7 < said[-1]


def test_neighbours_count_more_than_the_same_slices_scattered():
    scattered = np.full(30, 0.05)
    scattered[[3, 12, 21]] = 0.97
    assert study_probability(probabilities(3), HEAD) > study_probability(scattered, HEAD)


def test_the_direction_of_the_scan_does_not_matter():
    values = np.random.default_rng(1).random(25)
    assert study_probability(values, HEAD) == pytest.approx(study_probability(values[::-1], HEAD))


def test_thin_slices_of_the_same_head_give_nearly_the_same_answer():
    thick = probabilities(4)
    thin = np.repeat(thick, 5)
    assert study_probability(thin, HEAD) == pytest.approx(study_probability(thick, HEAD), abs=0.12)


@pytest.mark.parametrize("slices", [1, 2, 8, 400])
def test_every_feature_is_finite_for_any_number_of_slices(slices):
    for certain in (0.0, 0.5, 1.0):
        logits = to_logits(np.full(slices, certain))
        assert np.isfinite(study_features(logits, tuple(FEATURES))).all()


def test_the_highest_slice_counts_as_it_is_wherever_it_stands():
    logits = np.full(20, -3.0)
    for place in (0, 7, 19):
        logits[place] = 2.0
        assert study_features(logits, ("highest",))[0] == 2.0
        logits[place] = -3.0


def test_a_manifest_may_name_just_these_features():
    assert set(FEATURES) == set(STUDY_FEATURES)


def test_a_feature_that_is_not_known_is_an_error():
    with pytest.raises(KeyError):
        study_features(np.zeros(3), ("maximum",))
