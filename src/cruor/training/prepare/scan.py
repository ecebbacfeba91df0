"""Pass one over a large set of DICOM: which file belongs to which series, without keeping a header."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from cruor.dicom.files import find_instances
from cruor.dicom.instances import PutAside
from cruor.training.prepare.ledger import Ledger
from cruor.training.prepare.plan import DIED, NotRead, Progress
from cruor.training.prepare.pool import in_processes

FILES_A_PART = 200
"""Files whose headers are read in one go: about half a second."""

IN_ARCHIVE = "is in a zip archive, which would be unpacked again for each series; unpack it first"


Header = tuple[str, str, str, str]


@dataclass(frozen=True)
class _Part:
    digest: str
    files: tuple[str, ...]


@dataclass(frozen=True)
class _Headers:
    headers: tuple[Header, ...]
    not_read: tuple[NotRead, ...]


def scan(root: Path, ledger: Ledger, workers: int, progress: Progress) -> None:
    """Read the header of every file below root that an earlier run has not read.

    Args:
        root: a folder.
        ledger: takes a small row for each file: path, study, series and instance UID.
        workers: processes.
        progress: told of files.
    """
    known = ledger.scanned()
    parts = list(_parts(root))
    total = sum(len(part.files) for part in parts)
    done = before = sum(len(part.files) for part in parts if part.digest in known)
    progress("headers", done, total, before)
    missing = (part for part in parts if part.digest not in known)
    for part, found in in_processes(_scan_part, missing, workers):
        headers = _one_by_one(part) if found is None else found
        ledger.add_headers(part.digest, headers.headers, headers.not_read)
        done += len(part.files)
        progress("headers", done, total, before)
    _drop_copies(ledger)


def _one_by_one(part: _Part) -> _Headers:
    """Read a part in which one file ends its process."""
    singles = (_Part("", (file,)) for file in part.files)
    headers: list[Header] = []
    not_read: list[NotRead] = []
    for single, found in in_processes(_scan_part, singles, workers=2):
        headers += [] if found is None else found.headers
        not_read += [NotRead(single.files[0], DIED)] if found is None else found.not_read
    return _Headers(tuple(headers), tuple(not_read))


def _parts(root: Path) -> Iterator[_Part]:
    files = _files(str(root), set())
    while some := tuple(islice(files, FILES_A_PART)):
        yield _Part(hashlib.sha256("\0".join(some).encode("utf-8", "surrogateescape")).hexdigest(), some)


def _files(folder: str, seen: set[tuple[int, int]]) -> Iterator[str]:
    """Files below a folder in order of name, and folders that cannot be opened; links are followed once."""
    try:
        status = os.stat(folder)  # noqa: PTH116 - text all along: a million paths
        with os.scandir(folder) as found:
            entries = sorted((entry.name, entry.is_dir()) for entry in found)
    except OSError:
        yield folder
        return
    if (status.st_dev, status.st_ino) in seen:
        return
    seen.add((status.st_dev, status.st_ino))
    for name, is_folder in entries:
        path = f"{folder}{os.sep}{name}"
        yield from _files(path, seen) if is_folder else (path,)


def _scan_part(part: _Part) -> _Headers:
    headers: list[Header] = []
    not_read: list[NotRead] = []
    for found in find_instances(map(Path, part.files)):
        if isinstance(found, PutAside):
            not_read += [NotRead.of(found)] if found.damaged else []
        elif found.source.member is not None:
            not_read.append(NotRead(found.source.name, IN_ARCHIVE))
        else:
            uids = found.study_instance_uid, found.series_instance_uid, found.sop_instance_uid
            headers.append((str(found.source.path), *uids))
    return _Headers(tuple(headers), tuple(not_read))


def _drop_copies(ledger: Ledger) -> None:
    """Keep the first file of an instance; one of other content is said, as `find_instances` does."""
    for instance, (first, *others) in ledger.repeated():
        for path in others:
            ledger.drop_header(path)
            if not _same(first, path):
                why = f"has the SOPInstanceUID of {first} but other content; keep the right one alone"
                ledger.add_not_read(f"copy {instance} {path}", [NotRead(path, why)])


def _same(one: str, other: str) -> bool:
    try:
        return Path(one).read_bytes() == Path(other).read_bytes()
    except OSError:
        return False
