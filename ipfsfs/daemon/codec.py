"""Dataclasses to JSON values and back, for what a command, a daemon and its starter say to each other.

What a class may hold: `bool`, `int`, `float`, `str`, `None`, `Literal`, unions of these; `bytes`, which is the name or
path of a file (as text on the wire, with surrogate escapes); `Path`; `tuple[T, ...]`, `list[T]` and `dict[str, T]`; and
other such dataclasses. A field that is None, and None by default, is left out.
"""

from __future__ import annotations

import dataclasses
import math
import os
import types
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, Protocol, TypeVar, Union, get_args, get_origin, get_type_hints

from ipfsfs.errors import FormatError


class Dataclass(Protocol):
    """An instance of a dataclass, whichever."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]


T = TypeVar("T", bound=Dataclass)

Facts = dict[str, Any]
"""A dataclass as a JSON object."""

_WORDS: Final[dict[object, str]] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    bytes: "the path of a file",
    Path: "a path",
    types.NoneType: "null",
}


def encode(value: Dataclass, *, nulls: bool = False) -> Facts:
    """A dataclass as a JSON object, its fields in their order; with `nulls` all of them, those that are None too."""
    return {
        field.name: _encode(inner, nulls)
        for field in dataclasses.fields(value)
        if (inner := getattr(value, field.name)) is not None or field.default is not None or nulls
    }


def _encode(value: Any, nulls: bool) -> Any:
    match value:
        case bytes():
            return os.fsdecode(value)
        case Path():
            return str(value)
        case tuple() | list():
            return [_encode(inner, nulls) for inner in value]
        case dict():
            return {name: _encode(inner, nulls) for name, inner in value.items()}
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return encode(value, nulls=nulls)
        case _:
            return value


def decode(kind: type[T], value: object) -> T:
    """A dataclass from a JSON value, which may come from anywhere.

    Raises FormatError for an unknown field, for one that is missing and has no default, and for a value of another type
    than its field's.
    """
    if not isinstance(value, dict):
        raise FormatError("expected an object")
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for name in value:
        if name not in fields:
            raise FormatError(f"unknown field {str(name)[:40]!r}")
    hints = _hints(kind)
    for name, field in fields.items():
        if name not in value and field.default is field.default_factory is dataclasses.MISSING:
            raise FormatError(f"{name!r} is missing")
    return kind(**{name: _decode(hints[name], inner, name) for name, inner in value.items()})


@cache
def _hints(kind: type[object]) -> Mapping[str, Any]:
    return get_type_hints(kind)


def _decode(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _decode_union(arguments, value, where)
    if origin is Literal:
        if not any(value == one and type(value) is type(one) for one in arguments):
            raise FormatError(f"{where!r} must be one of: {', '.join(map(str, arguments))}")
        return value
    if origin in (tuple, list):
        if not isinstance(value, list):
            raise FormatError(f"{where!r} must be a list")
        return origin(_decode(arguments[0], inner, where) for inner in value)
    if origin is dict:
        if not isinstance(value, dict):
            raise FormatError(f"{where!r} must be an object")
        return {name: _decode(arguments[1], inner, where) for name, inner in value.items()}
    if dataclasses.is_dataclass(hint):
        try:
            return decode(hint, value)  # type: ignore[arg-type]  # a dataclass by the test above, which mypy cannot see
        except FormatError as error:
            raise FormatError(f"{where!r}: {error}") from None
    return _decode_plain(hint, value, where)


def _decode_union(choices: tuple[Any, ...], value: Any, where: str) -> Any:
    refused: list[str] = []
    for choice in choices:
        try:
            return _decode(choice, value, where)
        except FormatError as error:
            refused.append(str(error))
    raise FormatError("; ".join(refused))


def _decode_plain(hint: Any, value: Any, where: str) -> Any:
    if hint is float and type(value) in (int, float) and math.isfinite(value):
        return float(value)
    if hint in (bytes, Path) and type(value) is str:
        return _decode_path(hint, value, where)
    if hint in (bool, int, str, types.NoneType) and type(value) is hint:
        return value
    raise FormatError(f"{where!r} must be {_WORDS[hint]}")


def _decode_path(hint: Any, value: str, where: str) -> bytes | Path:
    try:
        path = os.fsencode(value)
    except UnicodeEncodeError as error:
        raise FormatError(f"{where!r} is no path: {error.reason}") from None
    if b"\0" in path:
        raise FormatError(f"{where!r} is no path: it holds a NUL")
    return path if hint is bytes else Path(value)
