"""The printed tables of `cruor explain --data`."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from rich.table import Table

_FORMS = {"library": "Grad-CAM, library", "exact": "bundle's map"}
_SHARES = (("hottest point inside", "hit", "chance"), ("within half a cell", "near", "near_chance"))


def pointing_tables(record: dict[str, Any]) -> Iterator[Table]:
    """Render what `point_at_blood` found: a table for each source and kind of truth."""
    figures = record["figures"]
    for (source, truth), forms in itertools.groupby(figures, lambda one: (one["source"], one["truth"])):
        yield _table(f"{source}, {truth}", list(forms), record["bundle"])


def _table(name: str, forms: list[dict[str, Any]], bundle: str) -> Table:
    first = forms[0]
    table = Table(
        title=f"{name}: {first['slices']} slices, {first['patients']} patients; {bundle}",
        caption=_caption(first),
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("share")
    for form in forms:
        table.add_column(_FORMS[form["form"]], justify="right")
    table.add_column("by chance", justify="right")
    for said, share, chance in _SHARES:
        table.add_row(said, *(_share(form[share]) for form in forms), f"{first[chance]:.3f}")
    table.add_row("map inside", *(_share(form["inside"]) for form in forms), f"{first['chance']:.3f}")
    table.add_row("cold maps", *(str(form["cold"]) for form in forms))
    table.add_row("seconds a slice", *(f"{form['seconds_per_slice']:.2f}" for form in forms))
    return table


def _caption(figure: dict[str, Any]) -> str:
    told = ", ".join(f"{point} {_share(share)}" for point, share in figure["suspected"].items())
    return f"each slice alone, suspected at: {told}; in brackets 95 % intervals over patients"


def _share(estimate: dict[str, float]) -> str:
    return f"{estimate['value']:.3f} ({estimate['low']:.3f}-{estimate['high']:.3f})"
