"""Processes of one run keep out of each other's way. Locks are the operating system's: a kill frees them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from cruor.training.experiment import Experiment


def lock_of(folder: Path, name: str = ".lock") -> FileLock:
    """The lock of a folder, a file in it that stays."""
    return FileLock(folder / name)


@contextmanager
def taken(lock: FileLock, experiment: Experiment) -> Iterator[bool]:
    """Hold a lock, without waiting for it; False where another process has it.

    The processes of one training on several devices work in the same folder: nothing is kept from them.
    """
    if experiment.training.devices * experiment.training.nodes > 1:
        yield True
        return
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()
