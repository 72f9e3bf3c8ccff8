"""Paths as users give them, and the view that a path belongs to."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from ipfsfs.cli.render import shell
from ipfsfs.daemon import mounts, placing
from ipfsfs.daemon.looking import unreachable
from ipfsfs.errors import MountError


class _NotLookedAt(click.Path):
    """A path that is not looked at: in a view whose daemon hangs, that would not come back."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path = os.fsdecode(value)
        if not path:  # as from a script whose variable is not set: it must not mean the current directory
            self.fail("an empty path names nothing", param, ctx)
        return Path(path)


PATH = _NotLookedAt()


def mountpoint(path: Path) -> Path:
    """A mount point as the kernel names it: absolute, without symlinks. It need not exist, nor answer."""
    parent = Path(os.path.realpath(path.parent))
    below = parent / path.name if path.name not in ("", "..") else Path(os.path.realpath(path))
    if mounts.view_at(below) is not None:
        return below  # not looked at: its daemon may be dead, or hang
    # The last component may be a symlink to the directory.
    try:
        return Path(os.path.realpath(below, strict=True))
    except OSError:
        return below


@dataclass(slots=True, frozen=True)
class Target:
    """A path, and where it lies: in a mounted view, or in a directory that has a store."""

    root: Path
    relative: str
    store: Path
    mount: mounts.Mount | None


def target(path: Path) -> Target:
    """The view that `path` lies in; without one, the directory above it that has a store.

    Raises MountError where there is neither.
    """
    absolute = mountpoint(path)
    view = mounts.view_over(absolute)
    if view is not None:
        must_be_ours(view)
        return Target(view.mountpoint, _below(absolute, view.mountpoint), view.store, view)
    for root in (absolute, *absolute.parents)[:-1]:
        store = placing.default_store(root)
        if os.path.isfile(store / "format"):
            return Target(root, _below(absolute, root), store, None)
    must_be_there(absolute)
    raise MountError(
        f"{path} is in no mounted view, and no directory above it has a store",
        hint=f"Mount it first: ipfsfs mount {shell(absolute if absolute.is_dir() else absolute.parent)}",
    )


def must_be_ours(view: mounts.Mount) -> None:
    """Raises MountError for another user's view, whose daemon would not answer us."""
    if view.is_anothers:
        raise MountError(
            f"{view.mountpoint} is another user's view ({view.owner_in_words})",
            hint="Its daemon answers that user and root.",
        )


def must_be_there(path: Path) -> None:
    """Raises UsageError where nothing is at a path, and IpfsfsError where it is out of reach.

    For what is known to lie in no view: a daemon that hangs would never answer this.
    """
    try:
        path.lstat()
    except OSError as error:
        raise unreachable(path, error) from error


def _below(path: Path, root: Path) -> str:
    relative = os.path.relpath(path, root)
    return "" if relative == "." else relative
