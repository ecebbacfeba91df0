"""What a figure of the benchmark depends on besides the code: machine, date, versions."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("cruor", "numpy", "pydicom", "onnxruntime", "torch", "timm", "effdet", "grad-cam")

QUIET_LOAD = 0.7
"""Processes that ran on average over the last minute; above it something else takes the cores."""


def made_by() -> dict[str, str]:
    """The parents of every figure, in the order in which they are shown."""
    return {
        "machine": f"{_cpu_model()}, {_cores()} cores, {platform.system()} {platform.machine()}",
        "load before": _load(),
        "date": datetime.datetime.now().astimezone().isoformat(timespec="minutes"),
        "code": _commit(),
        "versions": ", ".join([f"Python {platform.python_version()}", *map(_version, PACKAGES)]),
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown processor"


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _load() -> str:
    load = os.getloadavg()[0]
    busy = "; BUSY, so every timing is too slow, PyTorch's most of all" if load > QUIET_LOAD else ""
    return f"{load:.1f} processes over the last minute{busy}"


def _commit() -> str:
    try:
        command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown commit"


def _version(package: str) -> str:
    try:
        return f"{package} {metadata.version(package)}"
    except metadata.PackageNotFoundError:
        return f"{package} not installed"
