"""Where the head is in a slice, and cutting it out as a square of fixed size."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Box:
    """A square in a slice, in its pixels. It may reach over the edge of the slice: outside is air.

    Attributes:
        top, left: row and column of the upper left corner.
        size: rows and columns.
    """

    top: int
    left: int
    size: int
