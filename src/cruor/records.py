"""Plain data from JSON or YAML into frozen dataclasses, strictly: what manifests and experiments share."""

from __future__ import annotations

import dataclasses
import difflib
import typing
from typing import Any


class RecordError(ValueError):
    """Data that does not fit; the message names the field and, for an unknown key, the nearest right one."""


def build_record(kind: Any, value: Any, where: str) -> Any:
    """Build what the type `kind` asks for.

    Args:
        kind: a dataclass, a tuple of such, a dict, or a plain type.
        value: mappings, lists and plain values as JSON and YAML give them.
        where: file and field, for messages.

    Raises:
        RecordError: an unknown or missing key, or a value of another type.
    """
    if dataclasses.is_dataclass(kind):
        return _build_dataclass(kind, value, where)
    origin = typing.get_origin(kind)
    if origin is tuple:
        return _build_tuple(typing.get_args(kind), value, where)
    plain = dict if origin is dict else kind
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


def _build_dataclass(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise RecordError(f"{where}: a mapping is wanted, not {value!r}")
    hints = typing.get_type_hints(kind)
    for key in value:
        if key not in hints:
            near = difflib.get_close_matches(str(key), hints, n=1)
            advice = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(hints)}"
            raise RecordError(f"{where}: unknown key {key!r}; {advice}")
    for field in dataclasses.fields(kind):
        optional = (
            field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        )
        if field.name not in value and not optional:
            raise RecordError(f"{where}: {field.name!r} is missing")
    return kind(**{key: build_record(hints[key], item, f"{where}: {key}") for key, item in value.items()})
