"""A measure, its limit and its verdict; as a table and as plain data."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

DIGITS = {"s": 2, "ms": 1, "h": 1, "kB": 0, "MB": 0, "GB": 0, "times": 0, "slices/s": 1}
"""Digits shown after the point, by unit. MB is 10^6 bytes."""


@dataclass(frozen=True)
class Measure:
    """One line of the benchmark.

    Attributes:
        value: in `unit`; None where it could not be measured.
        limit: the value must stay below it; None for what is only told.
        how: what was measured, in a few words.
    """

    name: str
    value: float | None
    unit: str
    limit: float | None
    how: str

    @property
    def broken(self) -> bool:
        """Over the limit; what has a limit and was not measured does not pass either."""
        return self.limit is not None and (self.value is None or self.value >= self.limit)

    @property
    def verdict(self) -> str:
        if self.value is None:
            return "not measured"
        if self.limit is None:
            return ""
        return "over" if self.broken else "ok"

    def as_record(self) -> dict[str, Any]:
        return {**asdict(self), "verdict": self.verdict}


def measure_table(measures: Iterable[Measure]) -> Table:
    """The measures for people."""
    table = Table("measure", "value", "limit", "verdict", "how")
    for column in table.columns[1:3]:
        column.justify = "right"
        column.no_wrap = True
    for one in measures:
        style = "red" if one.broken else "green" if one.limit is not None else ""
        limit = "" if one.limit is None else f"< {one.limit:g} {one.unit}"
        table.add_row(one.name, _shown(one), limit, f"[{style}]{one.verdict}[/]" if style else "", one.how)
    return table


def median_seconds(work: Callable[[], object], times: int) -> float:
    """Median over `times` calls, after one that is not counted."""
    work()
    return statistics.median(seconds_of(work) for _ in range(times))


def seconds_of(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _shown(one: Measure) -> str:
    return "-" if one.value is None else f"{one.value:.{DIGITS[one.unit]}f} {one.unit}"
