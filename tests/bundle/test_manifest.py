import json

import pytest

from cruor.bundle.manifest import BundleError, read_manifest, write_manifest
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
