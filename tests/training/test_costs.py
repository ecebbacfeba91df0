"""`cruor.training.costs`: energy is kept and summed over restarts, and nothing leaves the machine."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import codecarbon.lock
import pytest
import torch
from lightning.pytorch.utilities import rank_zero_only
from torch import nn

from cruor.training.costs import COUNTRY_VARIABLE, ENERGY_FILE, count_flops, count_parameters, measure_energy

WRITES_AND_SENDS = """[codecarbon]
emissions_endpoint = http://192.0.2.1/collect
co2_signal_api_token = token
electricitymaps_api_token = token
save_to_file = true
save_to_api = true
output_methods = csv,api
output_dir = {folder}
allow_multiple_runs = false
cloud_provider = aws
cloud_region = eu-west-1
"""

KILLED = """
import json, os, signal, sys, time
from pathlib import Path
from cruor.training import costs

costs.EVERY_SECONDS = 0.2
file = Path(sys.argv[1]) / costs.ENERGY_FILE
with costs.measure_energy(Path(sys.argv[1])):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        sum(range(100000))
        if file.exists() and json.loads(file.read_text())["seconds"] > 0.5:
            break
    os.kill(os.getpid(), signal.SIGKILL)
"""
"""Is killed once half a second was written, however slow the machine; after a minute without."""


@pytest.fixture(autouse=True)
def no_country_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(COUNTRY_VARIABLE, raising=False)


def work() -> None:
    """Some tenths of a second of work."""
    matrix = torch.ones(400, 400)
    for _ in range(60):
        matrix = (matrix @ matrix).clamp(max=1)


def measured(folder: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((folder / ENERGY_FILE).read_text())
    return told


def test_energy_co2_and_time_are_kept(tmp_path: Path) -> None:
    with measure_energy(tmp_path):
        work()
    told = measured(tmp_path)
    assert 0 < told["seconds"] < 60
    assert told["kwh"] == pytest.approx(told["cpu_kwh"] + told["gpu_kwh"] + told["ram_kwh"])
    assert told["kwh"] > 0
    assert told["kg_co2e"] == pytest.approx(told["kwh"] * 0.475, rel=1e-3)
    assert "world's average" in told["country"]


def test_the_file_says_whether_the_processor_was_measured_or_estimated(tmp_path: Path) -> None:
    with measure_energy(tmp_path):
        work()
    assert "estimated" in measured(tmp_path)["method"] or "CPU measured" in measured(tmp_path)["method"]


def test_restarts_add_up(tmp_path: Path) -> None:
    for _ in range(2):
        with measure_energy(tmp_path):
            work()
    told = measured(tmp_path)
    assert len(told["starts"]) == 2
    assert told["seconds"] == pytest.approx(sum(start["seconds"] for start in told["starts"]))
    assert told["kwh"] > told["starts"][0]["kwh"] > 0


def test_an_interrupted_start_counts(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), measure_energy(tmp_path):
        work()
        raise KeyboardInterrupt
    assert measured(tmp_path)["kwh"] > 0


def test_a_killed_start_counts_up_to_the_last_writing(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    killed = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert 0.5 < measured(tmp_path)["seconds"] < 60
    assert killed.stderr.decode().count("codecarbon") == 0


def test_nothing_is_sent_and_nothing_else_written_whatever_codecarbon_is_configured_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    run.mkdir()
    elsewhere.mkdir()
    config = elsewhere / ".codecarbon.config"
    config.write_text(WRITES_AND_SENDS.format(folder=elsewhere))
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("HOME", str(elsewhere))
    monkeypatch.setenv("CODECARBON_SAVE_TO_API", "true")

    def refused(*address: object, **more: object) -> NoReturn:
        calls.append(address)
        raise OSError("no network")

    calls: list[object] = []
    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr("cruor.training.costs.EVERY_SECONDS", 0.1)
    with measure_energy(run, "ESP"):
        work()
        assert not Path(codecarbon.lock.LOCKFILE).exists()
    assert calls == []
    told = measured(run)
    assert told["kg_co2e"] / told["kwh"] == pytest.approx(0.174, abs=0.01)
    assert [file.name for file in elsewhere.iterdir()] == [config.name]
    assert [file.name for file in run.iterdir()] == [ENERGY_FILE]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers


def test_the_country_is_taken_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(COUNTRY_VARIABLE, "esp")
    with measure_energy(tmp_path):
        work()
    told = measured(tmp_path)
    assert told["country"].startswith("Spain")
    assert 0 < told["kg_co2e"] / told["kwh"] < 0.4


def test_an_unknown_country_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match=r"'Atlantis' is no country codecarbon knows"),
        measure_energy(tmp_path, "Atlantis"),
    ):
        raise AssertionError("the block must not start")


def test_only_the_first_of_several_processes_measures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    with measure_energy(tmp_path):
        work()
    assert not list(tmp_path.iterdir())


class Small(nn.Module):
    """One convolution without padding and one linear layer, with dropout between."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.dropout = nn.Conv2d(3, 4, 3, bias=False), nn.Dropout(0.5)
        self.linear = nn.Linear(4, 2)

    def forward(self, channels: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.linear(self.dropout(self.convolution(channels).mean((2, 3))))
        return logits


def test_operations_are_those_of_one_slice_with_additions_counted() -> None:
    per_pixel = 3 * 4 * 3 * 3
    assert count_flops(Small(), windows=3, size=10) == 2 * (8 * 8 * per_pixel + 4 * 2)


def test_counting_leaves_the_network_as_it_was() -> None:
    network = Small()
    network.convolution.eval()
    count_flops(network, windows=3, size=10)
    assert (network.training, network.convolution.training, network.dropout.training) == (True, False, True)


def test_frozen_weights_are_parameters_too() -> None:
    network = Small()
    network.convolution.requires_grad_(False)
    assert count_parameters(network) == 3 * 4 * 9 + 4 * 2 + 2
