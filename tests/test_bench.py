"""The parts of the benchmark that decide its verdict; timings themselves are no test."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from bench.measures import Measure
from bench.preparing import cost_of_rsna
from bench.process import run_child
from bench.series import median_folder


@pytest.mark.parametrize(
    "value, limit, broken, verdict",
    [
        (1.0, 2.0, False, "ok"),
        (2.0, 2.0, True, "over"),
        (None, 2.0, True, "not measured"),
        (9.0, None, False, ""),
    ],
)
def test_a_value_must_stay_below_its_limit(
    value: float | None, limit: float | None, broken: bool, verdict: str
) -> None:
    measure = Measure("name", value, "s", limit, "how")
    assert (measure.broken, measure.verdict) == (broken, verdict)
    assert measure.as_record()["verdict"] == verdict


def test_the_peak_of_a_child_is_its_own() -> None:
    held = b"\1" * 300_000_000
    assert run_child(sys.executable, "-c", "pass").peak_bytes < 100_000_000
    assert run_child(sys.executable, "-c", "len(b'1' * 200_000_000)").peak_bytes > 200_000_000
    assert len(held) == 300_000_000


def test_a_child_that_fails_is_named_with_what_it_said() -> None:
    with pytest.raises(RuntimeError, match="exit status 3\nthe reason"):
        run_child(sys.executable, "-c", "import sys; print('the reason', file=sys.stderr); sys.exit(3)")


def test_the_folder_of_median_length_is_measured(tmp_path: Path) -> None:
    for name, files in {"long": 5, "short": 1, "b": 3, "a": 3}.items():
        (tmp_path / name).mkdir()
        for place in range(files):
            (tmp_path / name / f"{place}.dcm").touch()
    assert median_folder(tmp_path).name == "b"


def test_what_rsna_costs_follows_from_a_slice() -> None:
    costs = {one.name: (one.value, one.unit) for one in cost_of_rsna(slices_a_second=50, bytes_a_slice=200e3)}
    assert costs["RSNA prepared, one core"] == (pytest.approx(752_803 / 50 / 3600), "h")
    assert costs["RSNA prepared, disk"] == (pytest.approx(150.5606), "GB")
    assert costs["an epoch of EffClass"] == (pytest.approx(70.4, abs=0.05), "h")
