"""`reader.unlike`: a study outside the ranges of the training says so."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cruor.bundle.manifest import MEASURES, UsualRange
from cruor.dicom.head import Inside
from cruor.reader.unlike import WORDS, measure, what_is_unlike

BRAIN = Inside(
    ring=1.0, cells=4000, area_mm2=15000.0, brain_share=0.95, air_share=0.0, spread_hu=6.0, brain_hu=32.0
)
NECK = replace(BRAIN, ring=0.1, brain_hu=55.0)
USUAL = (UsualRange("brain_hu", 24.0, 41.0), UsualRange("spread_hu", 4.0, 12.0))


def test_every_measure_of_a_manifest_has_words_and_is_one_of_a_slice() -> None:
    assert set(WORDS) == set(MEASURES)
    assert set(measure([BRAIN])) == set(MEASURES)


def test_a_usual_study_is_told_nothing_of() -> None:
    assert what_is_unlike([BRAIN] * 5, USUAL) is None


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"brain_hu": 55.0}, "the brain has 55 HU, usual 24 to 41"),
        ({"spread_hu": 15.0}, "its parts differ by 15.0 HU, usual 4.0 to 12.0"),
    ],
)
def test_what_is_outside_is_named_with_the_range(changes: dict[str, float], said: str) -> None:
    assert what_is_unlike([replace(BRAIN, **changes)] * 5, USUAL) == said


def test_slices_without_brain_do_not_count() -> None:
    assert what_is_unlike([BRAIN] * 3 + [NECK] * 9, USUAL) is None


def test_the_middle_slice_decides_not_one_odd_one() -> None:
    assert what_is_unlike([BRAIN] * 4 + [replace(BRAIN, brain_hu=80.0)], USUAL) is None


def test_without_ranges_or_brain_nothing_is_said() -> None:
    assert what_is_unlike([replace(BRAIN, brain_hu=80.0)], ()) is None
    assert what_is_unlike([NECK], USUAL) is None
