"""`bundle.prevalence`: probabilities for another prevalence, decisions as before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cruor.bundle.manifest import BundleError, Manifest, OperatingPoint, read_manifest, write_manifest
from cruor.bundle.prevalence import at_prevalence, write_at_prevalence
from cruor.reader.study_head import study_probability
from tests.reader.fakes import manifest

SHARES = st.floats(0.01, 0.99)
SLICES = st.lists(SHARES, min_size=3, max_size=30).map(np.array)


def fitted(prevalence: float = 0.4) -> Manifest:
    plain = manifest()
    sensitive = OperatingPoint("sensitivity-95", 0.2, "by hand")
    return replace(
        plain,
        study_head=replace(plain.study_head, prevalence=prevalence),
        rules=replace(plain.rules, other_points=(sensitive,)),
    )


@given(SLICES, SHARES)
def test_every_decision_stays_what_it_was(slices: np.ndarray, prevalence: float) -> None:
    before, after = fitted(), at_prevalence(fitted(), prevalence)
    for old, new in zip(
        (before.rules.operating_point, *before.rules.other_points),
        (after.rules.operating_point, *after.rules.other_points),
        strict=True,
    ):
        was = study_probability(slices, before.study_head) - old.threshold
        now = study_probability(slices, after.study_head) - new.threshold
        assert abs(was) < 1e-9 or abs(now) < 1e-9 or (was > 0) == (now > 0)


def test_the_odds_move_as_those_of_the_prevalence() -> None:
    slices = np.array([0.2, 0.7, 0.6])
    before = study_probability(slices, fitted(0.5).study_head)
    after = study_probability(slices, at_prevalence(fitted(0.5), 0.1).study_head)
    assert after / (1 - after) == pytest.approx(before / (1 - before) / 9)


def test_there_and_back_again_is_the_same_bundle_but_for_its_version() -> None:
    back = at_prevalence(at_prevalence(fitted(), 0.1), 0.4)
    assert back.study_head.intercept == pytest.approx(fitted().study_head.intercept)
    assert back.rules.operating_point.threshold == pytest.approx(0.5)
    assert back.version == "1+prevalence.0.4" and back.made_by["fitted_at_prevalence"] == 0.4


def test_it_does_not_name_the_command_that_made_the_other_bundle() -> None:
    made = replace(fitted(), made_by={"run": "x", "export": "cruor export runs/x x"})
    assert set(at_prevalence(made, 0.1).made_by) == {"run", "fitted_at_prevalence"}


@pytest.mark.parametrize("prevalence", [0.0, 1.0, -0.2, 1e-19, 0.9999999, float("nan")])
def test_what_is_no_share_is_refused(prevalence: float) -> None:
    with pytest.raises(BundleError, match="between 0 and 1"):
        at_prevalence(fitted(), prevalence)


def test_a_bundle_that_does_not_tell_its_own_prevalence_is_refused_by_name() -> None:
    with pytest.raises(BundleError, match="bright-blood 1 does not tell the prevalence"):
        at_prevalence(manifest(), 0.1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "old").mkdir()
    write_manifest(fitted(), tmp_path / "old" / "manifest.json")
    (tmp_path / "old" / "model.onnx").write_bytes(b"network")
    (tmp_path / "old" / "README.md").write_text("# bright-blood 1\n")
    return tmp_path / "old"


def test_the_new_bundle_has_the_same_network_and_a_card_that_says_so(folder: Path, tmp_path: Path) -> None:
    write_at_prevalence(folder, 0.1, tmp_path / "new")
    assert (tmp_path / "new" / "model.onnx").read_bytes() == b"network"
    card = (tmp_path / "new" / "README.md").read_text()
    assert card.startswith("# bright-blood 1+prevalence.0.1\n")
    threshold = at_prevalence(fitted(), 0.1).rules.operating_point.threshold
    assert "prevalence of 0.1" in card and f"{threshold:.3f}" in card
    assert "\n# bright-blood 1\n" in card
    assert read_manifest(tmp_path / "new" / "manifest.json") == at_prevalence(fitted(), 0.1)


def test_a_bundle_is_never_overwritten(folder: Path) -> None:
    with pytest.raises(BundleError, match="holds a bundle already"):
        write_at_prevalence(folder, 0.1, folder)
    assert read_manifest(folder / "manifest.json") == fitted()
