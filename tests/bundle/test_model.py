import subprocess
import sys

import numpy as np
import pytest

from cruor.bundle.manifest import BundleError, SliceCalibration
from cruor.bundle.model import MODEL_FILE, SHIPPED, open_bundle, shipped_bundles
from cruor.preprocessing.channels import InputSettings
from cruor.preprocessing.crop import CropSettings
from tests.bundle.making import tiny_graph, write_bundle


def test_a_bundle_runs_and_gives_logits_and_the_map_of_any(tmp_path):
    bundle = open_bundle(str(write_bundle(tmp_path / "b")))
    channels = np.random.default_rng(1).random((3, 3, 64, 64), dtype=np.float32)
    logits, maps = bundle.run(channels)
    assert logits.shape == (3, 6)
    assert maps.shape == (3, 8, 8)
    np.testing.assert_allclose(maps.mean((1, 2)), logits[:, 0], rtol=1e-5)


def test_slice_probabilities_are_the_calibrated_sigmoid(tmp_path):
    calibration = SliceCalibration((2.0,) * 6, (-1.0,) * 6)
    bundle = open_bundle(str(write_bundle(tmp_path / "b", calibration=calibration)))
    said = bundle.slice_probabilities(np.zeros((1, 6), dtype=np.float32))
    np.testing.assert_allclose(said, 1 / (1 + np.exp(1)))


def test_a_damaged_model_is_refused_by_its_digest(tmp_path):
    folder = write_bundle(tmp_path / "b")
    content = bytearray((folder / MODEL_FILE).read_bytes())
    content[-5] ^= 1
    (folder / MODEL_FILE).write_bytes(content)
    with pytest.raises(BundleError, match="'digest'"):
        open_bundle(str(folder))


def test_a_bundle_made_for_other_preprocessing_is_refused_by_the_field_that_differs(tmp_path):
    with pytest.raises(BundleError, match="'preprocessing' is 'whole slice'"):
        open_bundle(str(write_bundle(tmp_path / "b", preprocessing="whole slice")))


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("input.crop.size", {"input": InputSettings(CropSettings(size=128))}),
        ("input.windows_hu", {"input": InputSettings(CropSettings(size=64), windows_hu=((0, 80),))}),
        ("calibration.slope", {"calibration": SliceCalibration((1.0,), (0.0,) * 6)}),
    ],
)
def test_a_manifest_that_contradicts_the_graph_is_refused_by_field(tmp_path, field, changes):
    with pytest.raises(BundleError, match=field.replace(".", r"\.")):
        open_bundle(str(write_bundle(tmp_path / "b", **changes)))


def test_a_file_that_is_no_graph_is_refused(tmp_path):
    with pytest.raises(BundleError, match="onnxruntime cannot load it"):
        open_bundle(str(write_bundle(tmp_path / "b", graph=b"not a graph")))


def test_a_missing_model_is_refused_with_the_file_named(tmp_path):
    folder = write_bundle(tmp_path / "b")
    (folder / MODEL_FILE).unlink()
    with pytest.raises(BundleError, match=MODEL_FILE):
        open_bundle(str(folder))


def test_an_unknown_name_lists_the_shipped_ones(tmp_path):
    with pytest.raises(BundleError, match="lite0"):
        open_bundle(str(tmp_path / "nowhere"))


def test_the_shipped_bundles_open_and_give_what_they_say():
    assert shipped_bundles() == ["blood-map", "effclass", "lite0"]
    for name in shipped_bundles():
        bundle = open_bundle(name)
        assert bundle.manifest.name == name
        size, windows = bundle.manifest.input.crop.size, len(bundle.manifest.input.windows_hu)
        logits, maps = bundle.run(np.zeros((1, windows, size, size), dtype=np.float32))
        assert logits.shape == (1, len(bundle.manifest.outputs))
        assert (maps is not None) is bundle.has_maps


def test_the_papers_network_is_shipped_with_any_alone_and_says_where_it_fails():
    said = open_bundle("effclass").manifest
    assert (said.network.name, said.outputs) == ("effclass", ("any",))
    assert "384 px" in said.untried[0]


def test_the_shipped_bundle_states_its_data_terms_figures_and_threshold():
    said = open_bundle("lite0").manifest
    assert {"ct-ich", "rsna-sample", "rsna-train"} <= {source.name for source in said.data}
    assert "non-commercial" in said.terms
    assert said.rules.default_why
    assert said.rules.operating_point.origin
    assert said.untried
    figures = {figure.name: figure for figure in said.figures}
    for name in ("slice.roc_auc[all]", "slice.average_precision[all]", "study.roc_auc[all]"):
        assert figures[name].low <= figures[name].value <= figures[name].high


def test_a_shipped_bundle_weighs_at_most_20_megabytes():
    for name in shipped_bundles():
        assert sum(file.stat().st_size for file in (SHIPPED / name).iterdir()) <= 20e6


def test_graph_of_one_window_needs_a_manifest_of_one_window(tmp_path):
    one = InputSettings(CropSettings(size=64), windows_hu=((0, 80),))
    assert open_bundle(str(write_bundle(tmp_path / "b", tiny_graph(windows=1), input=one)))


def test_onnxruntime_sends_and_keeps_no_telemetry(tmp_path):
    code = (
        "import os; from cruor.bundle.model import open_bundle; open_bundle('lite0');"
        "print(os.environ['ORT_DISABLE_TELEMETRY'])"
    )
    home = tmp_path / "home"
    home.mkdir()
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "1"
    assert [path for path in home.rglob("*") if "icrosoft" in str(path) or "onnxruntime" in str(path)] == []


def test_a_bundle_may_tell_of_any_hemorrhage_alone(tmp_path):
    one = {"outputs": ("any",), "calibration": SliceCalibration((1.0,), (0.0,))}
    bundle = open_bundle(str(write_bundle(tmp_path, tiny_graph(outputs=1), **one)))
    logits, maps = bundle.run(np.ones((2, 3, 64, 64), np.float32))
    assert (logits.shape, maps.shape) == ((2, 1), (2, 8, 8))


def test_a_bundle_without_maps_gives_none(tmp_path):
    bundle = open_bundle(str(write_bundle(tmp_path, tiny_graph(maps=False), map_scale=0.0)))
    logits, maps = bundle.run(np.ones((2, 3, 64, 64), np.float32))
    assert logits.shape == (2, 6)
    assert maps is None


@pytest.mark.parametrize(("maps", "scale", "said"), [(True, 0.0, "map_scale"), (False, 1.0, "'maps'")])
def test_maps_are_stated_exactly_where_the_graph_gives_them(tmp_path, maps, scale, said):
    with pytest.raises(BundleError, match=said):
        open_bundle(str(write_bundle(tmp_path, tiny_graph(maps=maps), map_scale=scale)))
