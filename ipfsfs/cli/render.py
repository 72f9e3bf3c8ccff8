"""How results reach a person: facts as aligned lines, and numbers in words. For scripts: `ipfsfs.cli.scripts`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import click

from ipfsfs.daemon.log_lines import for_journal, goes_to_journal
from ipfsfs.errors import IpfsfsError
from ipfsfs.printed import counted, printable

if TYPE_CHECKING:
    from ipfsfs.plain.checked import Checker

Fact = str | int | float | bool | None | Sequence["Fact"] | Mapping[str, "Fact"]


def facts(found: Mapping[str, Fact] | Sequence[Mapping[str, Fact]]) -> None:
    """Prints to stdout a line for each fact, with an empty line between the items of a list."""
    for number, item in enumerate([found] if isinstance(found, Mapping) else found):
        if number:
            click.echo()
        width = max((len(name) for name in item), default=0)
        for name, value in item.items():
            lines = _lines(value)
            click.echo(f"{name:<{width}}  {lines[0]}".rstrip())
            for line in lines[1:]:
                click.echo(f"{'':<{width}}  {line}".rstrip())


def _lines(value: Fact) -> list[str]:
    match value:
        case None:
            return ["-"]
        case bool():
            return ["yes" if value else "no"]
        case str():
            return [printable(value)]
        case int() | float():
            return [str(value)]
        case Mapping():
            return [f"{name}: {', '.join(_lines(inner))}" for name, inner in value.items()] or ["none"]
        case _:
            return [line for inner in value for line in _lines(inner)] or ["none"]


def message(text: str) -> list[str]:
    """The lines of an error's words, printable. A list in them has its lines indented: any other end of a line is part
    of somebody's name, and escaped like the rest."""
    return [printable(line) for line in re.split(r"\n(?=  )", text)]


_CHECKED: Final[dict[Checker, str]] = {
    "read": "checked by the daemon each time, as far as a file is sealed",
    "filesystem": "checked by the filesystem",
    "scrub": "not checked; files are verified from time to time",
    "nothing": "not checked",
}


def reads(checked_by: Checker, native: bool | None, why: str | None) -> list[str]:
    """Who checks what is read, and whether the kernel reads it past the daemon."""
    return [_CHECKED[checked_by], ("native" if native else "not native") + (f": {why}" if why else "")]


def report(error: IpfsfsError) -> None:
    """Prints an expected failure to stderr: what happened, and what to do next."""
    texts = [f"ipfsfs: {error}", *([error.hint] if error.hint else [])]
    said = "\n".join(line for text in texts for line in message(text))
    click.echo(for_journal("ERROR", said) if goes_to_journal() else said, err=True)


def files(count: int) -> str:
    """A number of files in words: `1 file`, `1,234 files`."""
    return counted(count, "file")


def size(count: int) -> str:
    """Bytes as people read them, in decimal units as the Hub shows them: `812 B`, `4.2 MB`."""
    if count < 1000:
        return f"{count} B"
    amount = float(count)
    for unit in ("kB", "MB", "GB"):
        amount /= 1000
        if amount < 1000:
            return f"{amount:.1f} {unit}"
    return f"{amount / 1000:.1f} TB"


def percent(part: int, whole: int) -> str:
    """How much of a whole a part is, never 0% or 100% where that is not so."""
    if not whole or part == whole:
        return "100%"
    share = 100 * part // whole
    return "<1%" if part and not share else ">99%" if share == 99 else f"{share}%"
