"""The commands as a user runs them: what is on stdout, on stderr, on disk, and the exit status."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from typer.testing import CliRunner

from cruor.cli import app
from cruor.demo.phantom import NORMAL, write_phantom_study
from cruor.dicom.studies import find_studies
from tests.bundle.making import write_bundle

NAME = "Doe^Jane"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> str:
    return str(write_bundle(tmp_path_factory.mktemp("bundle") / "tiny"))


@pytest.fixture(scope="module")
def head(tmp_path_factory) -> Path:
    """A normal phantom of twelve slices whose files carry a patient's name."""
    folder = write_phantom_study(tmp_path_factory.mktemp("head"), "cli", NORMAL, count=12)
    for file in folder.iterdir():
        image = pydicom.dcmread(file)
        image.PatientName = NAME
        image.save_as(file)
    return folder


@pytest.fixture(scope="module")
def stub(head, tmp_path_factory) -> Path:
    """A study of three slices: too few."""
    folder = tmp_path_factory.mktemp("stub")
    for number, file in enumerate(sorted(head.iterdir())[5:8]):
        image = pydicom.dcmread(file)
        image.StudyInstanceUID = "1.2.3"
        image.SOPInstanceUID = f"1.2.3.{number}"
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        image.save_as(folder / file.name)
    return folder


def triage(*arguments: object):
    return CliRunner().invoke(app, ["triage", *map(str, arguments)])


def test_a_decided_study_exits_with_0_and_is_shown_in_a_table(head, bundle):
    run = triage(head, "--bundle", bundle)
    assert run.exit_code == 0
    assert "PHANTOM-cli" in run.stdout
    assert "not a medical device" in run.stdout


def test_json_is_one_object_a_line_on_stdout_and_nothing_else(head, stub, bundle):
    run = triage(head, stub, "--bundle", bundle, "--json")
    records = [json.loads(line) for line in run.stdout.splitlines()]
    assert {record["status"] for record in records} == {"DECIDED", "REFUSED"}


def test_a_refused_study_exits_with_1_and_the_others_are_still_written(head, stub, bundle, tmp_path):
    run = triage(stub, head, "--bundle", bundle, "--out", tmp_path / "out")
    assert run.exit_code == 1
    written = [json.loads(file.read_text()) for file in (tmp_path / "out").glob("*/result.json")]
    assert {record["status"] for record in written} == {"DECIDED", "REFUSED"}
    assert (tmp_path / "out" / "index.html").exists()


def test_a_damaged_file_exits_with_1_and_is_named_though_the_study_is_decided(head, bundle, tmp_path):
    image = sorted(head.iterdir())[0].read_bytes()
    (tmp_path / "cut.dcm").write_bytes(image[: len(image) // 2])
    run = triage(head, tmp_path, "--bundle", bundle)
    assert run.exit_code == 1
    assert "cut.dcm" in run.stderr


def test_foreign_files_do_not_change_the_exit_status(head, bundle, tmp_path):
    (tmp_path / "notes.txt").write_text("not DICOM")
    assert triage(head, tmp_path, "--bundle", bundle).exit_code == 0


def test_calibrate_makes_a_bundle_that_reads_with_other_probabilities(head, bundle, tmp_path):
    fitted = tmp_path / "fitted"
    shutil.copytree(bundle, fitted)
    manifest = json.loads((fitted / "manifest.json").read_text())
    manifest["study_head"]["prevalence"] = 0.5
    (fitted / "manifest.json").write_text(json.dumps(manifest))
    run = CliRunner().invoke(
        app,
        ["calibrate", "--bundle", str(fitted), "--prevalence", "0.1", "--out", str(tmp_path / "ours")],
    )
    assert run.exit_code == 0 and "+prevalence.0.1" in run.stdout
    before, after = (
        json.loads(triage(head, "--bundle", one, "--json").stdout) for one in (fitted, tmp_path / "ours")
    )
    assert after["probability"] < before["probability"]
    assert after["decision"] == before["decision"]


def test_calibrate_says_what_cannot_be_done_and_exits_with_2(bundle, tmp_path):
    run = CliRunner().invoke(
        app, ["calibrate", "--bundle", bundle, "--prevalence", "0.1", "--out", str(tmp_path / "ours")]
    )
    assert run.exit_code == 2
    assert "does not tell the prevalence" in run.stderr
    assert not (tmp_path / "ours").exists()


def test_an_operating_point_of_the_bundle_decides_by_probability(head, bundle):
    run = triage(head, "--bundle", bundle, "--operating-point", "balanced", "--json")
    assert run.exit_code == 0
    assert json.loads(run.stdout)["rule"] == "probability"
    assert json.loads(run.stdout)["notes"][0].endswith("(balanced)")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--operating-point", "best"], "no operating point 'best' in this bundle; it has: balanced"),
        (["--operating-point", "balanced", "--rule", "paper-5"], "goes with --rule probability"),
    ],
)
def test_an_operating_point_that_cannot_be_used_exits_with_2(head, bundle, arguments, said):
    run = triage(head, "--bundle", bundle, *arguments)
    assert run.exit_code == 2
    assert said in run.stderr


def test_nothing_to_read_exits_with_1_and_says_so(bundle, tmp_path):
    (tmp_path / "notes.txt").write_text("not DICOM")
    run = triage(tmp_path, "--bundle", bundle)
    assert run.exit_code == 1
    assert "no DICOM study" in run.stderr
    assert "notes.txt" in run.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "nowhere: no such file or folder"),
        ([], "PATH"),
        ([".", "--bundle", "nothing-like-this"], "no bundle 'nothing-like-this'"),
        ([".", "--rule", "paper-7"], "paper-7"),
    ],
)
def test_wrong_usage_and_no_bundle_exit_with_2_and_a_sentence(arguments, said):
    run = triage(*arguments)
    assert run.exit_code == 2
    assert said in run.stderr
    assert run.stdout == ""


def test_an_out_that_is_a_file_is_refused_before_anything_is_read(head, bundle, tmp_path):
    (tmp_path / "out").write_text("")
    run = triage(head, "--bundle", bundle, "--out", tmp_path / "out")
    assert run.exit_code == 2
    assert "--out needs a folder" in run.stderr


def test_the_rule_asked_for_stands_in_the_result(head, bundle):
    run = triage(head, "--bundle", bundle, "--json", "--rule", "paper-2.5")
    assert json.loads(run.stdout)["rule"] == "paper-2.5"


def test_no_patient_name_appears_anywhere(head, bundle, tmp_path):
    runs = [
        triage(head, "--bundle", bundle, "--out", tmp_path / "out"),
        triage(head, "--bundle", bundle, "--json"),
    ]
    written = b"".join(file.read_bytes() for file in (tmp_path / "out").rglob("*") if file.is_file())
    for text in (*(run.stdout + run.stderr for run in runs), written.decode("latin-1")):
        assert "Doe" not in text
        assert "Jane" not in text


def test_a_folder_a_zip_and_shuffled_loose_files_give_the_same_probabilities(head, bundle, tmp_path):
    archive = shutil.make_archive(str(tmp_path / "study"), "zip", head)
    shuffled = tmp_path / "shuffled"
    shuffled.mkdir()
    order = np.random.default_rng(1).permutation(12)
    for number, file in zip(order, sorted(head.iterdir()), strict=True):
        (shuffled / "deep" / str(number % 3)).mkdir(parents=True, exist_ok=True)
        shutil.copy(file, shuffled / "deep" / str(number % 3) / f"{number}")
    said = []
    for path in (head, archive, shuffled):
        record = json.loads(triage(path, "--bundle", bundle, "--json").stdout)
        said.append((record["probability"], record["slices"]))
    assert said[0] == said[1] == said[2]


def test_the_demo_writes_three_phantoms_and_three_real_heads(tmp_path):
    run = CliRunner().invoke(app, ["demo", str(tmp_path / "studies")])
    assert run.exit_code == 0
    patients = {study.patient_id for study in find_studies([tmp_path / "studies"]).studies}
    assert patients == {"PHANTOM-1", "PHANTOM-2", "PHANTOM-3", "CT-ICH-077", "CT-ICH-091", "CT-ICH-104"}


def fresh_python(code: str) -> str:
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return run.stdout.strip()


def test_help_loads_no_room():
    loaded = fresh_python(
        "import sys; from typer.testing import CliRunner; from cruor.cli import app;"
        "CliRunner().invoke(app, ['--help']);"
        "print([m for m in sys.modules if m.split('.')[0] in ('numpy', 'pydicom', 'onnxruntime', 'torch')])"
    )
    assert loaded == "[]"


def test_reading_never_imports_torch_or_what_belongs_to_training(head, bundle):
    loaded = fresh_python(
        "import sys; from typer.testing import CliRunner; from cruor.cli import app;"
        f"run = CliRunner().invoke(app, ['triage', {str(head)!r}, '--bundle', {bundle!r}, '--json']);"
        "assert run.exit_code == 0, run.output;"
        "print([m for m in ('torch', 'timm', 'lightning', 'sklearn', 'scipy', 'pandas') if m in sys.modules])"
    )
    assert loaded == "[]"


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "x.yaml"],
        ["crossval", "x.yaml"],
        ["learning-curve", "run", "--out", "out"],
        ["export", "run", "out"],
        ["prepare", "rsna"],
    ],
)
def test_training_without_its_extra_says_what_to_install(arguments, monkeypatch, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    extra = ["--root", str(tmp_path), "--out", str(tmp_path)] if arguments[0] == "prepare" else []
    run = CliRunner().invoke(app, [*arguments, *extra])
    assert run.exit_code == 2
    assert "[train]" in run.stderr


def test_an_experiment_that_cannot_be_read_is_a_sentence_not_a_traceback(tmp_path):
    run = CliRunner().invoke(app, ["train", str(tmp_path / "none.yaml")])
    assert run.exit_code == 2
    assert "none.yaml" in run.stderr


def test_a_slice_that_cannot_be_read_exits_with_1_though_the_study_is_decided(head, bundle, tmp_path):
    folder = tmp_path / "head"
    shutil.copytree(head, folder)
    file = sorted(folder.iterdir())[0]
    image = pydicom.dcmread(file)
    del image.RescaleSlope
    image.save_as(file)
    run = triage(folder, "--bundle", bundle, "--json")
    record = json.loads(run.stdout)
    assert run.exit_code == 1
    assert record["status"] == "DECIDED"
    assert any(file.name in note for note in record["notes"])


def test_an_out_that_cannot_be_made_is_refused_before_anything_is_read(head, bundle, tmp_path):
    (tmp_path / "file").write_text("")
    run = triage(head, "--bundle", bundle, "--out", tmp_path / "file" / "out")
    assert run.exit_code == 2
    assert "cannot be written to" in run.stderr


def test_a_study_that_cannot_be_written_does_not_stop_the_next(head, stub, bundle, tmp_path, monkeypatch):
    def full(result, out):
        raise OSError(28, "No space left on device", str(out / "result.json"))

    monkeypatch.setattr("cruor.report.files.write_study", full)
    run = triage(head, stub, "--bundle", bundle, "--json", "--out", tmp_path / "out")
    assert run.exit_code == 1
    assert len(run.stdout.splitlines()) == 2
    assert "result.json: cannot be written (No space left on device)" in run.stderr


def test_a_path_that_cannot_be_looked_at_is_a_sentence(bundle):
    run = triage("x" * 300, "--bundle", bundle)
    assert run.exit_code == 2
    assert "cannot be looked at" in run.stderr


def test_a_closed_stdout_does_not_keep_results_from_being_written(head, stub, bundle, tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "cruor", "triage", str(head), str(stub)]
    with Path("/dev/full").open("w") as full:
        run = subprocess.run(
            [*command, "--bundle", bundle, "--json", "--out", str(out)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert run.returncode == 1
    assert "standard output: cannot be written" in run.stderr
    assert "Traceback" not in run.stderr
    assert len(list(out.glob("*/result.json"))) == 2
    assert (out / "index.html").exists()


def test_an_archive_inside_an_archive_is_said_and_exits_with_1(head, bundle, tmp_path):
    inner = shutil.make_archive(str(tmp_path / "inner"), "zip", head)
    folder = tmp_path / "folder"
    folder.mkdir()
    shutil.move(inner, folder / "inner.zip")
    outer = shutil.make_archive(str(tmp_path / "outer"), "zip", folder)
    run = triage(head, outer, "--bundle", bundle)
    assert run.exit_code == 1
    assert "unpack it first" in run.stderr


def test_a_path_is_shown_as_it_is_though_it_looks_like_markup(head, bundle, tmp_path):
    run = triage(head, "--bundle", bundle, "--out", tmp_path / "o[red]x")
    assert run.exit_code == 0
    assert "o[red]x" in run.stdout
