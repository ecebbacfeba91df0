"""Stored pixels -> HU, one frame at a time.

Reading taken here of MONOCHROME1: PS3.3 C.7.6.3.1.2 only says that the lowest value is shown white, so by the
letter HU follow from the stored values as they stand. Writers that export CT as MONOCHROME1 mostly turned the
stored values round as well. A head lies in air: whichever reading makes the edge of the image air is taken,
and the turned one where neither does.
"""

from __future__ import annotations

import struct
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray
from pydicom import config
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels import pixel_array
from pydicom.uid import UID, RLELossless

from cruor.dicom import tags
from cruor.dicom.files import read_whole
from cruor.dicom.instances import Frame, Source, UnreadableError

AIR_HU = -1000
"""HU of air: what stands where the scanner measured nothing."""

LEAST_HU = -1024
"""Nothing measured is below this: lower values (-1500, -2000, -2048, -3024) are padding, declared or not."""

MAX_SIDE = 4096
"""More rows or columns than this are a broken header, not a CT slice; decoding them would fill the memory."""

END_OF_STREAM, END_WITHIN = b"\xff\xd9", 16
"""JPEG, JPEG-LS and JPEG 2000 streams end with this mark, filling behind it. Decoders fill up what is missing
without a word, and made-up pixels are worse than none."""

_JPEG_FRAME_HEADERS = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xF7}

WRAPPED_BITS, WRAPPED_INTERCEPT, WRAPPED_OFFSET = 12, -100.0, 1000
"""RSNA 2019 holds files of 12 bits, unsigned, with an intercept near 0 where about -1024 is meant."""

EDGE_AIR_HU = -700
"""The median of an image's edge is below this in air."""

ABSURD_SPAN_HU = 200
"""An image whose HU from the 0.5th to the 99.5th percentile span less than this shows no body in air."""

ABSURD_LOW_HU, ABSURD_HIGH_HU = -1024, 4000
"""The median of a CT image lies well between these."""


@dataclass(frozen=True)
class _Layout:
    """How the stored values are laid out (PS3.3 C.7.6.3, PS3.5 8.1.1)."""

    rows: int
    columns: int
    allocated: int
    stored: int
    high_bit: int
    signed: bool
    compressed: bool


def read_hu(frame: Frame) -> NDArray[np.int16]:
    """Decode one frame and convert it to HU (modality LUT as slope and intercept, PS3.3 C.11.1).

    In this order: unused high bits dropped and the sign extended (PS3.5 8.1.1), padding found (PS3.3
    C.7.5.1.1.2, and undeclared: below -1024 HU), MONOCHROME1 turned (see the module), 12-bit
    values that wrapped mended (`is_wrapped`), slope and intercept applied, rounded to the nearest whole HU
    and clipped to int16.

    Args:
        frame: any frame of a CT image, of any transfer syntax that pydicom decodes with the plug-ins of the
            core (native, deflated, RLE, JPEG, JPEG lossless, JPEG-LS, JPEG 2000).

    Returns:
        int16, (rows, columns), HU; padding is AIR_HU.

    Raises:
        UnreadableError: the file is gone or broken, holds no picture or a colour one, has no rescale, its
            lengths do not match, or the decoder fails.
    """
    slope, intercept = _rescale(frame)
    dataset = _dataset(frame)
    layout = _layout(frame, dataset)
    raw = _decode(frame, dataset, layout)
    stored = _to_stored(raw, layout)
    padding = _is_padding(raw, stored, dataset, layout)
    if tags.text(dataset, "PhotometricInterpretation") == "MONOCHROME1":
        stored = _turned(stored, padding, layout, slope, intercept)
    if _wraps(layout.stored, layout.signed, intercept):
        stored = stored + WRAPPED_OFFSET
        stored = np.where(stored >= 4096, stored - 4096, stored)
        intercept = -float(WRAPPED_OFFSET)
    return _to_hu(stored, padding, slope, intercept)


def is_wrapped(frame: Frame) -> bool:
    """Whether the frame is one of RSNA's 12-bit files whose intercept was lost (`read_hu` mends them).

    True when BitsStored is 12, PixelRepresentation 0 and the intercept above -100: air has no value there, so
    writers added 4096 to what was below 0.
    """
    header = frame.instance.header
    stored = tags.whole_number(header, "BitsStored") or 0
    signed = tags.whole_number(header, "PixelRepresentation") == 1
    return frame.rescale_intercept is not None and _wraps(stored, signed, frame.rescale_intercept)


def is_blank(hu: NDArray[np.int16]) -> bool:
    """Whether a slice (rows, columns) in HU has one value only."""
    return bool(hu.size == 0 or hu.min() == hu.max())


def absurd_because(hu: NDArray[np.int16]) -> str | None:
    """Say why a slice cannot be a CT image of a body, None when it can.

    Args:
        hu: int16, (rows, columns), HU.

    Returns:
        One clause with the numbers it rests on, or None.
    """
    if is_blank(hu):
        value = int(hu.flat[0]) if hu.size else 0
        return f"blank: every pixel is {value} HU"
    # Every third pixel in each direction says the same as all of them, nine times as fast.
    low, middle, high = np.percentile(hu[::3, ::3], [0.5, 50, 99.5])
    if high - low < ABSURD_SPAN_HU:
        return f"nearly blank: all between {low:.0f} and {high:.0f} HU"
    if not ABSURD_LOW_HU <= middle <= ABSURD_HIGH_HU or high <= -500:
        return f"not like CT: half of the pixels below {middle:.0f} HU, the brightest at {high:.0f} HU"
    return None


def _fail(frame: Frame, why: str) -> NoReturn:
    raise UnreadableError(frame.name, why)


def _rescale(frame: Frame) -> tuple[float, float]:
    header = frame.instance.header
    if "Rows" not in header:
        _fail(frame, "holds no picture")
    samples = tags.whole_number(header, "SamplesPerPixel")
    if samples is not None and samples != 1:
        _fail(frame, "is a colour picture, not a CT slice; send the original images")
    slope, intercept = frame.rescale_slope, frame.rescale_intercept
    if slope is None or intercept is None:
        _fail(
            frame, "has no RescaleSlope and RescaleIntercept, so its HU are unknown; send the original images"
        )
    if slope == 0 or abs(slope) > 1e6 or abs(intercept) > 1e6:
        _fail(frame, f"has an impossible rescale (slope {slope:g}, intercept {intercept:g}); send it again")
    return slope, intercept


def _dataset(frame: Frame) -> Dataset:
    several = (tags.whole_number(frame.instance.header, "NumberOfFrames") or 1) > 1
    try:
        return (
            _read_kept(frame.instance.source) if several else read_whole(frame.instance.source.read_bytes())
        )
    except (zipfile.BadZipFile, *tags.PARSE_ERRORS) as error:
        raise UnreadableError(
            frame.name, f"cannot be read ({type(error).__name__}); send it again"
        ) from error


@lru_cache(maxsize=1)
def _read_kept(source: Source) -> Dataset:
    """Read a multi-frame file and keep it, still encoded, until another is asked for: one at a time."""
    return read_whole(source.read_bytes())


def _layout(frame: Frame, dataset: Dataset) -> _Layout:
    rows, columns = tags.whole_number(dataset, "Rows"), tags.whole_number(dataset, "Columns")
    if not rows or not columns or max(rows, columns) > MAX_SIDE or min(rows, columns) < 1:
        _fail(frame, f"has {rows} rows and {columns} columns, which is no CT slice; send it again")
    if tags.whole_number(dataset, "SamplesPerPixel") not in (None, 1):
        _fail(frame, "is a colour picture, not a CT slice; send the original images")
    allocated = tags.whole_number(dataset, "BitsAllocated") or 16
    stored = tags.whole_number(dataset, "BitsStored") or allocated
    high_bit = tags.whole_number(dataset, "HighBit")
    high_bit = stored - 1 if high_bit is None else high_bit
    if allocated not in (8, 16) or not 1 <= stored <= allocated or not stored - 1 <= high_bit < allocated:
        _fail(
            frame,
            f"has impossible bits ({allocated} allocated, {stored} stored, top {high_bit}); send it again",
        )
    signed = tags.whole_number(dataset, "PixelRepresentation") == 1
    syntax = _syntax(dataset)
    compressed = bool(syntax.is_transfer_syntax and syntax.is_compressed and syntax != RLELossless)
    return _Layout(rows, columns, allocated, stored, high_bit, signed, compressed)


def _syntax(dataset: Dataset) -> UID:
    return UID(tags.text(dataset.file_meta, "TransferSyntaxUID"), config.IGNORE)


def _decode(frame: Frame, dataset: Dataset, layout: _Layout) -> NDArray[np.generic]:
    pixels = tags.raw_bytes(dataset, "PixelData")
    if not pixels:
        _fail(frame, "has no pixels; send it again")
    _check_length(frame, dataset, layout, len(pixels))
    # Always pydicom's own RLE: on broken streams another plug-in, if installed, panics past any `except`.
    plugin = "pydicom" if _syntax(dataset) == RLELossless else ""
    options = {"index": frame.index, "decoding_plugin": plugin, "correct_unused_bits": False}
    try:
        decoded = pixel_array(dataset, raw=True, **options)
    except Exception as error:
        # Broad on purpose, here only: the plug-ins are C and C++ libraries of other projects, and what they
        # raise on broken streams is not documented.
        raise UnreadableError(frame.name, _decoder_failure(dataset, error)) from error
    if decoded.shape != (layout.rows, layout.columns) or decoded.dtype.kind not in "iu":
        _fail(
            frame,
            f"decodes to {decoded.shape} where {layout.rows} x {layout.columns} is declared; send it again",
        )
    result: NDArray[np.generic] = decoded
    return result


def _decoder_failure(dataset: Dataset, error: Exception) -> str:
    syntax = _syntax(dataset)
    name = syntax.name if syntax.is_transfer_syntax else "unknown"
    return f"pixels cannot be decoded (transfer syntax {name}, {type(error).__name__}); send it uncompressed"


def _check_length(frame: Frame, dataset: Dataset, layout: _Layout, length: int) -> None:
    syntax = _syntax(dataset)
    frames = tags.whole_number(dataset, "NumberOfFrames") or 1
    if not syntax.is_transfer_syntax or not 0 <= frame.index < frames:
        _fail(frame, f"has no known transfer syntax or no frame {frame.index + 1}; send it again")
    if syntax.is_compressed and not syntax.is_deflated:
        _check_codestream(frame, dataset, layout, frames)
        return
    expected = layout.rows * layout.columns * (layout.allocated // 8) * frames
    # Up to a row more is filling that some writers leave.
    if not expected <= length < expected + layout.columns * (layout.allocated // 8):
        _fail(frame, f"has {length} bytes of pixels where {expected} are declared; send it again")


def _check_codestream(frame: Frame, dataset: Dataset, layout: _Layout, frames: int) -> None:
    """Compare the size a compressed stream states with the header's: decoders believe any."""
    try:
        stream = get_frame(tags.raw_bytes(dataset, "PixelData"), frame.index, number_of_frames=frames)
        size = _codestream_size(stream)
    except tags.PARSE_ERRORS:
        return  # the decoder, which also knows extended offset tables, will say
    if size is not None and END_OF_STREAM not in stream[-END_WITHIN:]:
        _fail(frame, "has compressed pixels that are cut short (no end mark); send it again")
    if size is not None and size != (layout.rows, layout.columns):
        declared = f"{layout.rows} x {layout.columns}"
        _fail(
            frame,
            f"has compressed pixels of {size[0]} x {size[1]} where {declared} is declared; send it again",
        )


def _codestream_size(stream: bytes) -> tuple[int, int] | None:
    """Return (rows, columns) of a JPEG, JPEG-LS (frame header) or JPEG 2000 (SIZ) stream, None for others."""
    if stream[:4] == b"\xff\x4f\xff\x51":
        right, bottom, left, top = struct.unpack(">4L", stream[8:24])
        return bottom - top, right - left
    at = 2 if stream[:2] == b"\xff\xd8" else len(stream)
    while at + 9 <= len(stream) and stream[at] == 0xFF:
        marker = stream[at + 1]
        if marker in _JPEG_FRAME_HEADERS:
            rows, columns = struct.unpack(">2H", stream[at + 5 : at + 9])
            return rows, columns
        at += 1 if marker == 0xFF else 2 + int(struct.unpack(">H", stream[at + 2 : at + 4])[0])
    return None


def _to_stored(raw: NDArray[np.generic], layout: _Layout) -> NDArray[np.int32]:
    """Raw words -> stored values, int32: unused bits dropped, sign extended."""
    values = raw.astype(np.int32)
    if not layout.compressed:
        values >>= layout.high_bit + 1 - layout.stored
    values &= (1 << layout.stored) - 1
    if layout.signed:
        sign = 1 << (layout.stored - 1)
        values = (values ^ sign) - sign
    return values


def _bounds(layout: _Layout) -> tuple[int, int]:
    """Least and greatest stored value."""
    if layout.signed:
        return -(1 << (layout.stored - 1)), (1 << (layout.stored - 1)) - 1
    return 0, (1 << layout.stored) - 1


def _is_padding(
    raw: NDArray[np.generic], stored: NDArray[np.int32], dataset: Dataset, layout: _Layout
) -> NDArray[np.bool_] | None:
    """Where the declared padding is; None where nothing is declared.

    A padding value may not fit into BitsStored (-2000 in 12 bits, common at GE), and may have been read with
    the wrong sign, so the raw words are compared too.
    """
    declared = tags.whole_number(dataset, "PixelPaddingValue")
    if declared is None:
        return None
    padding: NDArray[np.bool_] = (raw.astype(np.int32) & 0xFFFF) == (declared & 0xFFFF)
    limit = tags.whole_number(dataset, "PixelPaddingRangeLimit")
    first = _as_stored(declared, layout)
    last = first if limit is None else _as_stored(limit, layout)
    if first is not None and last is not None:
        padding |= (stored >= min(first, last)) & (stored <= max(first, last))
    return padding


def _as_stored(value: int, layout: _Layout) -> int | None:
    """A value of VR US or SS as a stored value, None where it cannot be one."""
    low, high = _bounds(layout)
    wrapped = ((value & 0xFFFF) ^ 0x8000) - 0x8000
    return next((candidate for candidate in (value, wrapped) if low <= candidate <= high), None)


def _turned(
    stored: NDArray[np.int32],
    padding: NDArray[np.bool_] | None,
    layout: _Layout,
    slope: float,
    intercept: float,
) -> NDArray[np.int32]:
    """Stored values of a MONOCHROME1 image in the direction in which the edge of the image is air."""
    edge = np.zeros(stored.shape, dtype=np.bool_)
    edge[[0, -1], :] = edge[:, [0, -1]] = True
    if padding is not None:
        edge &= ~padding
    if edge.any() and np.median(stored[edge]) * slope + intercept <= EDGE_AIR_HU:
        return stored
    low, high = _bounds(layout)
    return low + high - stored


def _wraps(stored_bits: int, signed: bool, intercept: float) -> bool:
    return stored_bits == WRAPPED_BITS and not signed and intercept > WRAPPED_INTERCEPT


def _to_hu(
    stored: NDArray[np.int32], padding: NDArray[np.bool_] | None, slope: float, intercept: float
) -> NDArray[np.int16]:
    if slope == 1 and intercept == int(intercept):
        values = stored + int(intercept)
    else:
        # Clipped before the cast: a steep slope leaves the range of int32.
        values = np.clip(np.rint(stored * slope + intercept), -32768, 32767).astype(np.int32)
    air = values < LEAST_HU
    if padding is not None:
        air |= padding
    values[air] = AIR_HU
    return np.clip(values, -32768, 32767).astype(np.int16)
