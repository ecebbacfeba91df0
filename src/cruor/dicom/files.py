"""Finding DICOM files: folders, single files, zip archives, in any order and among anything else.

Only headers are read here. What cannot be read is said, never skipped in silence.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import pydicom
from pydicom import config
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
    MRImageStorage,
    SecondaryCaptureImageStorage,
)

from cruor.dicom import tags
from cruor.dicom.instances import Instance, PutAside, Source

ENCRYPTED = 0x1
"""Flag of a zip member that needs a password."""

MAX_MEMBER_BYTES = 1 << 30
"""A zip member that unpacks to more is put aside: it is unpacked in memory."""

MAX_INFLATED_BYTES = 1 << 30
"""A deflated data set (PS3.5 A.5) that inflates to more is put aside: a few kB can inflate to many GB."""

MAX_PRIVATE_BYTES = 1 << 16
"""Private and overlay values above this are dropped from the header kept: a study has thousands of them."""

_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
_IMAGE_CLASSES = {CTImageStorage, EnhancedCTImageStorage, MRImageStorage, SecondaryCaptureImageStorage}
_KNOWN_FILES = {
    b"\x89PNG": "is a PNG picture",
    b"\xff\xd8\xff": "is a JPEG picture",
    b"%PDF": "is a PDF document",
    b"\x1f\x8b": "is a gzip archive; unpack it first",
    b"7z\xbc\xaf": "is a 7-Zip archive; unpack it first",
    b"Rar!": "is a RAR archive; unpack it first",
    b"\x00\x05\x16\x07": "is a side file of macOS",
}
PIXEL_GROUP = 0x7FE0
UNDEFINED_LENGTH = 0xFFFFFFFF
ITEM, ITEM_END = 0xFFFEE000, 0xFFFEE0DD
DEFLATED = str(DeflatedExplicitVRLittleEndian).encode()
MEDIA_DIRECTORY = str(MediaStorageDirectoryStorage)
OFFICE_MARK = "[Content_Types].xml"
"""A member that every Word, Excel or PowerPoint file has: they are zip archives, but not of DICOM files."""

_LONG_VRS = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
_SHORT_VRS = {
    b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT",
    b"PN", b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US",
}  # fmt: skip
_COPY_AGAIN = "copy or send it again"


class _DamagedError(Exception):
    """A DICOM file that should have been readable: what is wrong, and where it belongs if that is known."""

    def __init__(self, why: str, study: str | None = None, series: str | None = None) -> None:
        super().__init__(why)
        self.why = why
        self.study, self.series = study, series


class _ForeignError(Exception):
    """A file that holds no image and was never meant to."""


@dataclass
class _Seen:
    """Which SOPInstanceUIDs were found, and which folders were walked through."""

    instances: dict[str, Source] = field(default_factory=dict)
    folders: set[tuple[int, int]] = field(default_factory=set)


def find_instances(paths: Iterable[Path]) -> Iterator[Instance | PutAside]:
    """Find every DICOM instance below the paths; everything else is said to be put aside.

    Each path is a folder (with folders in it), a file, or a zip archive; zip archives inside folders are
    opened too, archives inside archives are not. Files need no extension and no preamble (PS3.10 7.1).
    Folders are walked in order of name, symbolic links are followed once. Headers are read up to the pixels;
    whether the pixels are there in full is checked by length, without reading them. An instance found twice
    (same SOPInstanceUID) is given once.

    Args:
        paths: folders, files, zip archives.

    Yields:
        Instance for whatever has the three UIDs of a DICOM object, images or not (a dose report is an
        instance); PutAside with damaged=False for foreign files, DICOMDIR and identical copies, with
        damaged=True for what should have been readable.
    """
    seen = _Seen()
    for path in paths:
        yield from _below(Path(path), seen)


def read_whole(data: bytes) -> Dataset:
    """Read a whole DICOM file, pixels included, the way `find_instances` reads its header.

    Args:
        data: the file's bytes.

    Returns:
        The data set. Its file_meta has a transfer syntax: assumed from the encoding where there is none,
        explicit little endian where it was deflated.

    Raises:
        ValueError: deflated to more than MAX_INFLATED_BYTES, or cut short there.
        One of tags.PARSE_ERRORS: broken in any other way.
    """
    dataset = pydicom.dcmread(_inflated(io.BytesIO(data)), force=True)
    _assume_transfer_syntax(dataset)
    return dataset


def _below(path: Path, seen: _Seen) -> Iterator[Instance | PutAside]:
    try:
        status = path.stat()
    except OSError as error:
        yield PutAside(
            str(path), f"cannot be opened: {_reason(error)}; check the path and its rights", damaged=True
        )
        return
    if stat.S_ISDIR(status.st_mode):
        yield from _in_folder(path, (status.st_dev, status.st_ino), seen)
    elif stat.S_ISREG(status.st_mode):
        yield from _in_file(path, seen)
    else:
        yield PutAside(str(path), "is no file but a device, pipe or socket", damaged=False)


def _in_folder(path: Path, identity: tuple[int, int], seen: _Seen) -> Iterator[Instance | PutAside]:
    if identity in seen.folders:  # a symbolic link back up, or one folder given twice
        return
    seen.folders.add(identity)
    try:
        names = sorted(os.listdir(path))  # noqa: PTH208 - names only, no Path for each of a million files
    except OSError as error:
        yield PutAside(
            str(path), f"folder cannot be opened: {_reason(error)}; check its rights", damaged=True
        )
        return
    for name in names:
        yield from _below(path / name, seen)


def _in_file(path: Path, seen: _Seen) -> Iterator[Instance | PutAside]:
    source = Source(path)
    try:
        with path.open("rb") as stream:
            if _is_zip(stream):
                yield from _in_zip(path, seen)
            else:
                yield _examined(source, stream, seen)
    except OSError as error:
        yield PutAside(
            source.name, f"cannot be read: {_reason(error)}; check its rights and the disk", damaged=True
        )


def _is_zip(stream: BinaryIO) -> bool:
    start = stream.read(132)
    stream.seek(0)
    # A preamble may hold anything (PS3.10 7.1), so a DICOM file may begin like a zip archive.
    return start[:4] in (b"PK\x03\x04", b"PK\x05\x06") and start[128:] != b"DICM"


def _in_zip(path: Path, seen: _Seen) -> Iterator[Instance | PutAside]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = sorted(archive.infolist(), key=lambda member: member.filename)
            if any(member.filename == OFFICE_MARK for member in members):
                yield PutAside(str(path), "is an office document", damaged=False)
                return
            locked = sum(bool(member.flag_bits & ENCRYPTED) for member in members)
            if locked:
                why = f"{locked} of {len(members)} files in it are encrypted"
                yield PutAside(str(path), f"{why}; unpack it with its password first", damaged=True)
            for member in members:
                if not member.is_dir() and not member.flag_bits & ENCRYPTED:
                    yield _in_member(archive, member, Source(path, member.filename), seen)
    except (zipfile.BadZipFile, *tags.PARSE_ERRORS):
        yield PutAside(str(path), f"zip archive is broken or cut short; {_COPY_AGAIN}", damaged=True)


def _in_member(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, source: Source, seen: _Seen
) -> Instance | PutAside:
    if member.file_size > MAX_MEMBER_BYTES:
        size = f"{member.file_size / 2**30:.1f} GB"
        return PutAside(
            source.name,
            f"unpacks to {size}, too large to read from an archive; unpack it first",
            damaged=True,
        )
    try:
        data = archive.read(member)
    except (zipfile.BadZipFile, *tags.PARSE_ERRORS) as error:
        return PutAside(source.name, f"cannot be unpacked ({_reason(error)}); {_COPY_AGAIN}", damaged=True)
    stream = io.BytesIO(data)
    if _is_zip(stream):
        return PutAside(source.name, "is an archive inside an archive; unpack it first", damaged=True)
    return _examined(source, stream, seen)


def _examined(source: Source, stream: BinaryIO, seen: _Seen) -> Instance | PutAside:
    try:
        header = _read_header(stream)
    except _ForeignError as error:
        return PutAside(source.name, str(error), damaged=False)
    except _DamagedError as error:
        return PutAside(source.name, error.why, True, error.study, error.series)
    instance = Instance(source, header)
    first = seen.instances.setdefault(instance.sop_instance_uid, source)
    if first is source:
        return instance
    return _put_copy_aside(instance, first)


def _put_copy_aside(instance: Instance, first: Source) -> PutAside:
    name, study = instance.source.name, instance.study_instance_uid
    try:
        same = _digest(instance.source) == _digest(first)
    except (zipfile.BadZipFile, *tags.PARSE_ERRORS):
        same = False
    if same:
        return PutAside(name, f"is a copy of {first.name}, read once", False, study)
    why = f"has the SOPInstanceUID of {first.name} but other content; send the right one alone"
    return PutAside(name, why, True, study)


def _digest(source: Source) -> bytes:
    return hashlib.sha256(source.read_bytes()).digest()


def _read_header(stream: BinaryIO) -> Dataset:
    """Read up to the pixels and check that the pixels are there. Raises _ForeignError, _DamagedError."""
    size = _size(stream)
    start = stream.read(132)
    stream.seek(0)
    has_preamble = start[128:] == b"DICM"
    if not has_preamble and not _starts_like_dicom(start, size):
        raise _ForeignError(_foreign_reason(start, size))
    try:
        inflated = _inflated(stream)
        header = pydicom.dcmread(inflated, stop_before_pixels=True, force=True)
        _settle_uids(header.file_meta)
        _assume_transfer_syntax(header)
        cut = _cut_short(header, inflated)
        _settle_uids(header)
    except tags.PARSE_ERRORS as error:
        if not has_preamble:
            raise _ForeignError("is no DICOM file") from error
        raise _DamagedError(f"DICOM header is broken ({_reason(error)}); {_COPY_AGAIN}") from error
    if _is_media_directory(header):
        raise _ForeignError("is the directory of a DICOM medium; its images are found by themselves")
    _check_uids(header, has_preamble)
    if cut:
        raise _DamagedError(
            f"{cut}; {_COPY_AGAIN}", str(header.StudyInstanceUID), str(header.SeriesInstanceUID)
        )
    if inflated is not stream:
        header.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    _drop_large_private_values(header)
    return header


def _size(stream: BinaryIO) -> int:
    size = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    return size


def _starts_like_dicom(start: bytes, size: int) -> bool:
    """Whether bytes without a preamble begin with an element of group 2 or 8 (PS3.5 7.1)."""
    if len(start) < 8:
        return False
    for order in "<>":
        group, element, length = struct.unpack(f"{order}HHL", start[:8])
        explicit = start[4:6] in _SHORT_VRS | _LONG_VRS
        if group in (2, 8) and element < 0x3000 and (explicit or (order == "<" and length < size)):
            return True
    return False


def _foreign_reason(start: bytes, size: int) -> str:
    if size == 0:
        return "is empty"
    for mark, kind in _KNOWN_FILES.items():
        if start.startswith(mark):
            return kind
    return "is no DICOM file"


def _inflated(stream: BinaryIO) -> BinaryIO:
    """Return the stream, or, where its data set is deflated (PS3.5 A.5), a stream of it inflated.

    Inflating here and not in pydicom bounds the size, and lets what follows see positions in the data set.
    """
    start = stream.read(1 << 13)
    end = _end_of_meta(start)
    stream.seek(0)
    if DEFLATED not in start[:end]:
        return stream
    data = stream.read()
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = inflater.decompress(data[end:], MAX_INFLATED_BYTES)
    if not inflater.eof:
        why = "too large" if inflater.unconsumed_tail else "cut short"
        raise ValueError(f"deflated data set is {why}")
    # Explicit little endian, its UID filled up with zeros to the same length (PS3.5 9.1).
    meta = data[:end].replace(DEFLATED, str(ExplicitVRLittleEndian).encode().ljust(len(DEFLATED), b"\0"))
    return io.BytesIO(meta + inflated)


def _end_of_meta(start: bytes) -> int:
    """Return where the file meta information (group 2, PS3.10 7.1) ends; 0 where there is none."""
    if start[128:132] != b"DICM":
        return 0
    at = 132
    while at + 12 <= len(start) and start[at : at + 2] == b"\x02\x00":
        if start[at + 4 : at + 6] in _LONG_VRS:
            at += 12 + int(struct.unpack("<L", start[at + 8 : at + 12])[0])
        else:
            at += 8 + int(struct.unpack("<H", start[at + 6 : at + 8])[0])
    return at


def _assume_transfer_syntax(dataset: Dataset) -> None:
    """Fill in a missing transfer syntax from the encoding that pydicom found."""
    if tags.text(dataset.file_meta, "TransferSyntaxUID"):
        return
    implicit, little = dataset.original_encoding
    native = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    dataset.file_meta.TransferSyntaxUID = native if little else ExplicitVRBigEndian


def _cut_short(header: Dataset, stream: BinaryIO) -> str:
    """Return what is missing at the end of a file whose header was read from the stream, '' if nothing."""
    at, size = stream.tell(), _size(stream)
    for element in header.elements():
        if not isinstance(element, RawDataElement) or element.length == UNDEFINED_LENGTH:
            continue
        if element.value_tell + element.length > size:
            return f"cut short in the header, at tag {element.tag}"
    if at + 8 > size:
        if at < size:
            return "cut short in the header"
        return "cut short before the pixels" if _should_have_pixels(header) else ""
    return _pixels_cut_short(header, stream, at, size)


def _pixels_cut_short(header: Dataset, stream: BinaryIO, at: int, size: int) -> str:
    """Return what is missing of the pixel element that starts at `at` (PS3.5 7.1.2), '' if nothing."""
    stream.seek(at)
    implicit, little = header.original_encoding
    start = stream.read(12)
    order = "<" if little else ">"
    (group,) = struct.unpack(f"{order}H", start[:2])
    if group != PIXEL_GROUP or len(start) < 12:
        return "cut short in the header"
    long_form = not implicit and start[4:6] in _LONG_VRS
    (length,) = struct.unpack(f"{order}L", start[8:12] if long_form else start[4:8])
    first = at + (12 if long_form else 8)
    if length != UNDEFINED_LENGTH:
        missing = first + length - size
        return f"cut short: {missing} of {length} bytes of pixels are missing" if missing > 0 else ""
    return "" if _fragments_end(stream, first, size) else "cut short: the compressed pixels have no end"


def _fragments_end(stream: BinaryIO, at: int, size: int) -> bool:
    """Whether the items of encapsulated pixels (PS3.5 A.4) lead up to their end mark inside the file."""
    while at + 8 <= size:
        stream.seek(at)
        group, element, length = struct.unpack("<HHL", stream.read(8))
        tag = group << 16 | element
        if tag == ITEM_END:
            return True
        if tag != ITEM:
            return False
        at += 8 + length
    return False


def _should_have_pixels(header: Dataset) -> bool:
    """Whether an object must have pixels: it has rows, or its class or modality is that of images."""
    sop_class = tags.text(header, "SOPClassUID")
    if "Rows" in header or sop_class in _IMAGE_CLASSES:
        return True
    return not sop_class and tags.text(header, "Modality") in ("CT", "MR")


def _settle_uids(header: Dataset) -> None:
    """Turn the UIDs of a header into text without pydicom's check of their form.

    RSNA's identifiers (`ID_...`) are no valid UIDs (PS3.5 9.1), and pydicom would warn at each. Only the
    values of representation UI are touched: every other warning stays.
    """
    for element in list(header.elements()):
        if not isinstance(element, RawDataElement) or not isinstance(element.value, bytes):
            continue
        if element.VR == "UI" or (element.VR is None and _is_uid_tag(int(element.tag))):
            parts = [part.strip(" \0") for part in element.value.decode("ascii", "replace").split("\\")]
            value = parts[0] if len(parts) == 1 else parts
            header[element.tag] = DataElement(element.tag, "UI", value, validation_mode=config.IGNORE)


def _is_uid_tag(tag: int) -> bool:
    return bool(dictionary_has_tag(tag) and dictionary_VR(tag) == "UI")


def _is_media_directory(header: Dataset) -> bool:
    in_meta = tags.text(header.file_meta, "MediaStorageSOPClassUID") == MEDIA_DIRECTORY
    return in_meta or "DirectoryRecordSequence" in header


def _check_uids(header: Dataset, has_preamble: bool) -> None:
    missing = [key for key in _UIDS if not tags.text(header, key)]
    if len(missing) == len(_UIDS) and not has_preamble:
        raise _ForeignError("is no DICOM file")
    if missing:
        study = tags.text(header, "StudyInstanceUID") or None
        raise _DamagedError(f"DICOM file without {', '.join(missing)}; {_COPY_AGAIN} from its source", study)


def _drop_large_private_values(header: Dataset) -> None:
    for element in list(header.elements()):
        group = int(element.tag) >> 16
        droppable = isinstance(element, RawDataElement) and (group % 2 or group & 0xFF00 == 0x6000)
        if droppable and element.value is not None and len(element.value) > MAX_PRIVATE_BYTES:
            del header[element.tag]


def _reason(error: BaseException) -> str:
    """Return an error as one short line: its text never holds values of the header, only of the parser."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    if isinstance(error, (zipfile.BadZipFile, zlib.error, EOFError)) or "deflated data set" in str(error):
        return str(error).splitlines()[0][:80] if str(error) else type(error).__name__
    return type(error).__name__
