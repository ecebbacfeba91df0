"""`cruor.training.curves`: what was logged becomes a table with one row an epoch, and pictures."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from cruor.training.curves import CURVES_FILE, write_curves

LOGGED = """epoch,train_loss,train_accuracy,validation_loss,validation_accuracy
0,0.69,0.50,0.68,0.55
1,0.50,0.75,0.60,0.70
2,0.35,0.85,0.65,0.72
"""


def logged(folder: Path, text: str = LOGGED) -> Path:
    file = folder / "metrics.csv"
    file.write_text(text)
    return file


def test_the_table_holds_what_was_logged(tmp_path: Path) -> None:
    file = logged(tmp_path)
    write_curves(file, tmp_path)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / CURVES_FILE), pd.read_csv(file))


def test_loss_and_accuracy_are_drawn(tmp_path: Path) -> None:
    write_curves(logged(tmp_path), tmp_path)
    for name in ("loss.png", "accuracy.png"):
        with Image.open(tmp_path / name) as picture:
            assert picture.size[0] > 600
            assert len(picture.convert("RGB").getcolors(1 << 20) or []) > 50


def test_without_validation_the_training_side_is_drawn(tmp_path: Path) -> None:
    write_curves(logged(tmp_path, "epoch,train_loss\n0,0.7\n1,0.6\n"), tmp_path)
    assert {file.name for file in tmp_path.glob("*.png")} == {"loss.png"}
    assert list(pd.read_csv(tmp_path / CURVES_FILE)) == ["epoch", "train_loss"]


def test_balanced_validation_is_drawn_beside_the_other(tmp_path: Path) -> None:
    plain = "epoch,train_loss,validation_loss\n0,0.7,0.8\n1,0.6,0.7\n"
    write_curves(logged(tmp_path, plain), tmp_path)
    without = (tmp_path / "loss.png").read_bytes()
    both = "epoch,train_loss,validation_loss,validation_balanced_loss\n0,0.7,0.8,0.5\n1,0.6,0.7,0.4\n"
    write_curves(logged(tmp_path, both), tmp_path)
    assert {file.name for file in tmp_path.glob("*.png")} == {"loss.png"}
    assert (tmp_path / "loss.png").read_bytes() != without


def test_an_epoch_in_several_rows_becomes_one(tmp_path: Path) -> None:
    rows = "epoch,step,train_loss,validation_loss\n0,4,0.7,\n0,4,,0.8\n1,9,0.5,\n1,9,,0.9\n,9,,\n"
    write_curves(logged(tmp_path, rows), tmp_path)
    table = pd.read_csv(tmp_path / CURVES_FILE)
    assert table["train_loss"].tolist() == [0.7, 0.5]
    assert table["validation_loss"].tolist() == [0.8, 0.9]


def test_an_epoch_logged_again_after_a_restart_counts_as_it_was_last(tmp_path: Path) -> None:
    write_curves(logged(tmp_path, "epoch,train_loss\n0,0.7\n1,0.6\n1,0.5\n2,0.4\n"), tmp_path)
    assert pd.read_csv(tmp_path / CURVES_FILE)["train_loss"].tolist() == [0.7, 0.5, 0.4]


def test_a_column_without_any_value_is_left_out(tmp_path: Path) -> None:
    write_curves(logged(tmp_path, "epoch,train_loss,validation_loss\n0,0.7,\n1,0.6,\n"), tmp_path)
    assert list(pd.read_csv(tmp_path / CURVES_FILE)) == ["epoch", "train_loss"]


def test_nothing_logged_yet_gives_an_empty_table(tmp_path: Path) -> None:
    write_curves(logged(tmp_path, "epoch,train_loss\n"), tmp_path)
    assert len(pd.read_csv(tmp_path / CURVES_FILE)) == 0
    assert not list(tmp_path.glob("*.png"))


def test_a_table_without_epochs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"metrics\.csv: no column 'epoch'"):
        write_curves(logged(tmp_path, "step,train_loss\n0,0.7\n"), tmp_path)
