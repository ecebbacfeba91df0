import json
from dataclasses import replace

import pytest

from cruor.bundle.manifest import (
    BundleError,
    MapContext,
    OperatingPoint,
    Rules,
    VolumeFit,
    read_manifest,
    write_manifest,
)
from tests.reader.fakes import manifest


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "manifest.json"
    write_manifest(manifest(), path)
    return path


def changed(file, **fields):
    content = json.loads(file.read_text())
    content.update(fields)
    file.write_text(json.dumps(content))
    return file


def test_what_is_written_comes_back(file):
    assert read_manifest(file) == manifest()


def test_an_unknown_field_is_refused_with_the_nearest_right_name(file):
    with pytest.raises(BundleError, match=r"'map_scael'.*'map_scale'"):
        read_manifest(changed(file, map_scael=1.0))


def test_a_missing_field_is_named(file):
    content = json.loads(file.read_text())
    del content["rules"]
    file.write_text(json.dumps(content))
    with pytest.raises(BundleError, match="'rules' is missing"):
        read_manifest(file)


def test_a_value_of_the_wrong_type_is_named_with_its_place(file):
    content = json.loads(file.read_text())
    content["input"]["crop"]["size"] = "256"
    file.write_text(json.dumps(content))
    with pytest.raises(BundleError, match="input: crop: size: int is wanted"):
        read_manifest(file)


@pytest.mark.parametrize("found", [0, 2, None, "1"])
def test_another_format_is_refused_by_name(file, found):
    with pytest.raises(BundleError, match="'format'"):
        read_manifest(changed(file, format=found))


@pytest.mark.parametrize("text", ["", "{", "[]", "\x00"])
def test_what_is_no_manifest_is_refused_with_the_file_named(tmp_path, text):
    path = tmp_path / "manifest.json"
    path.write_text(text)
    with pytest.raises(BundleError, match=r"manifest\.json"):
        read_manifest(path)


@pytest.mark.parametrize(
    ("field", "path", "value"),
    [
        ("outputs", ("outputs",), ["subdural", "any"]),
        ("map_scale", ("map_scale",), -1.0),
        ("network.members", ("network", "members"), 0),
        ("network.members", ("network", "members"), 101),
        ("network.sides", ("network", "sides"), [64, 64]),
        ("network.sides", ("network", "sides"), [5000]),
        ("network.sides", ("network", "sides"), [-1]),
        ("network.sides", ("network", "sides"), [16]),
        ("input.std", ("input", "std"), 0.0),
        ("input.std", ("input", "std"), 11.0),
        ("input.mean", ("input", "mean"), 1.1),
        ("input.mean", ("input", "mean"), -0.1),
        ("calibration or study_head", ("calibration", "intercept"), [101.0] * 6),
        ("name", ("name",), " "),
        ("created", ("created",), "yesterday"),
        ("usual", ("usual",), [{"name": "brain_hu", "low": 20.0, "high": 40.0}] * 2),
        (
            "rules.other_points",
            ("rules", "other_points"),
            [{"name": "a", "threshold": 0.1, "origin": ""}] * 2,
        ),
        ("calibration.slope", ("calibration", "slope"), [-1.0] * 6),
        ("study_head.features", ("study_head", "features"), ["maximum", "peak"]),
        ("study_head.weights", ("study_head", "weights"), [1.0]),
        ("study_head.weights", ("study_head", "weights"), [0.0, 0.0]),
        ("rules.default", ("rules", "default"), "paper-7"),
        ("rules.slice_threshold", ("rules", "slice_threshold"), 1.5),
        ("rules.operating_point.threshold", ("rules", "operating_point", "threshold"), 99.0),
        ("rules.other_points", ("rules", "other_points"), [{"name": "a", "threshold": 0.0, "origin": ""}]),
        (
            "volume",
            ("volume",),
            {"factor": 1.0, "low": 0.5, "high": 2.0, "origin": "of maps that are no blood"},
        ),
    ],
)
def test_a_value_that_would_answer_wrongly_in_silence_is_refused_by_field(file, field, path, value):
    content = json.loads(file.read_text())
    place = content
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    file.write_text(json.dumps(content))
    with pytest.raises(BundleError, match=f"'{field}'"):
        read_manifest(file)


def test_a_map_of_blood_can_tell_a_volume(tmp_path):
    fit = VolumeFit(1.2, 0.5, 2.0, "by hand")
    said = manifest(map_kind="blood", map_scale=1.0, volume=fit)
    write_manifest(said, tmp_path / "manifest.json")
    assert read_manifest(tmp_path / "manifest.json") == said


@pytest.mark.parametrize("change", [{"factor": 0.0}, {"low": 1.1}, {"high": 0.9}, {"low": 0.0}])
def test_a_volume_without_sense_is_refused(tmp_path, change):
    fit = replace(VolumeFit(1.2, 0.5, 2.0, "by hand"), **change)
    write_manifest(manifest(map_kind="blood", map_scale=1.0, volume=fit), tmp_path / "manifest.json")
    with pytest.raises(BundleError, match="'volume'"):
        read_manifest(tmp_path / "manifest.json")


def with_context(context: MapContext, **changes):
    calibration = replace(manifest().calibration, maps=context)
    return manifest(calibration=calibration, **changes)


def test_neighbours_of_a_map_of_blood_can_be_asked(tmp_path):
    said = with_context(MapContext(4.0, 0.02, 0.7), map_kind="blood", map_scale=1.0)
    write_manifest(said, tmp_path / "manifest.json")
    assert read_manifest(tmp_path / "manifest.json") == said


@pytest.mark.parametrize(
    "context", [MapContext(-1.0, 0.02, 0.7), MapContext(4.0, 0.0, 0.7), MapContext(4.0, 0.02, 1.5)]
)
def test_a_context_of_maps_without_sense_is_refused(tmp_path, context):
    said = with_context(context, map_kind="blood", map_scale=1.0)
    write_manifest(said, tmp_path / "manifest.json")
    with pytest.raises(BundleError, match=r"'calibration\.maps'"):
        read_manifest(tmp_path / "manifest.json")


def test_a_context_of_maps_that_are_no_blood_is_refused(tmp_path):
    write_manifest(with_context(MapContext(4.0, 0.02, 0.7)), tmp_path / "manifest.json")
    with pytest.raises(BundleError, match=r"'calibration\.maps'"):
        read_manifest(tmp_path / "manifest.json")


def test_a_map_of_blood_without_a_scale_is_refused(tmp_path):
    write_manifest(manifest(map_kind="blood", map_scale=0.0), tmp_path / "manifest.json")
    with pytest.raises(BundleError, match="'map_kind'"):
        read_manifest(tmp_path / "manifest.json")


def test_another_operating_point_is_taken_by_its_name():
    points = OperatingPoint("balanced", 0.5, ""), OperatingPoint("sensitivity-95", 0.2, "")
    rules = Rules("probability", "", 0.8, points[0], points[1:])
    assert rules.at("sensitivity-95").operating_point == points[1]
    assert rules.at("sensitivity-95").at("balanced") == rules
    with pytest.raises(BundleError, match=r"'best'.*balanced, sensitivity-95"):
        rules.at("best")


def test_nan_is_no_number_of_a_manifest(file):
    file.write_text(file.read_text().replace('"map_scale": 50.0', '"map_scale": NaN'))
    with pytest.raises(BundleError, match="NaN"):
        read_manifest(file)
