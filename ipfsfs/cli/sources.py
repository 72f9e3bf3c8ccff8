"""Which view a command on CIDs has content from. They ask and read in a process of their own, that of the command."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import click

from ipfsfs.cli.paths import PATH, located, must_be_ours, target
from ipfsfs.daemon import mounts
from ipfsfs.errors import MountError, UsageError
from ipfsfs.printed import command, shell

_OPTION: Final = click.option(
    "--view",
    "path",
    type=PATH,
    metavar="PATH",
    help="The mounted view, by a path in it (default: the one of the current directory, else the only one).",
)
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def VIEW(command: Callable[..., Any]) -> Callable[..., Any]:
    """The option that says which view's store and origins are meant, for a command."""
    return _OPTION(command)


def by_option(view: Path) -> str:
    """What names a view to a command with the option --view."""
    return f"--view {shell(view)}"


def chosen_view(path: Path | None, named: Callable[[Path], str] = by_option) -> mounts.Mount:
    """The view that is meant. Raises MountError where there is none, UsageError where it could be several: what the
    user types for each is `named`."""
    if path is not None:
        view = mounts.view_over(located(path))
        if view is None:
            raise MountError(f"{path} is in no mounted view", hint=f"Mount it first: {command('mount', path)}")
    else:
        view = mounts.view_over(Path.cwd())
    if view is None:
        ours = mounts.our_views()
        if not ours:
            raise MountError("no view is mounted", hint=f"Mount the cache first: {command('mount PATH')}")
        if len(ours) > 1:
            each = "\n".join(f"  {named(one.mountpoint)}" for one in ours)
            raise UsageError(f"several views are mounted:\n{each}", hint="Say which is meant.")
        view = ours[0]
    must_be_ours(view)
    return view


def view_of(path: Path | None, words: str) -> mounts.Mount:
    """The view that a path lies in; without one, the view that a command of these words means. Raises MountError where
    there is none, UsageError where it could be several."""
    if path is None:
        return chosen_view(None, named=partial(command, words))
    at = target(path)
    if at.mount is None:
        raise MountError(f"{at.root} is not mounted", hint=f"Mount it first: {command('mount', at.root)}")
    must_be_ours(at.mount)
    return at.mount
