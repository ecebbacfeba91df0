"""What a kind of data set gives: jobs, each of which reads some studies and says what it could not."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from nibabel.filebasedimages import ImageFileError

from cruor.dicom import tags
from cruor.dicom.instances import PutAside, UnreadableError
from cruor.training.prepare.store import LabelledStudy

READ_ERRORS = (*tags.PARSE_ERRORS, zipfile.BadZipFile, UnreadableError, ImageFileError)
"""What broken files raise in pydicom, Pillow and nibabel."""

DIED = "the process that read it died: a decoder crashed, or memory ran out; try it with --workers 1"


class PrepareError(Exception):
    """Something that cannot be prepared: the message says what, why, and what to do."""


@dataclass(frozen=True)
class NotRead:
    """A file, folder or patient that is not in the prepared data, and why, in one sentence."""

    file: str
    why: str

    @classmethod
    def of(cls, aside: PutAside) -> NotRead:
        """What the reader of DICOM put aside."""
        return cls(aside.name, aside.why)


@dataclass(frozen=True)
class Reading:
    """What a job gave."""

    studies: tuple[LabelledStudy, ...] = ()
    not_read: tuple[NotRead, ...] = ()


@dataclass(frozen=True)
class Job:
    """A part of the work that is done as a whole or not at all, in any process.

    Attributes:
        key: unique in the data set, the same in every run.
        size: how much of the plan's total it is.
        read: does it; raises one of READ_ERRORS where nothing of it can be read.
    """

    key: str
    size: int
    read: Callable[[], Reading]


@dataclass(frozen=True)
class Plan:
    """All of the work.

    Attributes:
        jobs: in the order in which their studies stand in the index; made while they are asked for.
        total: sum of their sizes.
        unit: what is counted: slices, patients or scans.
        not_read: what is known before anything is read.
    """

    jobs: Iterable[Job]
    total: int
    unit: str
    not_read: tuple[NotRead, ...] = ()


Progress = Callable[[str, int, int, int], None]
"""Called with what is done, how many, of how many, and how many of them an earlier run had done."""


def no_progress(what: str, done: int, total: int, before: int) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Request:
    """What `cruor prepare` is asked for.

    Attributes:
        kind: one of `prepare.KINDS`.
        root: the data set as published.
        out: folder of the prepared data.
        drawings: folder of drawn blood, kept beside the HU where there is some.
        window: level and width in HU of pictures, for the kind `pictures`.
        workers: processes; 1 does all of it in this one.
    """

    kind: str
    root: Path
    out: Path
    drawings: Path | None = None
    window: tuple[float, float] | None = None
    workers: int = 1
