"""Collecting: what the store holds of content that nobody needs is removed.

Content is needed that a placeholder of the plain directory stands for, or a pin holds, or that is being read. A removal
is a rename, after which nothing opens the file, and an unlink: killed in between, it leaves what the next one removes.
"""

from __future__ import annotations

import os
import stat as stat_
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Protocol

import trio

from ipfsfs.errors import IpfsfsError
from ipfsfs.exchange.keeping import Keeping
from ipfsfs.exchange.loads import Loads
from ipfsfs.plain import entries, links, syscalls
from ipfsfs.plain.directory import PlainDirectory
from ipfsfs.store.extents import Extents, Kept
from ipfsfs.store.kept import file_of
from ipfsfs.unixfs import reference

_LIST: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_WALKS: Final = 5
"""How often the plain directory is walked, where names move meanwhile."""
_TURN: Final = 256
"""Files that are looked at before others have their turn on the event loop."""


@dataclass(slots=True)
class Removed:
    """How many files were removed, or would be, and the bytes that they took on the disk (`size`); which of the roots
    are being read, so that theirs stay."""

    files: int = 0
    size: int = 0
    in_use: set[bytes] = field(default_factory=set)


class Moving(Protocol):
    """Counts renames. `moves`: how often a directory or a placeholder was renamed."""

    @property
    def moves(self) -> int: ...


async def roots_of_placeholders(plain: PlainDirectory, moving: Moving) -> set[bytes]:
    """The roots that links of the plain directory stand for. Raises IpfsfsError where part of it cannot be read, or
    names move all the time: what is needed is not known then."""
    for _ in range(_WALKS):
        before = moving.moves
        found = await trio.to_thread.run_sync(_roots_of_placeholders, plain.fd)
        if moving.moves == before:
            return found
    raise IpfsfsError(
        "files or directories are renamed all the time, so that it is not known what is needed",
        hint="Nothing was removed. Try again.",
    )


def _roots_of_placeholders(root_fd: int) -> set[bytes]:
    found: set[bytes] = set()
    pending = [b""]
    dev = os.fstat(root_fd).st_dev
    while pending:
        above = pending.pop()
        try:
            fd = syscalls.open_beneath(root_fd, above, _LIST)
            try:
                if os.fstat(fd).st_dev == dev:
                    pending += [above + b"/" + name if above else name for name in _look(fd, found)]
            finally:
                os.close(fd)
        except FileNotFoundError:
            continue  # removed meanwhile
        except OSError as error:
            raise IpfsfsError(
                f"{os.fsdecode(above)} cannot be read, so that it is not known what is needed: {error.strerror}",
                hint="Nothing was removed.",
            ) from error
    return found


def _look(fd: int, found: set[bytes]) -> list[bytes]:
    """Add the roots of the placeholders in a directory; returns the names of the directories in it."""
    below: list[bytes] = []
    for name in entries.each(fd):
        try:
            st = entries.stat(fd, name)
            if stat_.S_ISDIR(st.st_mode):
                below.append(name)
            elif stat_.S_ISLNK(st.st_mode) and st.st_size <= reference.TEXT_MAX:
                stands_for = reference.parse(entries.readlink(fd, name)) if links.may_be_placeholder(st) else None
                if stands_for is not None:
                    found.add(stands_for.root)
        except FileNotFoundError:
            continue
    return below


async def collect_kept(keeping: Keeping, gathering: Collection[bytes], *, dry_run: bool) -> Removed:
    """Remove what pins held that no pin holds: what a removal or a pin left that was interrupted. To be called while no
    pin is noted or removed. `gathering`: the roots whose nodes are being gathered. Raises StoreError, OSError."""
    pins, directory = keeping.pins, keeping.kept
    removed = Removed()
    roots = [*gathering, *(pin.root for pin in await trio.to_thread.run_sync(pins.all))]
    for name in directory.strays(await trio.to_thread.run_sync(pins.all_files), roots):
        try:
            st = os.stat(name, dir_fd=directory.fd, follow_symlinks=False)
        except FileNotFoundError:
            continue  # the table of a file, which went with it
        removed.files += 1
        removed.size += st.st_blocks * 512 if st.st_nlink == 1 else 0
        if dry_run:
            continue
        file = file_of(name)
        if file is None:
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=directory.fd)
        else:
            await keeping.drop(file)
    return removed


@dataclass(slots=True, frozen=True)
class Collecting:
    """Removes extents and tables of a view. `is_wanted`: tells of a root whether what is here of it has to stay."""

    extents: Extents
    loads: Loads
    is_wanted: Callable[[bytes], bool]

    async def run(self, *, dry_run: bool) -> Removed:
        """Remove all that nobody needs; with `dry_run`, say what would be. Raises OSError."""
        if not dry_run:
            await trio.to_thread.run_sync(self.extents.clear)
        return await self._remove(lambda kept: not self.is_wanted(kept.root), dry_run=dry_run)

    async def discard(self, roots: Collection[bytes]) -> Removed:
        """Remove what is here of some roots, unless it has to stay. Raises OSError."""
        return await self._remove(lambda kept: kept.root in roots and not self.is_wanted(kept.root), dry_run=False)

    async def _remove(self, chosen: Callable[[Kept], bool], *, dry_run: bool) -> Removed:
        removed = Removed()
        for count, kept in enumerate(await trio.to_thread.run_sync(self.extents.each)):
            if count % _TURN == 0:
                await trio.lowlevel.checkpoint()
            if not chosen(kept):
                continue
            if self.loads.is_loading(kept.root):
                removed.in_use.add(kept.root)
                continue
            if not dry_run:
                try:
                    aside = self.extents.set_aside(kept)
                except FileNotFoundError:  # it became a file of the plain directory meanwhile
                    continue
                await trio.to_thread.run_sync(self.extents.remove, aside)
            removed.files += 1
            removed.size += kept.bytes
        return removed
