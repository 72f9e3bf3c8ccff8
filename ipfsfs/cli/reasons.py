"""Reasons, each with the files that it holds for: few lines, however many files there are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import click

from ipfsfs.cli import render
from ipfsfs.printed import printable

_NAMED_MOST: Final = 5


def say(files: Iterable[tuple[str, str]], *, more: int = 0) -> None:
    """Print on stderr why something was not done, by (path, reason). `more`: of how many further files that is so."""
    by_reason: dict[str, list[str]] = {}
    for path, why in files:
        by_reason.setdefault(why, []).append(path)
    for why, paths in by_reason.items():
        click.echo(printable(f"{render.files(len(paths))}: {why}"), err=True)
        for path in paths[:_NAMED_MOST]:
            click.echo(printable(f"  {path}"), err=True)
        if len(paths) > _NAMED_MOST:
            click.echo(f"  and {len(paths) - _NAMED_MOST:,} more", err=True)
    if more > 0:
        click.echo(f"and {render.files(more)} more, which are not named", err=True)
