"""The commands: arguments in, a room called, an exit status out. Rooms are imported where they are needed,
so that `cruor --help` is quick and `cruor triage` never looks for torch."""

from __future__ import annotations

import enum
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from cruor import __version__

if TYPE_CHECKING:
    from rich.progress import Progress

    from cruor.bundle.model import Bundle
    from cruor.reader.results import StudyResult
    from cruor.triage import Found

app = typer.Typer(
    name="cruor",
    help="Reads head CT for intracranial hemorrhage. Research use only: not a medical device.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


class Exit(enum.IntEnum):
    """Exit statuses of `cruor`; docs/result.md says the same to users."""

    ALL_DECIDED = 0
    SOME_NOT_DECIDED = 1
    WRONG_USAGE = 2


class RuleName(enum.StrEnum):
    """What `--rule` takes; the names of `reader.rules.RULES`."""

    PROBABILITY = "probability"
    PAPER_2_5 = "paper-2.5"
    PAPER_5 = "paper-5"
    PAPER_10 = "paper-10"


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"cruor {__version__}")
        raise typer.Exit


@app.callback()
def cruor(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Reads head CT for intracranial hemorrhage. Research use only: not a medical device."""


@app.command()
def triage(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Folders, files or zips with DICOM in them.")],
    out: Annotated[
        Path | None, typer.Option(help="Write result.json, slices.csv and panels per study, and index.html.")
    ] = None,
    bundle: Annotated[
        str | None, typer.Option(metavar="NAME|DIR", help="Model to read with, by name or folder.")
    ] = None,
    rule: Annotated[
        RuleName | None,
        typer.Option(help="How slices decide a study: calibrated probability, or the paper's n % of slices."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a study and line on stdout, nothing else.")
    ] = False,
) -> None:
    """Read every head CT study under PATH and tell which are suspected of intracranial hemorrhage."""
    for path in paths:
        if not path.exists():
            _stop(f"{path}: no such file or folder")
    if out is not None and out.exists() and not out.is_dir():
        _stop(f"{out}: is a file; --out needs a folder")
    results, found = _read_all(paths, _open_bundle(bundle), rule, out, as_json)
    if not as_json:
        _show_table(results, found, out)
    for aside in found.damaged:
        _say(f"not read: {aside.name}: {aside.why}")
    if not found.studies:
        _say(f"no DICOM study under {', '.join(map(str, paths))}: {len(found.put_aside)} files looked at")
    decided = bool(results) and all(result.status == "DECIDED" for result in results) and not found.damaged
    raise typer.Exit(Exit.ALL_DECIDED if decided else Exit.SOME_NOT_DECIDED)


def _read_all(
    paths: list[Path], bundle: Bundle, rule: str | None, out: Path | None, as_json: bool
) -> tuple[list[StudyResult], Found]:
    """Read and write study by study, with progress on stderr."""
    from cruor.report.files import write_index, write_study
    from cruor.report.record import study_record
    from cruor.triage import find_studies, read_studies

    results = []
    with _progress() as progress:
        finding = progress.add_task("finding files", total=None)
        found = find_studies(paths, lambda count: progress.update(finding, completed=count))
        progress.remove_task(finding)
        reading = progress.add_task("reading", total=None)
        places = {study.study_instance_uid: place for place, study in enumerate(found.studies, start=1)}

        def on_slice(study):  # type: ignore[no-untyped-def]
            text = f"study {places[study.study_instance_uid]} of {len(places)}"
            progress.reset(reading, description=text)
            return lambda done, total: progress.update(reading, completed=done, total=total)

        for result in read_studies(found.studies, bundle, rule, on_slice):
            results.append(result)
            if as_json:
                sys.stdout.write(json.dumps(study_record(result)) + "\n")
                sys.stdout.flush()
            if out is not None:
                write_study(result, out)
    if out is not None:
        write_index(results, found.put_aside, out)
    return results, found
