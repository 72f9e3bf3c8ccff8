"""Keeping the content of pins: bytes are shared with the file they are taken from where the filesystem can do that.

By blocks where it has reflinks; else the store gets a second name of the same file, which the kernel keeps when the
first is removed; else a copy. Before a file is changed in place that has such a second name, the store gets a copy.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final, Literal

import trio

from ipfsfs.errors import NoRoom, StoreError
from ipfsfs.exchange.locks import Locks
from ipfsfs.plain import moving
from ipfsfs.store import kept
from ipfsfs.store.extents import Extents
from ipfsfs.store.kept import Kept
from ipfsfs.store.tables.pins import PinnedFile, Pins
from ipfsfs.unixfs import cid

log = logging.getLogger(__name__)

_NO_LINK: Final = (errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOENT, errno.EOPNOTSUPP, errno.EROFS)
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)

How = Literal["shared", "linked", "copied"]
"""How the store came to the bytes of a file: it shares blocks, it has a second name of it, or it has a copy."""


@dataclass(slots=True)
class Keeping:
    """Takes, gives and drops what pins hold.

    `restamp` is told, in the event loop, that a file got or lost a name: its attributes before and after that.
    """

    kept: Kept
    pins: Pins
    plain_dev: int
    restamp: Callable[[os.stat_result, os.stat_result], None]
    files: Locks[PinnedFile] = field(default_factory=Locks)
    """Held by who takes or replaces the bytes of a file."""
    _second_names: dict[int, PinnedFile] = field(default_factory=dict)
    """By inode, the files that have a second name in the store, be it one that is still to be committed."""
    _parting: trio.Lock = field(default_factory=trio.Lock)
    _limiter: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(2))

    def __post_init__(self) -> None:
        self._second_names.update((st.st_ino, file) for file, st in self.kept.stats() if st.st_nlink > 1)

    def has_second_name(self, dev: int, ino: int) -> bool:
        """Whether one of the names of a file of the plain directory is in the store."""
        return ino in self._second_names and dev == self.plain_dev

    async def take(self, file: PinnedFile, source: int) -> How:
        """Have the bytes of an open file, on disk, under a name that is still to be committed. Raises StoreError."""
        try:
            self.drop_new(file)
            if await trio.to_thread.run_sync(self._share, file, source, limiter=self._limiter):
                return "shared"
            if self._link(file, source):
                await trio.to_thread.run_sync(os.fsync, source, limiter=self._limiter)
                return "linked"
            await trio.to_thread.run_sync(self._copy, file, source, limiter=self._limiter)
            return "copied"
        except OSError as error:
            with suppress(OSError):
                self.drop_new(file)
            raise _failed(file, error) from error

    async def keep_table(self, file: PinnedFile, table: bytes) -> None:
        """Keep the table of a file's leaves, for `commit`; on disk once all names are (`sync`). Raises OSError."""
        if cid.codec(file.root) != cid.RAW:  # a raw root is its only leaf
            await trio.to_thread.run_sync(self.kept.keep_table, file, table, limiter=self._limiter)

    def commit(self, file: PinnedFile) -> None:
        """What was taken is what is kept of a file from now on. Raises OSError."""
        with self._losing_name(file):
            fd = self.kept.open_new(file)
            try:
                before = os.fstat(fd)
                self.kept.commit(file)
                self.restamp(before, os.fstat(fd))
            finally:
                os.close(fd)

    @contextmanager
    def _losing_name(self, file: PinnedFile) -> Iterator[None]:
        """While the block runs another file takes the name by which one is kept, if one is."""
        try:
            fd = self.kept.open_file(file)
        except OSError:
            yield
            return
        try:
            before = os.fstat(fd)
            yield
            kept_now = self.kept.stat(file)
            if kept_now is None or kept_now.st_ino != before.st_ino:
                self._lost_name(before, fd)
        finally:
            os.close(fd)

    async def sync(self) -> None:
        """Return when all names of what is kept are on disk. Raises StoreError."""
        try:
            await trio.to_thread.run_sync(self.kept.sync, limiter=self._limiter)
        except OSError as error:
            raise StoreError(f"what is pinned cannot be brought to the disk: {error.strerror}") from error

    async def drop(self, file: PinnedFile) -> int:
        """Have the bytes of a file no longer. Returns how many bytes the disk gets back. Never raises."""
        try:
            fd = self.kept.open_file(file)
        except OSError:
            return 0
        try:
            before = os.fstat(fd)
            self.kept.tables.discard(*file)
            self.kept.tables.discard_table(*file)
            self._lost_name(before, fd)
        finally:
            await trio.to_thread.run_sync(os.close, fd, limiter=self._limiter)  # which frees its blocks
        return before.st_blocks * 512 if before.st_nlink == 1 else 0

    async def before_change(self, dev: int, ino: int) -> None:
        """The bytes of a file are about to be changed in place, sealed or not: what a pin holds of them becomes a file
        of its own, however long that takes. Where it cannot, that is logged, and the pin has to be made again."""
        if not self.has_second_name(dev, ino):
            return
        async with self._parting:  # one after the other: files of one content are copied to one name
            if (file := self._second_names.get(ino)) is not None:
                await self._make_apart(file, ino)

    async def _make_apart(self, file: PinnedFile, ino: int) -> None:
        try:
            fd = self._open_second_name(file, ino)
        except OSError:
            self._second_names.pop(ino, None)  # it was removed beneath
            return
        try:
            await trio.to_thread.run_sync(self._copy_apart, file, fd, limiter=self._limiter)
            self._part(file, fd)
            await trio.to_thread.run_sync(self.kept.sync, limiter=self._limiter)
        except OSError as error:
            log.error("%s is pinned, and is no longer kept: %s", cid.to_text(file.root), error)
            self._let_go(file, fd)
        finally:
            os.close(fd)

    async def replaced(self, old: os.stat_result, new: int) -> None:
        """A file rotted, and an open one that holds what it should took its place in the plain directory: a pin that
        shares the old one shares the new one from now on. Where it cannot, that is logged, and it has neither."""
        async with self._parting:
            file = self._second_names.get(old.st_ino) if old.st_dev == self.plain_dev else None
            if file is None:
                return
            try:
                fd = self._open_second_name(file, old.st_ino)
            except OSError:
                return
            try:
                before = os.fstat(new)
                self.kept.link_apart(file, new)
                self._part(file, fd)
                self._second_names[before.st_ino] = file
                self.restamp(before, os.fstat(new))
                await trio.to_thread.run_sync(self.kept.sync, limiter=self._limiter)
            except OSError as error:
                log.error("%s is pinned, rotted, and is no longer kept: %s", cid.to_text(file.root), error)
                self._let_go(file, fd)
            finally:
                os.close(fd)

    def drop_new(self, file: PinnedFile) -> None:
        """What was taken is not to be kept. Raises OSError."""
        try:
            fd = self.kept.open_new(file)
        except FileNotFoundError:
            return
        try:
            before = os.fstat(fd)
            self.kept.drop_new(file)
            self._lost_name(before, fd)
        finally:
            os.close(fd)

    def _open_second_name(self, file: PinnedFile, ino: int) -> int:
        """A descriptor of a file by its name in the store, committed or not. Raises OSError."""
        for opened in (self.kept.open_file, self.kept.open_new):
            with suppress(FileNotFoundError):
                fd = opened(file)
                if os.fstat(fd).st_ino == ino:
                    return fd
                os.close(fd)
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), kept.name(file))

    def _part(self, file: PinnedFile, fd: int) -> None:
        """Put the copy that was made in the place of the second name; that may have been committed, or removed,
        meanwhile. Raises OSError."""
        before = os.fstat(fd)
        self.kept.put_apart(file, before.st_ino)
        self._lost_name(before, fd)

    def _let_go(self, file: PinnedFile, fd: int) -> None:
        """Have a file's second name no longer. Never raises."""
        before = os.fstat(fd)
        self.kept.remove_names_of(file, before.st_ino)
        self._lost_name(before, fd)

    def _lost_name(self, before: os.stat_result, fd: int) -> None:
        self._second_names.pop(before.st_ino, None)
        self.restamp(before, os.fstat(fd))

    async def give(self, extents: Extents, file: PinnedFile) -> None:
        """Give the extent of a root what a pin holds of it, where there is no extent yet. Never raises: what is not
        given is fetched."""
        if not self.pins.holds(file.root) or self.kept.stat(file) is None or extents.has(*file):
            return
        try:
            await trio.to_thread.run_sync(self._give, extents, file, limiter=self._limiter)
        except OSError as error:
            log.warning("what is kept of %s cannot be used: %s", cid.to_text(file.root), error)

    def _give(self, extents: Extents, file: PinnedFile) -> None:
        new = extents.name(*file) + kept.NEW
        source = self.kept.open_file(file)
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
            target = os.open(new, flags, 0o600, dir_fd=extents.fd)
            try:
                if not moving.share(source, target):
                    moving.copy(source, target)
            finally:
                os.close(target)
        finally:
            os.close(source)
        os.rename(new, extents.name(*file), src_dir_fd=extents.fd, dst_dir_fd=extents.fd)

    def _share(self, file: PinnedFile, source: int) -> bool:
        target = self.kept.make(file)
        try:
            if moving.share(source, target):
                os.fsync(target)
                return True
            return False
        finally:
            os.close(target)

    def _link(self, file: PinnedFile, source: int) -> bool:
        before = os.fstat(source)
        try:
            self.kept.link(file, source)
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
            return False
        self._second_names[before.st_ino] = file
        self.restamp(before, os.fstat(source))
        return True

    def _copy(self, file: PinnedFile, source: int) -> None:
        _copied(source, self.kept.make(file))

    def _copy_apart(self, file: PinnedFile, source: int) -> None:
        _copied(source, self.kept.make_apart(file))


def _copied(source: int, target: int) -> None:
    """Copy a file into an empty one, on disk, whose descriptor is closed. Raises OSError."""
    try:
        moving.copy(source, target)
        os.fsync(target)
    finally:
        os.close(target)


def _failed(file: PinnedFile, error: OSError) -> StoreError:
    kind = NoRoom if error.errno in _FULL else StoreError
    return kind(f"{cid.to_text(file.root)} cannot be kept in the store: {error.strerror}")
