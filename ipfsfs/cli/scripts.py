"""What commands tell scripts: with --json, one JSON value on stdout, of a form that docs/json.md describes.

A command's option --json names the dataclass that it tells, or several where what it tells depends on what it is asked;
the page is made from those.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import click

from ipfsfs.daemon.codec import Dataclass, Facts, encode
from ipfsfs.errors import IpfsfsError

VERSION: Final = 1
"""Of all forms together. It grows when a field goes, or comes to mean something else; a new field leaves it."""
VERSION_FIELD: Final = "json_version"
FLAT: Final = "flat"
"""Metadata of a field that holds a dataclass, or None: the fields of that stand where it would, all null without it."""


@dataclass(slots=True, frozen=True)
class Form:
    """What a command tells: an object of a kind, or a list of such. `when`: where that depends on what it is asked."""

    kind: type[Dataclass]
    is_list: bool = False
    when: str = ""


class JsonOption(click.Option):
    """The option --json of a command, which knows what is told."""

    def __init__(self, *arguments: Any, forms: Sequence[Form], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.forms = tuple(forms)


def tells(*forms: Form, help: str = "Print facts for scripts.") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The option --json, for a command that tells something of one of these forms."""
    return click.option("--json", "as_json", is_flag=True, help=help, cls=JsonOption, forms=forms)


def tell(found: Dataclass | Sequence[Dataclass], *, in_a_line: bool = False) -> None:
    """Print it to stdout, each object with the version of its form."""
    value = [_versioned(one) for one in found] if isinstance(found, Sequence) else _versioned(found)
    click.echo(json.dumps(value, indent=None if in_a_line else 2))


@dataclass(slots=True, frozen=True)
class Failure:
    """Why a command ended before it could tell what it was asked. `kind`: the class of the error, as docs/errors.md
    names it; `UsageError` for wrong options, `Interrupted` for Ctrl-C. `hint`: what to do next, where that is known."""

    kind: str
    message: str
    hint: str
    exit_code: int

    @classmethod
    def of(cls, error: IpfsfsError) -> Failure:
        """An expected failure."""
        return cls(type(error).__name__, str(error), error.hint, error.exit_code)


def tell_failure(failure: Failure) -> None:
    """Print to stdout that there is no answer, and why."""
    click.echo(json.dumps({VERSION_FIELD: VERSION, "error": encode(failure)}, indent=2))


def asked_for(arguments: Sequence[str]) -> bool:
    """Whether a command line asks for JSON, be it right or wrong otherwise."""
    before = list(arguments)
    return "--json" in (before[: before.index("--")] if "--" in before else before)


def _versioned(found: Dataclass) -> Facts:
    """With every field, null where it is None: a script need not ask whether one is there."""
    encoded, facts = encode(found, nulls=True), dict[str, Any]()
    for field in dataclasses.fields(found):
        value = encoded[field.name]
        if FLAT in field.metadata:
            nothing = dict.fromkeys(one.name for one in dataclasses.fields(field.metadata[FLAT]))
            facts = {**(value or nothing), **facts}
        else:
            facts[field.name] = value
    return {VERSION_FIELD: VERSION, **facts}
