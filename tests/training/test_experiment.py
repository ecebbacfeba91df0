"""`cruor.training.experiment`: everything that decides a run, read strictly."""

from __future__ import annotations

from pathlib import Path

import pytest

from cruor.training.experiment import Experiment, ExperimentError, load_experiment, save_experiment
from tests.training.samples import tiny_experiment

SHIPPED = sorted((Path(__file__).parents[2] / "experiments").glob("*.yaml"))
SMALLEST = "code: x\ndata: {folders: [a]}\n"


def loaded(folder: Path, text: str) -> Experiment:
    file = folder / "experiment.yaml"
    file.write_text(text)
    return load_experiment(file)


def test_what_is_not_said_has_its_default(tmp_path: Path) -> None:
    experiment = loaded(tmp_path, SMALLEST)
    assert (experiment.network.name, experiment.data.folds, experiment.input.std) == ("lite0", 5, 0.5)


def test_an_unknown_key_is_an_error_that_names_the_nearest_right_one(tmp_path: Path) -> None:
    with pytest.raises(ExperimentError, match=r"'epoch'.*did you mean 'epochs'"):
        loaded(tmp_path, SMALLEST + "training: {epoch: 3}\n")


def test_an_unknown_key_at_the_top_is_an_error_too(tmp_path: Path) -> None:
    with pytest.raises(ExperimentError, match=r"'augmentations'.*did you mean 'augmentation'"):
        loaded(tmp_path, SMALLEST + "augmentations: {}\n")


@pytest.mark.parametrize(
    ("wrong", "advice"),
    [
        ("training: {optimizer: adanw}", "'adanw' is not known; did you mean 'adamw'"),
        ("training: {scheduler: stepLR}", "'stepLR' is not known; did you mean 'step'"),
        ("training: {precision: '8'}", "'8' is not known; known: 32, bf16, 16"),
        ("validation: {best_by: acuracy}", "did you mean 'accuracy'"),
        ("input: {crop: {size: 64, area: slices}}", "did you mean 'slice'"),
    ],
)
def test_a_name_that_is_not_known_is_an_error_that_names_the_right_ones(
    tmp_path: Path, wrong: str, advice: str
) -> None:
    with pytest.raises(ExperimentError, match=advice):
        loaded(tmp_path, f"{SMALLEST}{wrong}\n")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("input: {windows_hu: [[80, 0]], crop: {size: 64}}", "windows_hu"),
        ("input: {windows_hu: [], crop: {size: 64}}", "windows_hu"),
        ("input: {std: 0, crop: {size: 64}}", "std: more than 0"),
        ("input: {crop: {size: 0}}", "size: at least 32"),
        ("network: {dropout: 3}", "dropout: a share"),
        ("network: {side: 16}", "side: from 32 to the input's size \\(256\\) is wanted, or 0, not 16"),
        ("network: {side: 300}", "side: from 32"),
        ("network: {side: -1}", "side: from 32"),
        ("data: {folders: [a], learned_share: 0}", "learned_share: a share above 0"),
        ("data: {folders: [a], learned_share: 1.5}", "learned_share: a share above 0"),
        ("augmentation: {mirror: -3}", "mirror: a share"),
        ("augmentation: {painted: 2}", "painted: a share"),
        ("augmentation: {noise_hu: .nan}", "a number is wanted, not nan"),
        ("training: {learning_rate: .inf}", "a number is wanted, not inf"),
        ("training: {learning_rate: 1e-3}", "'1e-3' is text to YAML; write 0.001"),
        ("training: {precision: 16}", "16 is a number; write it in quotes: '16'"),
        ("testing: {thresholds: [5]}", "probabilities between 0 and 1"),
    ],
)
def test_a_value_that_would_fail_or_do_nothing_hours_later_is_named(
    tmp_path: Path, wrong: str, said: str
) -> None:
    with pytest.raises(ExperimentError, match=said):
        loaded(tmp_path, f"{SMALLEST}{wrong}\n")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("{folders: [a, a]}", "one stands there twice"),
        ("{folders: [a], leave_out: [[]]}", "leave_out: each group names sources"),
        ("{folders: [a], leave_out: [[x, y], [y]]}", "no source stands twice"),
        ("{folders: [a], split: s.csv, validation_side: x, test_side: x}", "are both 'x'"),
    ],
)
def test_data_that_would_count_twice_or_vanish_are_named(tmp_path: Path, data: str, said: str) -> None:
    with pytest.raises(ExperimentError, match=said):
        loaded(tmp_path, f"code: x\ndata: {data}\n")


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(ExperimentError, match=r"'folders' is missing"):
        loaded(tmp_path, "code: x\ndata: {}\n")


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ("training: {epochs: many}", "epochs: int is wanted, not 'many'"),
        ("training: {epochs: 2.5}", "epochs: int is wanted, not 2.5"),
        ("training: {seed: true}", "seed: int is wanted, not True"),
        ("training: {learning_rate: fast}", "learning_rate: float is wanted"),
        ("network: lite0", "network: a mapping is wanted"),
        ("input: {crop: {size: 64}, windows_hu: [[0, 80, 90]]}", r"windows_hu\[0\]: 2 values are wanted"),
    ],
)
def test_a_value_of_the_wrong_type_is_named(tmp_path: Path, wrong: str, named: str) -> None:
    with pytest.raises(ExperimentError, match=named):
        loaded(tmp_path, f"{SMALLEST}{wrong}\n")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("training: {epochs: 0}", "training: epochs: at least 1 is wanted, not 0"),
        ("training: {accumulate_batches: 0}", "accumulate_batches: at least 1 is wanted"),
        ("training: {learning_rate: -0.1}", "learning_rate: at least 0 is wanted, not -0.1"),
        ("training: {weight_decay: -1}", "weight_decay: at least 0 is wanted, not -1"),
        ("validation: {patience: -1}", "validation: patience: at least 0 is wanted"),
    ],
)
def test_a_value_without_sense_is_named(tmp_path: Path, wrong: str, said: str) -> None:
    with pytest.raises(ExperimentError, match=said):
        loaded(tmp_path, f"{SMALLEST}{wrong}\n")


@pytest.mark.parametrize("data", ["{folders: [a], workers: -1}", "{folders: [a], folds: 1}", "{folders: []}"])
def test_data_without_sense_is_named(tmp_path: Path, data: str) -> None:
    with pytest.raises(ExperimentError, match=r"data: (workers|folds|folders): at least"):
        loaded(tmp_path, f"code: x\ndata: {data}\n")


@pytest.mark.parametrize("code", ["../x", "a/b", "''", ".hidden", "'a b'"])
def test_a_code_that_is_no_name_of_a_folder_is_refused(tmp_path: Path, code: str) -> None:
    with pytest.raises(ExperimentError, match="code: letters, digits"):
        loaded(tmp_path, f"code: {code}\ndata: {{folders: [a]}}\n")


def test_what_is_not_text_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "experiment.yaml").write_bytes(b"\xff\xfe{")
    with pytest.raises(ExperimentError, match=r"experiment\.yaml: cannot be read as YAML"):
        load_experiment(tmp_path / "experiment.yaml")


def test_a_file_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(
        ExperimentError, match=r"nope\.yaml: cannot be read: No such file or directory; is it"
    ):
        load_experiment(tmp_path / "nope.yaml")


def test_to_show_slices_as_pictures_where_nothing_is_hidden_by_it_is_refused(tmp_path: Path) -> None:
    clipped = "augmentation: {clipped: 0.4}\n"
    with pytest.raises(ExperimentError, match="clipped hides what lies beyond the first window"):
        loaded(tmp_path, SMALLEST + clipped + "input: {windows_hu: [[0, 80]], crop: {size: 64}}\n")
    two = "input: {windows_hu: [[0, 80], [0, 140]], crop: {size: 64}}\n"
    assert loaded(tmp_path, SMALLEST + clipped + two).augmentation.clipped == 0.4


def test_a_whole_number_is_good_where_a_share_is_wanted(tmp_path: Path) -> None:
    rate = loaded(tmp_path, SMALLEST + "training: {learning_rate: 1}\n").training.learning_rate
    assert isinstance(rate, float)


@pytest.mark.parametrize("text", ["code: [unclosed", "- a\n- list\n", ""])
def test_what_is_no_mapping_in_yaml_is_an_error_that_names_the_file(tmp_path: Path, text: str) -> None:
    with pytest.raises(ExperimentError, match=r"experiment\.yaml"):
        loaded(tmp_path, text)


def test_a_missing_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ExperimentError, match=r"absent\.yaml"):
        load_experiment(tmp_path / "absent.yaml")


def test_a_saved_experiment_loads_back_equal(tmp_path: Path) -> None:
    experiment = tiny_experiment(Path("a"), Path("b"))
    save_experiment(experiment, tmp_path / "saved.yaml")
    assert load_experiment(tmp_path / "saved.yaml") == experiment


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_every_experiment_of_the_project_loads_and_is_named_by_its_code(file: Path) -> None:
    assert load_experiment(file).code == file.stem


def test_there_are_experiments_in_the_project() -> None:
    assert SHIPPED


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_the_patients_of_the_demo_are_left_out_of_every_experiment(file: Path) -> None:
    assert {"CT-ICH-077", "CT-ICH-091", "CT-ICH-104"} <= set(load_experiment(file).data.left_out_patients)
