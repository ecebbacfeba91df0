"""What a run costs, since the paper argues by it: energy and CO2 by codecarbon, operations, parameters."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from codecarbon import OfflineEmissionsTracker
from codecarbon.input import DataSource
from codecarbon.output_methods.base_output import BaseOutput
from codecarbon.output_methods.emissions_data import EmissionsData
from lightning.pytorch.utilities import rank_zero_only
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from cruor.training.experiment import ExperimentError
from cruor.training.runs import ENERGY_FILE

COUNTRY_VARIABLE = "CRUOR_COUNTRY"
"""Environment variable: the country whose electricity is used, three letters (ISO 3166), as ESP."""

EVERY_SECONDS = 15.0
"""The file is written anew as often: a killed run loses no more of what it used."""

_SUMMED = ("kwh", "kg_co2e", "seconds", "cpu_kwh", "gpu_kwh", "ram_kwh")


@contextmanager
def measure_energy(folder: Path, country: str | None = None) -> Iterator[None]:
    """Measure what this process and its children use while the block runs; keep it in `energy.json`.

    The file sums over restarts: each start adds an entry to `starts`, also one that is killed. Of several
    processes of one training only the first measures; it counts its own machine. Nothing leaves the
    machine and nothing is written but the file: codecarbon runs offline, without its own files and
    services, whatever its configuration on this machine says.

    Args:
        folder: the run's; it must be there.
        country: three letters (ISO 3166); where None, CRUOR_COUNTRY of the environment; without that,
            the world's average electricity, which the file says.

    Raises:
        ExperimentError: codecarbon knows no such country.
    """
    if getattr(rank_zero_only, "rank", 0):
        yield
        return
    place = _electricity(country or os.environ.get(COUNTRY_VARIABLE))
    record = _Record(folder / ENERGY_FILE, str(place["country"]))
    logging.getLogger("codecarbon").setLevel(logging.ERROR)  # it talks before it has read `log_level`
    tracker = OfflineEmissionsTracker(
        country_iso_code=place["country_iso_code"],
        force_carbon_intensity_g_co2e_kwh=place["g_co2e_per_kwh"],
        # Given, not left to the library's configuration files and environment: these could send or write.
        region=None,
        cloud_provider=None,
        cloud_region=None,
        country_2letter_iso_code=None,
        electricitymaps_api_token="",
        emissions_endpoint=None,
        output_methods=[],
        output_handlers=[record],
        allow_multiple_runs=True,
        tracking_mode="process",
        measure_power_secs=EVERY_SECONDS,
        api_call_interval=1,
        output_dir=str(folder),
        log_level="error",
    )
    record.tracker = tracker
    tracker.start()
    try:
        yield
    finally:
        tracker.stop()


class _Record(BaseOutput):  # type: ignore[misc]  # codecarbon has no types
    """Writes what codecarbon tells, beside what earlier starts of the run used."""

    def __init__(self, file: Path, country: str) -> None:
        self.file, self.country = file, country
        self.tracker: OfflineEmissionsTracker | None = None
        self.earlier: list[dict[str, Any]] = []
        if file.exists():
            self.earlier = json.loads(file.read_text(encoding="utf-8"))["starts"]

    def live_out(self, total: EmissionsData, delta: EmissionsData) -> None:
        """Every EVERY_SECONDS, from codecarbon's thread."""
        self.out(total, delta)

    def out(self, total: EmissionsData, delta: EmissionsData) -> None:
        """At the end."""
        starts = [*self.earlier, self._start(total)]
        sums = {key: sum(start[key] for start in starts) for key in _SUMMED}
        words = {
            key: "; ".join(dict.fromkeys(start[key] for start in starts)) for key in ("country", "method")
        }
        unfinished = self.file.with_name(self.file.name + ".part")
        unfinished.write_text(json.dumps({**sums, **words, "starts": starts}, indent=2), encoding="utf-8")
        unfinished.replace(self.file)

    def _start(self, total: EmissionsData) -> dict[str, Any]:
        return {
            "kwh": total.energy_consumed,
            "kg_co2e": total.emissions,
            "seconds": total.duration,
            "cpu_kwh": total.cpu_energy,
            "gpu_kwh": total.gpu_energy,
            "ram_kwh": total.ram_energy,
            "country": self.country,
            "method": _method(self.tracker),
        }


def _electricity(country: str | None) -> dict[str, str | float | None]:
    """The country as codecarbon wants it, and as the file says it."""
    source = DataSource()
    if country is None:
        world = float(source.get_carbon_intensity_per_source_data()["world_average"])
        said = f"not given: the world's average, {world:.0f} g CO2e/kWh (set {COUNTRY_VARIABLE})"
        return {"country": said, "country_iso_code": None, "g_co2e_per_kwh": world}
    mixes = source.get_global_energy_mix_data()
    if country.upper() not in mixes:
        raise ExperimentError(
            f"{COUNTRY_VARIABLE} {country!r} is no country codecarbon knows; give three letters, as ESP"
        )
    said = f"{mixes[country.upper()]['country_name']}, its electricity by codecarbon's table"
    return {"country": said, "country_iso_code": country.upper(), "g_co2e_per_kwh": None}


def _method(tracker: Any) -> str:
    """How each part was counted. codecarbon tells it nowhere else than in its list of hardware."""
    told = []
    for part in tracker._hardware:
        kind, mode = type(part).__name__, getattr(part, "_mode", "")
        if kind == "CPU" and mode in ("cpu_load", "constant"):
            told.append(f"processor estimated: share of its time x {part._tdp:g} W ({part.get_model()})")
        elif kind == "RAM":
            told.append("memory estimated from its size")
        else:
            told.append(f"{kind} measured{f' ({mode})' if mode else ''}")
    return ", ".join(told)


def count_flops(network: nn.Module, windows: int, size: int) -> int:
    """Floating point operations of one slice's forward pass; a multiplication and an addition are two.

    torch counts convolutions and matrix products; what it leaves out (activations, normalisation) is small.
    """
    device = next(network.parameters()).device
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network(torch.zeros(1, windows, size, size, device=device))
    finally:
        for module, mode in modes.items():
            module.training = mode
    return int(counter.get_total_flops())


def count_parameters(network: nn.Module) -> int:
    """Weights of the network, frozen ones too."""
    return sum(parameter.numel() for parameter in network.parameters())
