"""Every folder of real data with DICOM in it is read, or refused with the right reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from cruor.bundle.model import Bundle, open_bundle
from cruor.dicom.studies import find_studies
from cruor.reader.results import Status, StudyResult
from cruor.reader.study import read_study


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return open_bundle()


def read_folder(folder: Path, bundle: Bundle) -> list[StudyResult]:
    found = find_studies([folder])
    assert found.studies
    assert not found.damaged
    return [read_study(study, bundle) for study in found.studies]


@pytest.mark.parametrize("folder", ["rsna-sample", "rsna-train/series"])
def test_every_complete_rsna_series_is_decided(shared_data, bundle, folder):
    results = read_folder(shared_data / folder, bundle)
    assert len(results) == len([one for one in (shared_data / folder).iterdir() if one.is_dir()])
    assert {result.status for result in results} == {Status.DECIDED}
    assert all(0 <= result.probability <= 1 for result in results)


def test_doubled_levels_are_read_and_noted(shared_data, bundle):
    (result,) = read_folder(shared_data / "rsna-sample" / "ID_72952d87fa", bundle)
    assert result.slice_count == 36
    assert any("8 of 28 levels" in note for note in result.notes)


def test_single_slices_are_refused_since_a_study_needs_more(shared_data, bundle):
    results = read_folder(shared_data / "rsna-train" / "single", bundle)
    assert {result.status for result in results} == {Status.REFUSED}
    assert all("slice" in result.reason for result in results)


def test_the_tilted_head_is_decided_and_its_geometry_noted(shared_data, bundle):
    (result,) = read_folder(shared_data / "ge-tilted-head", bundle)
    assert result.status is Status.DECIDED
    assert result.slice_count == 28
    assert any("18.5 degrees" in note for note in result.notes)
    assert any("spacing is uneven" in note for note in result.notes)


def test_the_plain_cq500_scan_is_decided(shared_data, bundle):
    (result,) = read_folder(shared_data / "cq500", bundle)
    assert result.status is Status.DECIDED
    assert result.slice_count == 53


def test_of_the_philips_session_the_5_mm_brain_is_chosen_and_the_phantom_refused(shared_data, bundle):
    (result,) = read_folder(shared_data / "philips-phantom-study", bundle)
    (chosen,) = [one for one in result.series_considered if one.chosen]
    assert chosen.description == "STD BRAIN 5MM"
    assert result.status is Status.REFUSED
    assert "phantom" in result.reason
    others = " ".join(one.why for one in result.series_considered if not one.chosen)
    for why in ("localizer", "sharp kernel", "secondary capture", "1 mm"):
        assert why in others
