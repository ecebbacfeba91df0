"""One module a kind of data: each turns a data set as published into prepared studies (see `store`)."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from cruor import __version__
from cruor.training.prepare import ct_ich, ct_ich_nifti
from cruor.training.prepare.cq500 import plan_cq500
from cruor.training.prepare.drawings import Drawings
from cruor.training.prepare.folder import plan_folder
from cruor.training.prepare.ledger import LEDGER, Ledger
from cruor.training.prepare.pictures import plan_pictures
from cruor.training.prepare.plan import (
    DIED,
    READ_ERRORS,
    Job,
    NotRead,
    Plan,
    PrepareError,
    Progress,
    Request,
    no_progress,
)
from cruor.training.prepare.pool import in_processes
from cruor.training.prepare.rsna import plan_rsna
from cruor.training.prepare.store import INDEX, LabelledStudy, Row, write_index, write_study

PREPARED, NOT_READ = "prepared.json", "not_read.csv"
FORMAT = 3
"""Of the prepared folder; grows when what an older one holds can no longer stand beside a new one."""


def _plan_ct_ich(request: Request, ledger: Ledger, progress: Progress) -> Plan:
    """The version of ct-ich that lies in root."""
    for table, plan in (
        (ct_ich.SLICES, ct_ich.plan_pictures_of_ct_ich),
        (ct_ich_nifti.DIAGNOSES, ct_ich_nifti.plan_nifti_of_ct_ich),
    ):
        if (request.root / table).exists():
            return plan(request, ledger, progress)
    raise PrepareError(
        f"{request.root}: neither {ct_ich.SLICES} (pictures) nor {ct_ich_nifti.DIAGNOSES} (NIfTI) is there; "
        "name the folder that holds it"
    )


KINDS: dict[str, Callable[[Request, Ledger, Progress], Plan]] = {
    "ct-ich": _plan_ct_ich,
    "rsna": plan_rsna,
    "pictures": plan_pictures,
    "folder": plan_folder,
    "cq500": plan_cq500,
}


@dataclass(frozen=True)
class Prepared:
    """What a prepared folder holds; `prepared.json` says the same.

    Attributes:
        settings: what it was made of.
        slices, studies, patients: how many.
        not_read: files, folders and patients that were put aside; `not_read.csv` names them.
        made_by: version of cruor.
    """

    settings: dict[str, Any]
    slices: int
    studies: int
    patients: int
    not_read: int
    made_by: str


@dataclass(frozen=True)
class _Done:
    rows: list[Row]
    not_read: tuple[NotRead, ...]


def prepare_data(request: Request, progress: Progress = no_progress) -> tuple[Prepared, bool]:
    """Prepare a data set; what an earlier, interrupted call did is not done again.

    Args:
        request: what to prepare.
        progress: told of what is done.

    Returns:
        What the folder holds, and whether it was complete before.

    Raises:
        PrepareError: the data set cannot be understood, or the folder holds something else.
        OSError: the folder cannot be written.
    """
    settings = _settings(request)
    complete = _complete(request.out, settings)
    if complete is not None:
        return complete, True
    request.out.mkdir(parents=True, exist_ok=True)
    with Ledger(request.out, json.dumps(settings)) as ledger:
        try:
            _do_jobs(request, ledger, progress)
        except PrepareError:
            if ledger.is_empty():  # else the right command could not use the folder after a wrong one
                (request.out / LEDGER).unlink()
            raise
        prepared = _finish(request, settings, ledger)
    # Last: with it the folder counts as unfinished, whatever else is there.
    (request.out / LEDGER).unlink()
    if not prepared.slices:
        raise PrepareError(f"{request.root}: no slice of it could be read; {request.out / NOT_READ} says why")
    return prepared, False


def read_not_read(folder: Path) -> list[NotRead]:
    """What was put aside when the folder was prepared."""
    with (folder / NOT_READ).open(newline="", encoding="utf-8", errors="surrogateescape") as lines:
        return [NotRead(row["file"], row["why"]) for row in csv.DictReader(lines)]


def _settings(request: Request) -> dict[str, Any]:
    root, out = request.root.resolve(), request.out.resolve()
    if not root.is_dir():
        raise PrepareError(f"{request.root}: no such folder; --root is the data set as published")
    if out == root or root in out.parents:
        raise PrepareError(
            f"{request.out}: lies in the data set itself; name an --out outside of {request.root}"
        )
    if request.window is not None and request.kind != "pictures":
        raise PrepareError(f"--window is for pictures; {request.kind} has HU of its own")
    drawings = request.drawings
    return {
        "kind": request.kind,
        "root": str(root),
        "window": list(request.window) if request.window else None,
        "drawings": str(drawings.resolve()) if drawings else None,
        "format": FORMAT,
    }


def _complete(out: Path, settings: dict[str, Any]) -> Prepared | None:
    """What a complete folder of these settings holds; None where nothing stands in the way."""
    if out.exists() and not out.is_dir():
        raise PrepareError(f"{out}: is a file; --out needs a folder")
    if not (out / INDEX).exists() or (out / LEDGER).exists():
        return None
    try:
        prepared = Prepared(**json.loads((out / PREPARED).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise PrepareError(
            f"{out}: no readable {PREPARED} says what it holds; delete it or name another --out"
        ) from error
    other = [name for name in settings if prepared.settings.get(name) != settings[name]]
    if other:
        raise PrepareError(
            f"{out}: was made with another {other[0]} ({prepared.settings.get(other[0])}); name another --out"
        )
    return prepared


def _do_jobs(request: Request, ledger: Ledger, progress: Progress) -> None:
    plan = KINDS[request.kind](request, ledger, progress)
    ledger.add_not_read("plan", plan.not_read)
    known = ledger.done()
    places: dict[str, int] = {}
    sizes = {"done": 0, "before": 0}

    def missing() -> Iterator[Job]:
        for place, job in enumerate(plan.jobs):
            if job.key in known:
                sizes["done"] += job.size
                sizes["before"] += job.size
            else:
                places[job.key] = place
                yield job

    progress(plan.unit, 0, plan.total, 0)  # its clock starts
    work = partial(_do, folder=request.out, drawings=request.drawings)
    for job, done in in_processes(work, missing(), request.workers):
        if not request.root.is_dir():
            raise PrepareError(f"{request.root}: is gone; when it is back, the same command goes on")
        rows, not_read = ([], (NotRead(job.key, DIED),)) if done is None else (done.rows, done.not_read)
        ledger.add_done(job.key, places.pop(job.key), rows, not_read)
        sizes["done"] += job.size
        progress(plan.unit, sizes["done"], plan.total, sizes["before"])


def _do(job: Job, folder: Path, drawings: Path | None) -> _Done:
    """Read the studies of a job and write them; only what cannot be read is put aside."""
    try:
        reading = job.read()
    except READ_ERRORS as error:
        return _Done([], (NotRead(job.key, _reason(error)),))
    rows: list[Row] = []
    for number, study in enumerate(reading.studies):
        laid_by = study if drawings is None else _with_drawings(study, _drawings(drawings))
        rows += write_study(laid_by, folder, f"{job.key}\n{number}")
    return _Done(rows, reading.not_read)


def _reason(error: BaseException) -> str:
    """Why a job cannot be read, in one line that holds nothing of the data."""
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read: {error.filename}: {error.strerror.lower()}"
    return (
        f"cannot be read ({type(error).__name__}: {str(error).splitlines()[0][:120] if str(error) else ''})"
    )


@lru_cache(maxsize=1)
def _drawings(folder: Path) -> Drawings:
    return Drawings(folder)


def _with_drawings(study: LabelledStudy, drawings: Drawings) -> LabelledStudy:
    found = {row: drawings.of(one.source, one.sop_instance_uid) for row, one in enumerate(study.slices)}
    return replace(study, drawn={row: picture for row, picture in found.items() if picture is not None})


def _finish(request: Request, settings: dict[str, Any], ledger: Ledger) -> Prepared:
    """Write the index, what was put aside, and what the folder is."""
    out = request.out
    files: dict[str, str] = {}
    patients: set[str] = set()
    twice: list[NotRead] = []

    def rows() -> Iterator[Row]:
        for row in ledger.rows():
            uid = row["study_instance_uid"]
            if files.setdefault(uid, row["file"]) == row["file"]:
                patients.add(row["patient_id"])
                yield row
            elif row["row"] == 0:
                twice.append(NotRead(row["patient_id"], f"has study {uid}, which another patient has, too"))

    slices = write_index(rows(), out) if ledger.slices() else 0
    not_read = sorted({*ledger.not_read(), *twice}, key=lambda one: (one.file, one.why))
    with (out / NOT_READ).open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        table = csv.writer(file)
        table.writerow(["file", "why"])
        table.writerows((one.file, one.why) for one in not_read)
    prepared = Prepared(settings, slices, len(files), len(patients), len(not_read), __version__)
    if slices:
        text = json.dumps(asdict(prepared), indent=2) + "\n"
        (out / PREPARED).write_text(text, encoding="utf-8")
    return prepared
