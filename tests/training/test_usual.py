"""`cruor.training.usual`: ranges over the complete series of the prepared folders."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cruor.bundle.manifest import MEASURES
from cruor.training import usual
from cruor.training.experiment import DataSettings
from cruor.training.usual import usual_ranges
from tests.training.samples import prepare_some


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataSettings:
    folder = prepare_some(tmp_path_factory.mktemp("prepared") / "ct-ich", patients=4)
    return DataSettings(folders=(str(folder),))


def test_each_measure_lies_within_its_range(data: DataSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usual, "FEWEST", 2)
    ranges = usual_ranges(data)
    assert [one.name for one in ranges] == list(MEASURES)
    (measures, *_) = usual._of_folder(Path(data.folders[0]), data)
    assert all(one.low <= measures[one.name] <= one.high for one in ranges)


def test_too_few_studies_have_no_range(data: DataSettings) -> None:
    assert usual_ranges(data) == ()


def test_patients_left_out_do_not_count(data: DataSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usual, "FEWEST", 4)
    assert usual_ranges(data)
    assert usual_ranges(replace(data, left_out_patients=("patient of ct-ich-01",))) == ()
