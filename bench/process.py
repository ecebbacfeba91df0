"""cruor as users meet it: new processes measured from outside, and the size of an install."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import venv
from dataclasses import dataclass
from pathlib import Path

from bench.machine import ROOT
from bench.measures import Measure

CHILD = Path(__file__).with_name("child.py")
CRUOR = (sys.executable, "-m", "cruor")


@dataclass(frozen=True)
class Taken:
    """What one process took."""

    seconds: float
    peak_bytes: int


def run_child(*command: str) -> Taken:
    """Run a command to its end.

    Raises:
        RuntimeError: its exit status is not 0.
    """
    watched = [sys.executable, str(CHILD), *command]
    done = subprocess.run(watched, capture_output=True, text=True, check=True)
    said = json.loads(done.stdout)
    if said["status"] != 0:
        raise RuntimeError(f"{' '.join(command)}: exit status {said['status']}\n{done.stderr[-2000:]}")
    return Taken(said["seconds"], said["peak_bytes"])


def measure_processes(series: Path, bundle: str) -> list[Measure]:
    """`cruor triage` on the series as a new process, with and without files, and `cruor --help`."""
    triage = (*CRUOR, "triage", str(series), "--bundle", bundle)
    with tempfile.TemporaryDirectory() as folder:
        written = [run_child(*triage, "--out", str(Path(folder) / str(place))) for place in range(3)]
        panels = len(list(Path(folder, "0").rglob("slice-*.png")))
    said = [run_child(*triage, "--json") for _ in range(3)]
    helped = [run_child(*CRUOR, "--help") for _ in range(5)]
    peak = max(one.peak_bytes for one in [*written, *said])
    return [
        Measure(
            "new process, --out",
            _median(written),
            "s",
            4,
            f"{panels} panels and the page, too; median of 3 runs",
        ),
        Measure("new process, --json", _median(said), "s", 4, "result on stdout, no files; median of 3 runs"),
        Measure("peak memory", peak / 1e6, "MB", 700, "resident, highest of those 6 runs"),
        Measure("cruor --help", _median(helped), "s", 0.4, "median of 5 runs"),
    ]


def measure_install() -> Measure:
    """Size of what `pip install cruor` adds to an empty environment."""
    how = "all that pip puts into an empty environment"
    with tempfile.TemporaryDirectory() as temporary:
        # A copy: pip leaves its build behind, and would take up again what an older one left.
        source, folder = Path(temporary) / "source", str(Path(temporary) / "venv")
        shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".*", "build", "dist", "runs", "tests"))
        venv.create(folder, with_pip=False)
        pip = [sys.executable, "-m", "pip", "--python", folder, "--disable-pip-version-check"]
        done = subprocess.run(
            [*pip, "install", "--quiet", str(source)], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            return Measure("core install", None, "MB", 450, f"pip failed: {done.stderr.strip()[-300:]}")
        packages = Path(sysconfig.get_path("purelib", "venv", {"base": folder, "platbase": folder}))
        size = sum(path.stat().st_size for path in packages.rglob("*") if path.is_file())
    return Measure("core install", size / 1e6, "MB", 450, how)


def _median(runs: list[Taken]) -> float:
    return statistics.median(run.seconds for run in runs)
