"""The plain data that the other modules of this room pass on: sources, instances, frames, series, studies."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, field
from pathlib import Path

from pydicom.dataset import Dataset

from cruor.dicom import tags

Vector = tuple[float, float, float]


class UnreadableError(Exception):
    """A file, or a frame of it, that cannot be read.

    Attributes:
        name: the file as the user knows it (never a patient name).
        why: what is wrong and what to do, one sentence.
    """

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name}: {why}")
        self.name = name
        self.why = why


@dataclass(frozen=True)
class Source:
    """Where the bytes of one file are: a path, or a member of a zip archive at that path."""

    path: Path
    member: str | None = None

    @property
    def name(self) -> str:
        """The file as a user would name it."""
        return str(self.path) if self.member is None else f"{self.path}!{self.member}"

    @property
    def container(self) -> str:
        """How the names of everything in the same folder or archive begin."""
        return f"{self.path.parent}/" if self.member is None else f"{self.path}!"

    def read_bytes(self) -> bytes:
        """Return the whole file; a zip member is unpacked in memory."""
        if self.member is None:
            return self.path.read_bytes()
        with zipfile.ZipFile(self.path) as archive:
            return archive.read(self.member)


@dataclass(frozen=True)
class PutAside:
    """A file that was found and not read.

    Attributes:
        name: the file as the user knows it.
        why: one sentence: what is wrong, and what to do where something can be done.
        damaged: True for a DICOM file that should have been readable, False for a foreign file.
        study_instance_uid, series_instance_uid: where it belongs, if the header could still tell.
    """

    name: str
    why: str
    damaged: bool
    study_instance_uid: str | None = None
    series_instance_uid: str | None = None


@dataclass(frozen=True, eq=False)
class Instance:
    """One DICOM SOP instance: its header and where its pixels are. Pixels are not held."""

    source: Source
    header: Dataset

    @property
    def study_instance_uid(self) -> str:
        return str(self.header.StudyInstanceUID)

    @property
    def series_instance_uid(self) -> str:
        return str(self.header.SeriesInstanceUID)

    @property
    def sop_instance_uid(self) -> str:
        return str(self.header.SOPInstanceUID)


@dataclass(frozen=True, eq=False)
class Frame:
    """One image: a single-frame instance, or one frame of an enhanced multi-frame instance.

    Attributes:
        instance: the instance it stands in.
        index: frame number inside the instance, from 0.
        position: ImagePositionPatient in mm (PS3.3 C.7.6.2.1.1), or None where the tag is missing.
        row_direction, column_direction: ImageOrientationPatient, unit vectors, or None.
        pixel_spacing: (between rows, between columns) in mm, or None.
        slice_thickness: mm, or None.
        rescale_slope, rescale_intercept: stored value -> HU (PS3.3 C.11.1), None where missing.
    """

    instance: Instance
    index: int
    position: Vector | None
    row_direction: Vector | None
    column_direction: Vector | None
    pixel_spacing: tuple[float, float] | None
    slice_thickness: float | None
    rescale_slope: float | None
    rescale_intercept: float | None

    @property
    def name(self) -> str:
        """The file, and the frame in it where there are several."""
        frames = tags.whole_number(self.instance.header, "NumberOfFrames") or 1
        return self.instance.source.name + (f" frame {self.index + 1}" if frames > 1 else "")


@dataclass(frozen=True, eq=False)
class Series:
    """Images of one series that share one orientation and matrix, in scan order from the feet upwards.

    Attributes:
        series_instance_uid, description: as in the file; as the scanner wrote them.
        frames: from inferior to superior, ordered by projection of the position on the slice normal.
        positions_mm: that projection for each frame, in mm; frame numbers where no geometry is known.
        tilt_degrees: angle between slice normal and the patient's long axis (gantry tilt), None if unknown.
        spacing_mm: median distance of neighbouring levels, None if unknown.
        thickness_mm: median SliceThickness, or the spacing where the tag is missing, None if unknown.
        missing_levels: slices that seem to be missing between others.
        notes: what a reader must know: tilt, uneven spacing, missing or doubled levels, assumed order.
    """

    series_instance_uid: str
    description: str
    frames: tuple[Frame, ...]
    positions_mm: tuple[float, ...]
    tilt_degrees: float | None
    spacing_mm: float | None
    thickness_mm: float | None
    notes: tuple[str, ...] = ()
    missing_levels: int = 0

    @property
    def header(self) -> Dataset:
        """The header of the first instance, for tags that a series shares."""
        return self.frames[0].instance.header


@dataclass(frozen=True, eq=False)
class Study:
    """All series of one StudyInstanceUID among the paths given.

    Attributes:
        patient_id: PatientID, empty where the tag is.
        patients: different PatientIDs among its files; more than one is a mixture.
        put_aside: its files that could not be read.
    """

    study_instance_uid: str
    patient_id: str
    series: tuple[Series, ...]
    put_aside: tuple[PutAside, ...] = field(default=())
    patients: int = 1


@dataclass(frozen=True)
class SeriesConsidered:
    """One line of the answer to "which series was read, and why"."""

    series_instance_uid: str
    description: str
    chosen: bool
    why: str


@dataclass(frozen=True, eq=False)
class Choice:
    """The series to read, or the reason why there is none.

    Attributes:
        series: the chosen one, None when the study is refused.
        considered: every series of the study, the chosen one among them.
        reason: None when a series was chosen, else one sentence a person can act on.
        unreadable: there is no series since what should have been readable was not.
    """

    series: Series | None
    considered: tuple[SeriesConsidered, ...]
    reason: str | None
    unreadable: bool = False
