"""`cruor.training.retrained`: the networks are new, what was measured of them is not."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from cruor.bundle.manifest import read_manifest
from cruor.bundle.model import INPUT, LOGITS, MANIFEST_FILE, Bundle, open_bundle
from cruor.cli import app
from cruor.training.experiment import Experiment, ExperimentError, save_experiment
from cruor.training.export import BundleName
from cruor.training.graph import load_network
from cruor.training.retrained import export_retrained
from cruor.training.run import EXPERIMENT_FILE, FINISHED_FILE
from cruor.training.runs import OUT_OF_FOLD

pytestmark = pytest.mark.filterwarnings("ignore:::lightning")

NEW = BundleName("tiny", "0.0.2")


@pytest.fixture(scope="module")
def measured(exported: Path) -> Bundle:
    return open_bundle(str(exported))


@pytest.fixture(scope="module")
def trained_again(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished run with the weights of its first fold, as if trained again, and not cross-validated."""
    run = tmp_path_factory.mktemp("again") / finished_run.name
    shutil.copytree(finished_run, run)
    (run / "last.ckpt").write_bytes((finished_run / "fold0/last.ckpt").read_bytes())
    (run / OUT_OF_FOLD).unlink()
    return run


@pytest.fixture(scope="module")
def again(trained_again: Path, measured: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundle")
    return open_bundle(str(export_retrained([trained_again], folder, NEW, measured)))


def test_the_bundle_is_the_network_that_was_trained_again(
    again: Bundle, trained_again: Path, finished_experiment: Experiment, measured: Bundle
) -> None:
    size = again.manifest.input.crop.size
    channels = np.random.default_rng(0).normal(size=(3, len(again.manifest.input.windows_hu), size, size))
    channels = channels.astype(np.float32)
    with torch.inference_mode():
        wanted = load_network(finished_experiment, trained_again)(torch.tensor(channels)).numpy()
    told, before = (one.session.run([LOGITS], {INPUT: channels})[0] for one in (again, measured))
    np.testing.assert_allclose(told, wanted, rtol=0, atol=0.02)
    assert not np.allclose(before, wanted, atol=0.05)


def test_calibration_and_figures_are_those_that_were_measured(again: Bundle, measured: Bundle) -> None:
    new, old = again.manifest, measured.manifest
    assert (new.calibration, new.study_head, new.rules) == (old.calibration, old.study_head, old.rules)
    assert (new.figures, new.data, new.terms) == (old.figures, old.data, old.terms)
    assert again.label == "tiny 0.0.2"


def test_manifest_and_card_tell_of_which_bundle_the_figures_are(again: Bundle, measured: Bundle) -> None:
    made_by = again.manifest.made_by
    assert made_by["measured_by"] == {
        "bundle": "tiny 0.0.1",
        "created": measured.manifest.created,
        "commits": [measured.manifest.made_by["commit"]],
    }
    assert made_by["export"].endswith("tiny --version 0.0.2 --measured-by BUNDLE")


def test_the_bundle_that_was_measured_is_named_however_often_it_is_trained_again(
    again: Bundle, trained_again: Path, tmp_path: Path
) -> None:
    third = open_bundle(str(export_retrained([trained_again], tmp_path, BundleName("tiny", "0.0.3"), again)))
    assert third.manifest.made_by["measured_by"]["bundle"] == "tiny 0.0.1"
    assert "were made for tiny 0.0.1" in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"code": "another"}, "other runs"),
        ({"training": {"seed": 7}}, "other runs"),
        ({"input": {"std": 0.25}}, "other input"),
        ({"data": {"folds": 3}}, "other folds"),
        ({"data": {"left_out_patients": ("someone",)}}, "other left_out_patients"),
        ({"network": {"name": "blood-map"}}, "other network"),
    ],
)
def test_runs_that_are_not_those_that_were_measured_are_refused(
    change: dict[str, Any], said: str, finished_experiment: Experiment, measured: Bundle, tmp_path: Path
) -> None:
    values = {
        name: replace(getattr(finished_experiment, name), **value) if isinstance(value, dict) else value
        for name, value in change.items()
    }
    save_experiment(replace(finished_experiment, **values), tmp_path / EXPERIMENT_FILE)
    with pytest.raises(ExperimentError, match=f"tiny 0.0.1 was measured with {said}"):
        export_retrained([tmp_path], tmp_path / "bundle", NEW, measured)
    assert not (tmp_path / "bundle").exists()


def test_a_run_that_was_not_trained_to_its_end_is_refused(
    trained_again: Path, measured: Bundle, tmp_path: Path
) -> None:
    run = tmp_path / trained_again.name
    run.mkdir()
    shutil.copy(trained_again / EXPERIMENT_FILE, run)
    with pytest.raises(ExperimentError, match=rf"no {FINISHED_FILE}; run `cruor train`"):
        export_retrained([run], tmp_path / "bundle", NEW, measured)


def test_a_bundle_that_was_preprocessed_otherwise_is_refused(
    exported: Path, trained_again: Path, tmp_path: Path, measured: Bundle
) -> None:
    older = Bundle(replace(measured.manifest, preprocessing="another"), measured.session)
    with pytest.raises(ExperimentError, match="other preprocessing"):
        export_retrained([trained_again], tmp_path / "bundle", NEW, older)


def test_the_command_needs_no_table_of_slices_held_out(
    exported: Path, trained_again: Path, tmp_path: Path
) -> None:
    made = ["export", str(trained_again), str(tmp_path / "tiny"), "--measured-by", str(exported)]
    result = CliRunner().invoke(app, made)
    assert result.exit_code == 0, result.output
    assert read_manifest(tmp_path / "tiny" / MANIFEST_FILE).made_by["networks_of"] == "train"


def test_the_command_takes_no_networks_of_folds(exported: Path, trained_again: Path, tmp_path: Path) -> None:
    made = ["export", str(trained_again), str(tmp_path), "--measured-by", str(exported), "--folds", "2"]
    result = CliRunner().invoke(app, made)
    assert result.exit_code == 2
    assert "leave out --folds" in result.output
