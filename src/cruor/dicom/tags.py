"""Reading single tags of headers that others wrote: a broken value is a missing value, never a crash."""

from __future__ import annotations

import math
import struct
import zlib

from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError

PARSE_ERRORS = (
    ValueError,  # text where a number should be, bad UTF-8, impossible lengths
    TypeError,
    AttributeError,
    LookupError,  # unknown character sets, unknown tags
    ArithmeticError,  # decimal.InvalidOperation, overflow
    NotImplementedError,  # unknown value representations
    EOFError,
    RecursionError,  # sequences nested by a broken length
    MemoryError,  # a broken length of 4 GB
    OSError,
    struct.error,
    zlib.error,
    BytesLengthException,
    InvalidDicomError,
)
"""What pydicom raises on broken bytes, found by flipping and cutting them (test_broken_bytes.py)."""


def text(header: Dataset, keyword: str) -> str:
    """Return a tag as stripped text: '' where it is missing or broken, values joined by a backslash."""
    try:
        value = header.get(keyword)
        if value is None:
            return ""
        if isinstance(value, str):
            return value.strip()
        if isinstance(value, bytes):
            return ""
        return "\\".join(str(part).strip() for part in words(value))
    except PARSE_ERRORS:
        return ""


def words(value: object) -> list[object]:
    """Return a tag's value as a list, whether it has one value or several."""
    if isinstance(value, (str, bytes)) or not hasattr(value, "__iter__"):
        return [value]
    return list(value)


def numbers(header: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    """Return exactly `count` finite numbers of a tag; None where it is missing, broken or of other length."""
    try:
        value = header.get(keyword)
        if value is None or value == "":
            return None
        parts = tuple(float(part) for part in words(value))  # type: ignore[arg-type]
    except PARSE_ERRORS:
        return None
    return parts if len(parts) == count and all(map(math.isfinite, parts)) else None


def number(header: Dataset, keyword: str) -> float | None:
    """Return one finite number of a tag (the first, where it has several), or None."""
    try:
        value = header.get(keyword)
        if value is None or value == "":
            return None
        parts = words(value)
        found = float(parts[0])  # type: ignore[arg-type]
    except PARSE_ERRORS:
        return None
    return found if math.isfinite(found) else None


def whole_number(header: Dataset, keyword: str) -> int | None:
    """Return one whole number of a tag, or None where it is missing, broken or has a fraction."""
    found = number(header, keyword)
    return None if found is None or found != int(found) else int(found)


def items(header: Dataset, keyword: str) -> list[Dataset]:
    """Return the items of a sequence; an empty list where it is missing, broken or no sequence."""
    try:
        return [item for item in words(header.get(keyword) or []) if isinstance(item, Dataset)]
    except PARSE_ERRORS:
        return []


def raw_bytes(header: Dataset, keyword: str) -> bytes:
    """Return the bytes of a tag, empty where it is missing, broken or holds something else."""
    try:
        value = header.get(keyword)
    except PARSE_ERRORS:
        return b""
    return value if isinstance(value, bytes) else b""
