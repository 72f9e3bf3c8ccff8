"""Which store a directory has that is not mounted: that of its last view, wherever it was put, else the usual place."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from ipfsfs.daemon import mounts, placing, register
from ipfsfs.errors import MountError, UsageError
from ipfsfs.identity import PlainRoot
from ipfsfs.plain.directory import PlainDirectory
from ipfsfs.printed import command, printable
from ipfsfs.store.directory import is_safe

OPTION_HELP: Final = "The store, where PATH is not mounted (default: that of its last view, else the one beside it)."


@dataclass(slots=True, frozen=True)
class Chosen:
    """A store, which need not be there. `said`: why it is not the one that a note names; empty where it is, and where
    there is no note."""

    store: Path
    said: str = ""

    def warned(self) -> Path:
        """The store; what there is to say of it is said on stderr."""
        if self.said:
            click.echo(f"ipfsfs: {printable(self.said)}", err=True)
        return self.store


def of(at: Path) -> Chosen:
    """The store of a directory, by an absolute path without symlinks. Raises MountError for the root directory.

    A note is believed where the store is ours, and where the directory is still the one that it was of: another one may
    stand in its place by now, and a store is of one directory.
    """
    usual = placing.default_store(at)
    noted = register.noted(at)
    if noted is None or noted.store == usual:
        return Chosen(usual)
    why_not = _why_not(noted, at)
    if not why_not:
        return Chosen(noted.store)
    return Chosen(usual, f"{why_not}. So the store is {usual}; --store names another")


def of_moved(at: Path) -> Chosen:
    """The same; a directory that has no store there may have had one where it was before."""
    chosen = of(at)
    if is_store(chosen.store) or (root := _root(at)) is None:
        return chosen
    for entry in register.entries():
        if entry.inode is None or entry.mountpoint == at or not entry.is_of(root) or not _is_gone(entry):
            continue
        if not _why_not(entry, at):
            return Chosen(entry.store, f"{at} was at {entry.mountpoint} before: its store is still {entry.store}")
    return chosen


def root_of(store: Path, path: Path) -> Path:
    """The directory at or above `path` that a store is of which the user named. Raises UsageError, for to take another
    directory's store would spoil it."""
    above = (path, *path.parents)
    for entry in register.entries():
        if entry.store == store and entry.mountpoint in above:
            return entry.mountpoint
    beside = store.with_name(store.name.removesuffix(".ipfsfs"))
    if beside != store and beside in above:
        return beside
    if path.is_dir():
        return path
    raise UsageError(
        f"nothing says which directory {store} is the store of",
        hint=f"Name the directory itself, or mount it once: {command('mount --store', store)} DIRECTORY",
    )


def is_store(path: Path) -> bool:
    """Whether a store is there."""
    return os.path.isfile(path / "format")


def _why_not(noted: register.Entry, at: Path) -> str:
    """Why the store that a note names is not taken; empty where it is."""
    store = noted.store
    named = f"{at} had the store {store}, "
    try:
        owner = os.stat(store).st_uid
    except OSError:
        if not os.path.isdir(store.parent):
            return named + "which is not there (is its disk mounted?)"
        return named + "which is gone"
    if owner != os.geteuid() or not is_safe(store):
        return named + "which is another user's, or could be replaced by one"
    if not is_store(store):
        return named + "which is no store any more"
    root = _root(at)
    if root is not None and not noted.is_of(root):
        return f"another directory was at {at} before, and {store} is the store of that one"
    return ""


def _is_gone(entry: register.Entry) -> bool:
    """Whether the directory of a note is no longer where it was."""
    if mounts.view_over(entry.mountpoint) is not None:
        return False  # it is in use there
    root = _root(entry.mountpoint)
    return root is None or not entry.is_of(root)


def _root(at: Path) -> PlainRoot | None:
    """What tells a directory from others; None where there is none, or a view covers it: that may hang."""
    if mounts.view_over(at) is not None:
        return None
    try:
        plain = PlainDirectory.open(at)
    except MountError:
        return None
    try:
        return plain.root
    finally:
        plain.close()
