"""`cruor.training.export.retrained`: the networks are new, what was measured of them is not."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from typer.testing import CliRunner

from cruor.bundle.manifest import MapContext, read_manifest, write_manifest
from cruor.bundle.model import INPUT, LOGITS, MANIFEST_FILE, Bundle, open_bundle
from cruor.cli import app
from cruor.training.experiment import Experiment, ExperimentError, load_experiment, save_experiment
from cruor.training.export import retrained
from cruor.training.export.card import render_card
from cruor.training.export.retrained import export_retrained
from cruor.training.export.writing import BundleName
from cruor.training.graph import load_network
from cruor.training.run import EXPERIMENT_FILE, FINISHED_FILE, MADE_BY_FILE
from cruor.training.runs import OUT_OF_FOLD
from tests.training.export.reading import mean_of_differing

pytestmark = pytest.mark.filterwarnings("ignore:::lightning")

NEW = BundleName("tiny", "0.0.2")


@pytest.fixture(scope="module")
def measured(exported: Path) -> Bundle:
    return open_bundle(str(exported))


@pytest.fixture(scope="module")
def trained_again(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished run with the weights of its first fold, as if trained again, and not cross-validated."""
    run = copy_of_run(finished_run, tmp_path_factory.mktemp("again"))
    shutil.copy(finished_run / "fold0/last.ckpt", run)
    (run / OUT_OF_FOLD).unlink()
    return run


@pytest.fixture(scope="module")
def again(trained_again: Path, exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundle")
    return open_bundle(str(export_retrained([trained_again], folder, NEW, str(exported))))


def copy_of_run(run: Path, folder: Path) -> Path:
    copied = folder / run.name
    shutil.copytree(run, copied)
    return copied


def generated(bundle: Bundle) -> NDArray[np.float32]:
    shown = bundle.manifest.input
    shape = (3, len(shown.windows_hu), shown.crop.size, shown.crop.size)
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_the_bundle_is_the_network_that_was_trained_again(
    again: Bundle, trained_again: Path, finished_experiment: Experiment, measured: Bundle
) -> None:
    channels = generated(again)
    with torch.inference_mode():
        wanted = load_network(finished_experiment, trained_again)(torch.tensor(channels)).numpy()
    told, before = (one.session.run([LOGITS], {INPUT: channels})[0] for one in (again, measured))
    np.testing.assert_allclose(told, wanted, rtol=0, atol=0.02)
    assert not np.allclose(before, wanted, atol=0.05)


def test_all_else_in_the_manifest_is_what_was_measured(again: Bundle, measured: Bundle) -> None:
    new, old = again.manifest, measured.manifest
    own = {"version": old.version, "map_scale": old.map_scale, "digest": old.digest, "made_by": old.made_by}
    assert replace(new, created=old.created, **own) == old  # type: ignore[arg-type]
    assert again.label == "tiny 0.0.2"


def test_manifest_and_card_tell_of_which_bundle_the_figures_are(again: Bundle, measured: Bundle) -> None:
    made, before = again.manifest.made_by, measured.manifest.made_by
    told = made["measured_by"]
    assert (told["bundle"], told["created"]) == ("tiny 0.0.1", measured.manifest.created)
    assert (told["digest"], told["export"]) == (measured.manifest.digest, before["export"])
    assert [run["commit"] for run in told["runs"]] == [before["commit"]]
    assert made["export"].endswith("tiny --version 0.0.2 --measured-by BUNDLE")
    card = " ".join(render_card(again.manifest).split())
    assert "Calibration and figures were made for tiny 0.0.1" in card
    assert f"its sha256 {measured.manifest.digest[:16]}" in card
    assert "`cruor crossval`" not in card


def test_the_bundle_that_was_measured_is_named_however_often_it_is_trained_again(
    again: Bundle, trained_again: Path, exported: Path, tmp_path: Path
) -> None:
    second = tmp_path / "second"
    shutil.copytree(exported, second)
    manifest = read_manifest(second / MANIFEST_FILE)
    retrained_once = replace(manifest, version="0.0.2", made_by=again.manifest.made_by)
    write_manifest(retrained_once, second / MANIFEST_FILE)
    export_retrained([trained_again], tmp_path / "third", BundleName("tiny", "0.0.3"), str(second))
    third = read_manifest(tmp_path / "third" / MANIFEST_FILE)
    assert third.made_by["measured_by"]["bundle"] == "tiny 0.0.1"


@pytest.fixture(scope="module")
def other(
    finished_run: Path, finished_experiment: Experiment, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    run = tmp_path_factory.mktemp("runs") / "other"
    run.mkdir()
    for name in (MADE_BY_FILE, FINISHED_FILE, "fold1/last.ckpt"):
        shutil.copy(finished_run / name, run)
    training = replace(finished_experiment.training, seed=2)
    save_experiment(replace(finished_experiment, code="other", training=training), run / EXPERIMENT_FILE)
    return run


@pytest.fixture(scope="module")
def of_two(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The exported bundle, as if the other run had been measured with it."""
    folder = tmp_path_factory.mktemp("of-two") / "bundle"
    shutil.copytree(exported, folder)
    manifest = read_manifest(folder / MANIFEST_FILE)
    made_by = {**manifest.made_by, "beside": [{"run": "other", "seed": 2, "commit": "abc"}]}
    write_manifest(replace(manifest, made_by=made_by), folder / MANIFEST_FILE)
    return folder


class TestSeveralRuns:
    def test_their_networks_are_averaged(
        self, trained_again: Path, other: Path, of_two: Path, finished_experiment: Experiment, tmp_path: Path
    ) -> None:
        bundle = open_bundle(str(export_retrained([trained_again, other], tmp_path, NEW, str(of_two))))
        channels = generated(bundle)
        wanted = mean_of_differing(finished_experiment, [trained_again, other], channels)
        found = bundle.session.run([LOGITS], {INPUT: channels})[0]
        np.testing.assert_allclose(found, wanted, rtol=0, atol=0.02)
        made = bundle.manifest.made_by
        assert (bundle.manifest.network.members, made["beside"][0]["run"]) == (2, "other")
        assert [run["commit"] for run in made["measured_by"]["runs"]] == [made["commit"], "abc"]

    def test_another_order_is_refused_with_the_right_one(
        self, trained_again: Path, other: Path, of_two: Path, tmp_path: Path
    ) -> None:
        order = rf"measured with {trained_again.name} \(seed 1\), other \(seed 2\); name these in this order"
        with pytest.raises(ExperimentError, match=order):
            export_retrained([other, trained_again], tmp_path / "b", NEW, str(of_two))

    def test_one_that_is_left_out_is_named(self, trained_again: Path, of_two: Path, tmp_path: Path) -> None:
        with pytest.raises(ExperimentError, match=r"measured with .*, other \(seed 2\); name these"):
            export_retrained([trained_again], tmp_path / "b", NEW, str(of_two))

    @pytest.mark.parametrize("phase", ["data", "input", "network"])
    def test_one_that_reads_otherwise_is_refused(
        self, phase: str, trained_again: Path, other: Path, of_two: Path, tmp_path: Path
    ) -> None:
        experiment = load_experiment(other / EXPERIMENT_FILE)
        changed: dict[str, Any] = {
            "data": replace(experiment.data, left_out_patients=("someone",)),
            "input": replace(experiment.input, std=0.25),
            "network": replace(experiment.network, dropout=0.5),
        }
        run = copy_of_run(other, tmp_path)
        save_experiment(replace(experiment, **{phase: changed[phase]}), run / EXPERIMENT_FILE)
        with pytest.raises(ExperimentError, match=f"`{phase}` differs from that of"):
            export_retrained([trained_again, run], tmp_path / "b", NEW, str(of_two))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"code": "another"}, "tiny 0.0.1 was measured with .* name these in this order"),
        ({"training": {"seed": 7}}, "tiny 0.0.1 was measured with .* name these in this order"),
        ({"training": {"place_weight": 0.0}}, "`training: place_weight` is not what tiny 0.0.1 was measured"),
        ({"input": {"std": 0.25}}, "`input` is not what"),
        ({"data": {"folds": 3}}, "`data: folds` is not what"),
        ({"data": {"left_out_patients": ("someone",)}}, "`data: left_out_patients` is not what"),
        ({"data": {"learned_share": 0.5}}, "a point of a learning curve"),
        ({"data": {"split": "split.csv"}}, "runs by a split are measured when they are trained"),
        ({"network": {"name": "blood-map"}}, "`network` is not what"),
        ({"network": {"side": 48}}, "`network: side` is 48, tiny 0.0.1 was measured with 0"),
        ({"network": {"weights": "imagenet-lite0"}}, "`network: weights` is not what"),
    ],
)
def test_an_experiment_that_is_not_what_was_measured_is_refused(
    change: dict[str, Any], said: str, finished_experiment: Experiment, exported: Path, tmp_path: Path
) -> None:
    values = {
        name: replace(getattr(finished_experiment, name), **value) if isinstance(value, dict) else value
        for name, value in change.items()
    }
    save_experiment(replace(finished_experiment, **values), tmp_path / EXPERIMENT_FILE)
    with pytest.raises(ExperimentError, match=said):
        export_retrained([tmp_path], tmp_path / "bundle", NEW, str(exported))
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        (FINISHED_FILE, "run `cruor train`"),
        ("last.ckpt", f"delete {FINISHED_FILE}, run `cruor train` again"),
        (MADE_BY_FILE, "nobody can tell what made it"),
    ],
)
def test_a_run_of_which_a_file_is_missing_is_refused(
    missing: str, said: str, trained_again: Path, exported: Path, tmp_path: Path
) -> None:
    run = copy_of_run(trained_again, tmp_path)
    (run / missing).unlink()
    with pytest.raises(ExperimentError, match=f"no {missing}.*{said}"):
        export_retrained([run], tmp_path / "bundle", NEW, str(exported))
    assert not (tmp_path / "bundle").exists()


def test_a_damaged_checkpoint_is_refused(trained_again: Path, exported: Path, tmp_path: Path) -> None:
    run = copy_of_run(trained_again, tmp_path)
    (run / "last.ckpt").write_bytes(b"\x80\x02 no weights")
    with pytest.raises(ExperimentError, match=r"last\.ckpt: cannot be read as weights"):
        export_retrained([run], tmp_path / "bundle", NEW, str(exported))
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"preprocessing": "another"}, "`preprocessing` is not what"),
        ({"maps": MapContext(4.0, 0.02, 0.5)}, "`calibration: maps` is not what"),
        ({"data": ()}, "source .*: patients"),
    ],
)
def test_a_bundle_that_read_otherwise_or_other_data_is_refused(
    change: dict[str, Any],
    said: str,
    exported: Path,
    trained_again: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened = open_bundle(str(exported))
    if "maps" in change:
        change = {"calibration": replace(opened.manifest.calibration, **change)}
    changed = Bundle(replace(opened.manifest, **change), opened.session)
    monkeypatch.setattr(retrained, "open_bundle", lambda _: changed)
    with pytest.raises(ExperimentError, match=said):
        export_retrained([trained_again], tmp_path / "bundle", NEW, str(exported))
    assert not (tmp_path / "bundle").exists()


def test_the_bundle_that_was_measured_is_not_written_over(trained_again: Path, exported: Path) -> None:
    before = (exported / MANIFEST_FILE).read_bytes()
    with pytest.raises(ExperimentError, match="is the bundle that was measured"):
        export_retrained([trained_again], exported, NEW, str(exported))
    assert (exported / MANIFEST_FILE).read_bytes() == before


def test_a_file_where_the_folder_would_be_is_refused(
    trained_again: Path, exported: Path, tmp_path: Path
) -> None:
    (tmp_path / "b").write_text("a file of somebody")
    with pytest.raises(ExperimentError, match="is a file; name a folder"):
        export_retrained([trained_again], tmp_path / "b", NEW, str(exported))
    assert (tmp_path / "b").read_text() == "a file of somebody"


def test_the_command_needs_no_table_of_slices_held_out(
    exported: Path, trained_again: Path, tmp_path: Path
) -> None:
    made = ["export", str(trained_again), str(tmp_path / "tiny"), "--measured-by", str(exported)]
    result = CliRunner().invoke(app, made)
    assert result.exit_code == 0, result.output
    assert read_manifest(tmp_path / "tiny" / MANIFEST_FILE).made_by["networks_of"] == "train"


@pytest.mark.parametrize(
    ("further", "said"),
    [
        (["--folds", "2"], "leave out --folds"),
        (["--version", ""], "--version: a bundle without one"),
        (["--measured-by", "nothing"], "nothing"),
    ],
)
def test_the_command_refuses_in_a_sentence(
    further: list[str], said: str, exported: Path, trained_again: Path, tmp_path: Path
) -> None:
    made = ["export", str(trained_again), str(tmp_path / "b"), "--measured-by", str(exported), *further]
    result = CliRunner().invoke(app, made)
    assert result.exit_code == 2
    assert said in result.output
    assert "Traceback" not in result.output
    assert not (tmp_path / "b").exists()
