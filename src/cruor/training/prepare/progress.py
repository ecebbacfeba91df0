"""How far a preparation is: a bar in a terminal, a line now and then in a log; with rate and time left."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from cruor.training.prepare import plan

LINE_EVERY_S = 30.0


@contextmanager
def shown_progress() -> Iterator[plan.Progress]:
    """Give a function that shows progress on stderr until the end of the block."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(console)
        return
    with Progress(TextColumn("{task.description}"), BarColumn(), console=console, transient=True) as bars:
        bar = bars.add_task("finding files", total=None)
        begun = _Begun()

        def show(what: str, done: int, total: int, before: int) -> None:
            text = sentence(what, done, total, done - before, begun.seconds(what))
            bars.update(bar, description=text, completed=done, total=total)

        yield show


def _lines(console: Console) -> plan.Progress:
    begun = _Begun()
    last = time.monotonic()

    def show(what: str, done: int, total: int, before: int) -> None:
        nonlocal last
        seconds = begun.seconds(what)
        if time.monotonic() - last >= LINE_EVERY_S:
            last = time.monotonic()
            text = sentence(what, done, total, done - before, seconds)
            console.print(text, highlight=False, markup=False, soft_wrap=True)

    return show


class _Begun:
    """When each part of the work began: seconds since it was first asked for."""

    def __init__(self) -> None:
        self._at: dict[str, float] = {}

    def seconds(self, what: str) -> float:
        now = time.monotonic()
        return now - self._at.setdefault(what, now)


def sentence(what: str, done: int, total: int, done_now: int, seconds: float) -> str:
    """`slices: 1,200 of 752,803, 41 a second, 5 h 05 min left`; no rate before there is one.

    Args:
        what: is counted.
        done: in all, with what an earlier run did.
        total: of so many.
        done_now: by this run.
        seconds: it took.
    """
    text = f"{what}: {done:,} of {total:,}"
    if done_now <= 0 or seconds <= 0:
        return text
    rate = done_now / seconds
    return f"{text}, {rate:.3g} a second, {_duration((total - done) / rate)} left"


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes} min" if minutes else f"{seconds:.0f} s"
