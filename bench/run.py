"""`python -m bench.run`: measure, print, compare with the limits. Exit status 1 when one is broken."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench.machine import made_by
from bench.measures import Measure, measure_table
from bench.ours import measure_network, measure_warm
from bench.paper import measure_paper
from bench.preparing import measure_preparing
from bench.process import measure_install, measure_processes
from bench.series import Measured, measured_series
from cruor.bundle.manifest import BundleError
from cruor.bundle.model import DEFAULT_BUNDLE, Bundle, open_bundle


def bench(
    bundle: Annotated[str, typer.Option(metavar="NAME|DIR", help="Model to read with.")] = DEFAULT_BUNDLE,
    install: Annotated[
        bool, typer.Option("--install", help="Measure the core install as pip does it.")
    ] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the same as JSON.")] = None,
) -> None:
    """Measure the speed and size of cruor, beside the paper's way."""
    try:
        opened = open_bundle(bundle)
    except BundleError as error:
        raise typer.BadParameter(str(error)) from error
    origin = made_by()
    with tempfile.TemporaryDirectory() as temporary:
        measured = measured_series(Path(temporary))
        origin |= {"bundle": opened.label, "series": measured.name}
        measures = _measure_all(measured, opened, bundle, install)
        measures += measure_preparing(Path(temporary))
    _show(origin, measures)
    if json_file is not None:
        record = {"made_by": origin, "measures": [one.as_record() for one in measures]}
        json_file.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    raise typer.Exit(int(any(one.broken for one in measures)))


def _measure_all(measured: Measured, opened: Bundle, bundle: str, install: bool) -> list[Measure]:
    with Console(stderr=True).status("measuring") as status:
        warm = measure_warm(measured.folder, opened)
        network = measure_network(measured.series, opened)
        status.update("measuring new processes")
        measures = [warm, *measure_processes(measured.folder, bundle), network]
        if install:
            status.update("measuring the core install")
            measures.append(measure_install())
        status.update("measuring the paper's way")
        return [*measures, *measure_paper(measured.series, warm.value or 0.0)]


def _show(origin: dict[str, str], measures: list[Measure]) -> None:
    console = Console(width=None if sys.stdout.isatty() else 140)
    for what, said in origin.items():
        console.print(f"[bold]{what}[/]: {said}", highlight=False)
    console.print(measure_table(measures))


if __name__ == "__main__":
    typer.run(bench)
