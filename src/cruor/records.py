"""Plain data from JSON or YAML into frozen dataclasses, strictly: what manifests and experiments share."""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Iterable
from typing import Any


class RecordError(ValueError):
    """Data that does not fit; the message names the field and, for an unknown key, the nearest right one."""


def build_record(kind: Any, value: Any, where: str) -> Any:
    """Build what the type `kind` asks for.

    Args:
        kind: a dataclass, a tuple of such, a dict, a Literal of names, a plain type, or one of these or None.
        value: mappings, lists and plain values as JSON and YAML give them.
        where: file and field, for messages.

    Raises:
        RecordError: an unknown or missing key, a value of another type, or a name that is not known.
    """
    if dataclasses.is_dataclass(kind):
        return _build_dataclass(kind, value, where)
    origin = typing.get_origin(kind)
    if origin is types.UnionType:
        (wanted,) = (one for one in typing.get_args(kind) if one is not types.NoneType)
        return None if value is None else build_record(wanted, value, where)
    if origin is tuple:
        return _build_tuple(typing.get_args(kind), value, where)
    if origin is typing.Literal:
        return _build_choice(typing.get_args(kind), value, where)
    plain = dict if origin is dict else kind
    if plain is float and type(value) is float and not math.isfinite(value):
        raise RecordError(f"{where}: a number is wanted, not {value}")
    if plain is float and type(value) is str and _is_number(value):
        raise RecordError(f"{where}: {value!r} is text to YAML; write {float(value)}")
    if plain is float and type(value) is int:
        return float(value)
    if type(value) is not plain:
        raise RecordError(f"{where}: {plain.__name__} is wanted, not {value!r}")
    return value


def plain_record(record: Any) -> dict[str, Any]:
    """A dataclass as mappings, lists and plain values, every default filled in."""
    return {key: _plain(value) for key, value in dataclasses.asdict(record).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _build_tuple(parts: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise RecordError(f"{where}: a list is wanted, not {value!r}")
    wanted = [parts[0]] * len(value) if parts[-1] is Ellipsis else list(parts)
    if len(wanted) != len(value):
        raise RecordError(f"{where}: {len(wanted)} values are wanted, not {len(value)}")
    pairs = enumerate(zip(wanted, value, strict=True))
    return tuple(build_record(part, item, f"{where}[{i}]") for i, (part, item) in pairs)


def _build_choice(known: tuple[str, ...], value: Any, where: str) -> str:
    if value in known:
        return str(value)
    if str(value) in known:
        raise RecordError(f"{where}: {value} is a number; write it in quotes: '{value}'")
    raise RecordError(f"{where}: {value!r} is not known; {_advice(str(value), known)}")


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _advice(wrong: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(wrong, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"


def _build_dataclass(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise RecordError(f"{where}: a mapping is wanted, not {value!r}")
    hints = typing.get_type_hints(kind)
    for key in value:
        if key not in hints:
            raise RecordError(f"{where}: unknown key {key!r}; {_advice(str(key), hints)}")
    for field in dataclasses.fields(kind):
        optional = (
            field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        )
        if field.name not in value and not optional:
            raise RecordError(f"{where}: {field.name!r} is missing")
    return kind(**{key: build_record(hints[key], item, f"{where}: {key}") for key, item in value.items()})
