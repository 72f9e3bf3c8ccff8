"""What is in the caches of this user, for `ipfsfs ls` without arguments."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from ipfsfs.cli import render, stores
from ipfsfs.cli.advice import advised
from ipfsfs.cli.paths import Target, mountpoint, must_be_directory, must_be_its_store, must_be_ours
from ipfsfs.cli.scripts import tell
from ipfsfs.cli.usual import hub_home
from ipfsfs.daemon import mounts
from ipfsfs.daemon.client import ask
from ipfsfs.daemon.questions.overview import Question
from ipfsfs.errors import IpfsfsError, StoreError, UsageError
from ipfsfs.exchange import overview as counting
from ipfsfs.exchange.overview import Entry, EntryKind, Known, Overview, Pinned
from ipfsfs.exchange.paths import unreachable
from ipfsfs.plain.directory import PlainDirectory
from ipfsfs.printed import command, counted, printable
from ipfsfs.store.extents import Extents

_NAME_MOST: Final = 60
_ROOT: Final = 0
_ITS_USERS: Final = ("here", "pinned")
"""What cannot be seen through a view: a placeholder looks like the file it stands for."""


@dataclass(slots=True, frozen=True)
class Cache:
    """A cache and what is in it. `state`: mounted or not, in words; `missing`: what is not known of it, and why;
    `unknown`: the fields of entries that this makes meaningless."""

    path: Path
    mounted: bool
    state: str
    found: Overview
    missing: str = ""
    unknown: tuple[str, ...] = ()


@dataclass(slots=True, frozen=True)
class EntryFacts:
    """A repository with all its revisions, or all of another kind. Sizes in bytes; `here`: how much of `size` is on
    this machine, `shared`: how much of that another entry holds as well; both are null, and `pinned`, where that is not
    known. `last_used`: in whole seconds since the epoch; null where nothing of it is here. `path`: from that of the
    cache. `missing_files`: how many more its snapshots link to that are not there, of sizes that nothing tells."""

    kind: EntryKind
    name: str
    path: bytes
    files: int
    size: int
    here: int | None
    shared: int
    pinned: Pinned | None
    last_used: int | None
    missing_files: int


@dataclass(slots=True, frozen=True)
class CacheFacts:
    """A cache and what is in it. `missing`: what is not known of it, and why; `error`: why nothing is, then all that
    follows is null. `unread`: how many directories could not be listed."""

    path: Path
    mounted: bool
    missing: str = ""
    error: str = ""
    entries: tuple[EntryFacts, ...] | None = None
    size: int | None = None
    here: int | None = None
    unread: int | None = None


@dataclass(slots=True, frozen=True)
class Unknown:
    """A view that could not be asked: why, and what to do."""

    path: Path
    error: IpfsfsError


def overview(path: Path | None, store: Path | None, as_json: bool) -> None:
    """Print what is in the view that `path` lies in, or in that directory where none is mounted over it; without a path
    in every mounted view that is this user's or that root has mounted for all, else in the cache of Hugging Face's
    clients. Raises IpfsfsError."""
    found = [_of(mountpoint(path), store)] if path is not None else list(_every())
    if as_json:
        tell([_facts(one) for one in found])
    else:
        for number, one in enumerate(found):
            if number:
                click.echo()
            for line in _lines(one):
                click.echo(line)
    for one in found:
        if isinstance(one, Unknown):
            raise SystemExit(one.error.exit_code)


def _every() -> Iterator[Cache | Unknown]:
    views = [view for view in mounts.views() if view.lets_us_in and view.owner in (os.geteuid(), _ROOT)]
    for view in views:
        try:
            yield _of_view(view)
        except IpfsfsError as error:
            yield Unknown(view.mountpoint, advised(error))
    if not views:
        usual = mountpoint(hub_home())
        if not usual.is_dir():
            raise UsageError(
                f"nothing is mounted, and there is no cache at {usual}",
                hint=f"To name another directory: {command('ls --view PATH')}",
            )
        yield _of(usual, None)


def _of(at: Path, store: Path | None) -> Cache:
    view = mounts.view_over(at)
    if view is None:
        must_be_directory(at)
        return _of_plain(at, store)
    must_be_its_store(view, store)
    if not view.lets_us_in:
        must_be_ours(view)
    return _of_view(view)


def _of_view(view: mounts.Mount) -> Cache:
    """Of our own view its daemon is asked. Another user's is walked like any directory, with the rights of who asks."""
    if not view.is_of_another:
        return Cache(view.mountpoint, True, "mounted", ask(view.store, Question()))
    if not mounts.answers(view):
        raise IpfsfsError(f"the daemon of {view.mountpoint} has ended")
    state = f"mounted by another user ({view.owner_in_words})"
    missing = "how much of it is here, and what is pinned: its daemon tells its own user only"
    return Cache(view.mountpoint, True, state, _walked(view.mountpoint, Known()), missing, _ITS_USERS)


def _of_plain(at: Path, named: Path | None) -> Cache:
    store = mountpoint(named) if named is not None else stores.of_moved(at).warned()
    missing = ""
    known = Known()
    if os.path.isfile(store / "format"):
        from ipfsfs.cli.opened import Opened  # here: a daemon that is there has the databases open

        try:
            with Opened.at(Target(at, "", store, None, is_store_named=named is not None)) as opened:
                known = Known.of(Extents(opened.store.extents_fd), opened.index, opened.ledger)
        except (StoreError, OSError) as error:
            missing = f"pins, and parts of files in the store: {error}"
    return Cache(at, False, "not mounted: the plain directory", _walked(at, known), missing)


def _walked(at: Path, known: Known) -> Overview:
    plain = PlainDirectory.open(at)
    try:
        return counting.overview(plain.fd, bytes(at), known)
    except OSError as error:
        raise unreachable(at, error) from error
    finally:
        plain.close()


def _facts(one: Cache | Unknown) -> CacheFacts:
    if isinstance(one, Unknown):
        return CacheFacts(one.path, mounted=True, error=str(one.error))
    found, is_here, is_pinned = one.found, "here" not in one.unknown, "pinned" not in one.unknown
    entries = tuple(
        EntryFacts(
            entry.kind, entry.name, entry.path, entry.files, entry.size, entry.here if is_here else None,
            entry.shared, entry.pinned if is_pinned else None, entry.last_used,
            entry.missing_files,
        )
        for entry in found.entries
    )  # fmt: skip
    here = found.here if is_here else None
    return CacheFacts(one.path, one.mounted, one.missing, "", entries, found.size, here, found.unread)


def _lines(one: Cache | Unknown) -> Iterator[str]:
    path = printable(str(one.path))
    if isinstance(one, Unknown):
        yield f"{path}: {printable(str(one.error))}"
        if one.error.hint:
            yield f"  {printable(one.error.hint)}"
        return
    found = one.found
    here = render.size(found.size) if "here" in one.unknown else _here(found)
    yield f"{path}, {printable(one.state)}: {here}"
    if one.missing:
        yield f"Not known: {printable(one.missing)}."
    if found.unread:
        yield f"{counted(found.unread, 'directory', 'directories')} may not be read."
    if found.missing_files:
        are, names = ("is", "it") if found.missing_files == 1 else ("are", "them")
        yield (
            f"{render.files(found.missing_files)} that links lead to {are} missing: "
            f"{command('verify', one.path)} names {names}, {command('restore', one.path)} has {names} again."
        )
    if not found.entries:
        yield "Nothing is in it."
        return
    yield ""
    now = time.time()
    yield from _table([_HEADINGS, *(_row(entry, now, one.unknown) for entry in found.entries)])


def _here(found: Overview) -> str:
    whole = render.size(found.size)
    if found.here != found.size:
        return f"{render.size(found.here)} of {whole} here"
    return f"{whole} here" if found.missing_files else f"{whole}, all of it here"


_HEADINGS: Final = ("NAME", "KIND", "SIZE", "HERE", "", "SHARED", "PINNED", "LAST USED")
_TO_THE_RIGHT: Final = ("SIZE", "HERE", "", "SHARED")


def _row(entry: Entry, now: float, unknown: tuple[str, ...]) -> tuple[str, ...]:
    name = printable(entry.name)
    pinned = {"no": "-", "part": "in part", "yes": "yes"}[entry.pinned]
    return (
        name if len(name) <= _NAME_MOST else name[: _NAME_MOST - 3] + "...",
        entry.kind,
        render.size(entry.size),
        "?" if "here" in unknown else render.size(entry.here),
        _share(entry, unknown),
        render.size(entry.shared) if entry.shared else "-",
        "?" if "pinned" in unknown else pinned,
        "-" if entry.last_used is None else _ago(now - entry.last_used),
    )


def _share(entry: Entry, unknown: tuple[str, ...]) -> str:
    """How much of an entry is here; of what is missing nothing tells the size."""
    if entry.missing_files:
        return f"{entry.missing_files:,} missing"
    return "" if "here" in unknown else render.percent(entry.here, entry.size)


def _ago(seconds: float) -> str:
    for unit, length_s in (("year", 31_557_600), ("month", 2_629_800), ("day", 86_400), ("hour", 3_600)):
        count = int(seconds // length_s)
        if count:
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now" if seconds < 60 else f"{int(seconds // 60)} min ago"


def _table(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [
            f"{cell:>{width}}" if heading in _TO_THE_RIGHT else f"{cell:<{width}}"
            for cell, width, heading in zip(row, widths, _HEADINGS, strict=True)
        ]
        yield "  ".join(cells).rstrip()
