"""`prepare_data` and `cruor prepare`: resumable, never mixed, nothing lost in silence."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from cruor.cli import app
from cruor.training import prepare
from cruor.training.prepare import NOT_READ, PREPARED, prepare_data, read_not_read
from cruor.training.prepare.ledger import LEDGER, Ledger
from cruor.training.prepare.plan import PrepareError, Progress, Request
from cruor.training.prepare.progress import sentence
from cruor.training.prepare.store import INDEX
from tests.training.preparing import WINDOW, contents, picture_set, prepared


def pictures(root: Path, out: Path, workers: int = 1) -> Request:
    return Request("pictures", root, out, window=WINDOW, workers=workers)


def assert_same(one: Path, other: Path) -> None:
    (index, hu), (expected_index, expected_hu) = contents(one), contents(other)
    pd.testing.assert_frame_equal(index, expected_index)
    np.testing.assert_array_equal(np.stack(hu), np.stack(expected_hu))


def interrupted_after(count: int) -> Progress:
    def progress(what: str, done: int, total: int, before: int) -> None:
        if done >= count:
            raise KeyboardInterrupt

    return progress


def test_several_processes_give_what_one_gives(tmp_path: Path) -> None:
    root = picture_set(tmp_path / "set", 9)
    prepare_data(pictures(root, tmp_path / "one"))
    prepare_data(pictures(root, tmp_path / "two", workers=2))
    assert_same(tmp_path / "two", tmp_path / "one")


def test_an_interrupted_preparation_has_no_index_and_goes_on_with_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, out = picture_set(tmp_path / "set", 6), tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        prepare_data(pictures(root, out), interrupted_after(4))
    assert not (out / INDEX).exists() and not (out / PREPARED).exists()
    read: list[str] = []
    do: Callable[..., object] = prepare._do
    monkeypatch.setattr(prepare, "_do", lambda job, **other: (read.append(job.key), do(job, **other))[1])
    told: list[tuple[int, int, int]] = []
    prepare_data(pictures(root, out), lambda what, *counts: told.append(counts))
    assert read == ["s004", "s005"]
    assert told[-1] == (6, 6, 4)
    prepare_data(pictures(root, tmp_path / "unbroken"))
    assert_same(out, tmp_path / "unbroken")


def test_a_wrong_command_does_not_keep_its_folder_from_the_right_one(tmp_path: Path) -> None:
    root, out = picture_set(tmp_path / "set", 2), tmp_path / "out"
    with pytest.raises(PrepareError):
        prepare_data(Request("ct-ich", root, out))
    prepared, _ = prepare_data(pictures(root, out))
    assert prepared.slices == 2


def test_killed_in_the_middle_the_same_command_goes_on(tmp_path: Path) -> None:
    root, out = picture_set(tmp_path / "set", 600), tmp_path / "out"
    options = ["--root", str(root), "--out", str(out), "--window", "36", "80"]
    command = [sys.executable, "-m", "cruor", "prepare", "pictures", *options, "--workers", "2"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True) as running:
        until = time.monotonic() + 120
        while len(list((out / "studies").glob("*.npz"))) < 300:
            assert running.poll() is None and time.monotonic() < until
            time.sleep(0.01)
        running.send_signal(signal.SIGKILL)
        running.wait()
        _wait_until_gone(running.pid)
    assert not (out / INDEX).exists()
    with Ledger(out, json.dumps(prepare._settings(pictures(root, out)))) as ledger:
        finished = ledger.slices()
    assert 0 < finished < 600
    again = CliRunner().invoke(app, ["prepare", "pictures", *options, "--workers", "1"])
    assert (again.exit_code, again.stderr) == (0, "")
    assert not (out / LEDGER).exists()
    assert not list(out.rglob("*.part"))
    prepare_data(pictures(root, tmp_path / "unbroken"))
    assert_same(out, tmp_path / "unbroken")


def _wait_until_gone(session: int) -> None:
    """Wait for every process of the session of a killed one: none may be left behind."""
    until = time.monotonic() + 30
    while True:
        try:
            os.killpg(session, 0)
        except ProcessLookupError:
            return
        assert time.monotonic() < until, "processes outlive the command that was killed"
        time.sleep(0.05)


def test_a_complete_folder_says_so_and_is_not_done_again(tmp_path: Path) -> None:
    root, out = picture_set(tmp_path / "set", 3), tmp_path / "out"
    first, before = prepare_data(pictures(root, out))
    assert not before and first.slices == 3
    stamp = (out / INDEX).stat().st_mtime_ns
    assert prepare_data(pictures(root, out)) == (first, True)
    assert (out / INDEX).stat().st_mtime_ns == stamp


@pytest.mark.parametrize("complete", [True, False])
def test_other_settings_in_the_same_folder_are_refused(tmp_path: Path, complete: bool) -> None:
    root, out = picture_set(tmp_path / "set", 3), tmp_path / "out"
    if complete:
        prepare_data(pictures(root, out))
    else:
        with pytest.raises(KeyboardInterrupt):
            prepare_data(pictures(root, out), interrupted_after(1))
    other = shutil.copytree(root, tmp_path / "elsewhere" / "set")
    for request in (
        Request("pictures", root, out, window=(40.0, 80.0)),
        Request("pictures", other, out, window=WINDOW),
        Request("folder", root, out),
        Request("pictures", root, out, window=WINDOW, drawings=tmp_path),
    ):
        with pytest.raises(PrepareError, match="another --out"):
            prepare_data(request)
    assert prepare_data(pictures(root, out))[0].slices == 3


def test_prepared_data_of_which_nothing_says_what_they_are_are_not_written_over(tmp_path: Path) -> None:
    root, out = picture_set(tmp_path / "set", 2), tmp_path / "out"
    prepare_data(pictures(root, out))
    (out / PREPARED).unlink()
    with pytest.raises(PrepareError, match=PREPARED):
        prepare_data(pictures(root, out))


def test_two_preparations_do_not_write_to_one_folder_at_once(tmp_path: Path) -> None:
    root, out = picture_set(tmp_path / "set", 2), tmp_path / "out"
    out.mkdir()
    with Ledger(out, "x"), pytest.raises(PrepareError, match="another `cruor prepare` is at work"):
        prepare_data(pictures(root, out))


def test_what_the_folder_holds_stands_beside_it(tmp_path: Path) -> None:
    root, out = picture_set(tmp_path / "set", 3), tmp_path / "out"
    prepare_data(pictures(root, out))
    said = json.loads((out / PREPARED).read_text())
    assert (said["slices"], said["studies"], said["patients"], said["not_read"]) == (3, 3, 3, 0)
    assert said["settings"]["kind"] == "pictures" and said["settings"]["window"] == [36, 80]


def test_out_may_not_lie_in_the_data_set(tmp_path: Path) -> None:
    root = picture_set(tmp_path / "set", 2)
    with pytest.raises(PrepareError, match="outside of"):
        prepare_data(pictures(root, root / "prepared"))


def test_a_data_set_that_is_gone_stops_the_run_and_is_not_taken_for_broken_files(tmp_path: Path) -> None:
    root, out = picture_set(tmp_path / "set", 6), tmp_path / "out"

    def unplug(what: str, done: int, total: int, before: int) -> None:
        if done == 2:
            root.rename(tmp_path / "away")

    with pytest.raises(PrepareError, match="is gone"):
        prepare_data(pictures(root, out), unplug)
    (tmp_path / "away").rename(root)
    whole = prepare_data(pictures(root, out))[0]
    assert (whole.slices, whole.not_read) == (6, 0)


def test_a_file_that_cannot_be_written_stops_the_run(tmp_path: Path) -> None:
    root, out = picture_set(tmp_path / "set", 2), tmp_path / "out"
    out.mkdir()
    (out / "studies").write_text("in the way")
    with pytest.raises(OSError, match="studies"):
        prepare_data(pictures(root, out))


class TestCommand:
    def run(self, root: Path, out: Path, *options: str) -> tuple[int, str, str]:
        arguments = [
            "prepare",
            "pictures",
            "--root",
            str(root),
            "--out",
            str(out),
            "--workers",
            "1",
            *options,
        ]
        run = CliRunner().invoke(app, arguments)
        return run.exit_code, run.stdout, run.stderr

    def test_all_read_is_status_0_and_an_empty_list(self, tmp_path: Path) -> None:
        root, out = picture_set(tmp_path / "set", 2), tmp_path / "out"
        status, said, errors = self.run(root, out, "--window", "36", "80")
        assert (status, errors) == (0, "")
        assert said == f"2 slices of 2 studies of 2 patients in {out}\n"
        assert (out / NOT_READ).read_text().split() == ["file,why"]

    def test_a_broken_file_is_status_1_named_and_listed_and_stays_so(self, tmp_path: Path) -> None:
        root, out = picture_set(tmp_path / "set", 3), tmp_path / "out"
        (root / "png" / "1.png").write_bytes(b"broken")
        for _ in range(2):
            status, said, errors = self.run(root, out, "--window", "36", "80")
            assert status == 1
            assert said.startswith("2 slices of 2 studies")
            assert "1.png: is no picture" in errors
        assert [Path(one.file).name for one in read_not_read(out)] == ["1.png"]

    def test_nothing_readable_is_status_2_and_may_be_tried_again(self, tmp_path: Path) -> None:
        root, out = picture_set(tmp_path / "set", 1), tmp_path / "out"
        whole = (root / "png" / "0.png").read_bytes()
        (root / "png" / "0.png").write_bytes(b"broken")
        status, _, errors = self.run(root, out, "--window", "36", "80")
        assert status == 2 and NOT_READ in errors
        (root / "png" / "0.png").write_bytes(whole)
        assert self.run(root, out, "--window", "36", "80")[0] == 0

    @pytest.mark.parametrize(
        ("options", "why"), [((), "--window LEVEL WIDTH"), (("--window", "36", "0"), "no window")]
    )
    def test_pictures_need_a_possible_window(
        self, tmp_path: Path, options: tuple[str, ...], why: str
    ) -> None:
        status, _, errors = self.run(picture_set(tmp_path / "set", 1), tmp_path / "out", *options)
        assert status == 2 and why in errors

    def test_a_window_for_what_has_hu_is_wrong(self, tmp_path: Path) -> None:
        with pytest.raises(PrepareError, match="--window is for pictures"):
            prepared("rsna", tmp_path, tmp_path.parent / "out", window=WINDOW)

    def test_a_root_that_is_not_there_is_status_2(self, tmp_path: Path) -> None:
        status, _, errors = self.run(tmp_path / "none", tmp_path / "out", "--window", "36", "80")
        assert status == 2 and "none: no such folder" in errors


@pytest.mark.parametrize(
    ("done_now", "seconds", "said"),
    [
        (0, 5.0, "slices: 1,200 of 752,803"),
        (200, 10.0, "slices: 1,200 of 752,803, 20 a second, 10 h 26 min left"),
        (1200, 0.6, "slices: 1,200 of 752,803, 2e+03 a second, 6 min left"),
    ],
)
def test_progress_tells_rate_and_time_left_by_what_this_run_did(
    done_now: int, seconds: float, said: str
) -> None:
    assert sentence("slices", 1200, 752_803, done_now, seconds) == said
