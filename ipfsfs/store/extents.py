"""Extents: sparse files in the store that hold those leaves of a root which are here.

An extent is named by the CID of its root and its size, which a link may lie about: `<CID>.<size>`. Which leaves it
holds is not recorded: each is compared with its CID before it counts as here. Beside an extent lies the table of its
leaves, `<CID>.<size>.leaves`, with a checksum, so that what is here can be read without asking an origin. All of it may
be removed at any time: it costs what has to be fetched again.
"""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Lock
from typing import Final, NamedTuple

import xxhash

from ipfsfs.errors import FormatError
from ipfsfs.store.names import names_in
from ipfsfs.unixfs import cid

_TABLE: Final = ".leaves"
_NEW: Final = ".new"
_HEALING: Final = ".healing"
_FORGOTTEN_S: Final = 7 * 86_400
"""How long what was begun to heal a file is kept for another try."""
_LINGERING: Final = ".lingering"
_REMOVED: Final = ".removed"
_SUM_SIZE: Final = 8
_NOT_OURS: Final = (errno.ELOOP, errno.EACCES)
_FLAGS: Final = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC


_BLOCK: Final = 512
"""The unit of `st_blocks`."""


def extent_name(root: bytes, size: int) -> str:
    """The name of an extent."""
    return f"{cid.to_text(root)}.{size}"


class Kept(NamedTuple):
    """An extent or the table of one, or the beginning of either. `bytes`: that it takes on the disk. `used_ns`: when it
    was read or written last, since the epoch."""

    name: str
    root: bytes
    size: int
    bytes: int
    used_ns: int

    @property
    def is_extent(self) -> bool:
        """Whether it holds leaves."""
        return not self.name.endswith((_TABLE, _NEW))


@dataclass(slots=True)
class Extents:
    """The directory of extents, by a descriptor of it. `below`: the path in it of those that are meant."""

    fd: int
    below: str = ""
    _writing: Lock = field(default_factory=Lock)
    """Held while a table is written: several threads may keep that of one root."""

    def name(self, root: bytes, size: int) -> str:
        """The path of an extent from the directory."""
        return self.below + extent_name(root, size)

    def bytes_here(self, root: bytes, size: int) -> int:
        """The bytes on disk of an extent; 0 where there is none."""
        try:
            return os.stat(self.name(root, size), dir_fd=self.fd, follow_symlinks=False).st_blocks * _BLOCK
        except OSError:
            return 0

    def leave(self) -> None:
        """From now on use a directory of this process's own: another daemon has the store. Never raises: where that
        cannot be made, what needs it fails."""
        own = f"{os.getpid()}{_LINGERING}"
        self.below = own + "/"
        with suppress(OSError):
            os.mkdir(own, 0o700, dir_fd=self.fd)

    def healing_name(self, key: str) -> str:
        """The path, from the directory, of what is to take the place of a damaged file; `key` tells its content."""
        return f"{self.below}{key}{_HEALING}"

    def open_healing(self, key: str) -> int:
        """A descriptor of that, which holds what was had of it before. The caller closes it. Raises OSError."""
        return self._open(self.healing_name(key))

    def whole_key(self, root: bytes, size: int) -> str:
        """The key of what is to be the extent of a root once all of it is here and compared."""
        return f"{extent_name(root, size)}.whole"

    def adopt(self, key: str, root: bytes, size: int) -> None:
        """What was had under a key is the extent of a root from now on. Raises OSError."""
        os.rename(self.healing_name(key), self.name(root, size), src_dir_fd=self.fd, dst_dir_fd=self.fd)

    def drop_healing(self, key: str) -> None:
        """Remove that. Never raises."""
        with suppress(OSError):
            os.unlink(self.healing_name(key), dir_fd=self.fd)

    def clear(self) -> None:
        """Remove what is of no use any more: the directories that processes had of their own which are over, what was
        set aside, and what was to heal files long ago. Never raises."""
        try:
            names = names_in(self.fd)
        except OSError:
            return
        for name in names:
            if name.endswith(_LINGERING) and not _is_running(name.removesuffix(_LINGERING)):
                with suppress(OSError):
                    shutil.rmtree(name, dir_fd=self.fd)
            elif name.endswith(_REMOVED):
                self.remove(name)
            elif name.endswith(_HEALING):
                with suppress(OSError):
                    if os.stat(name, dir_fd=self.fd, follow_symlinks=False).st_mtime < time.time() - _FORGOTTEN_S:
                        os.unlink(name, dir_fd=self.fd)

    def has(self, root: bytes, size: int) -> bool:
        """Whether there is an extent of a root, whatever is in it."""
        return os.path.lexists(f"/proc/self/fd/{self.fd}/{self.name(root, size)}")

    def open(self, root: bytes, size: int) -> int:
        """A descriptor of the extent of a root, which is made where there is none. The caller closes it.

        Raises OSError.
        """
        name = self.name(root, size)
        try:
            fd = self._open(name)
        except OSError as error:
            if error.errno not in _NOT_OURS:
                raise
            # A link that had changed places with an extent when the machine stopped, or an extent that was about to.
            os.unlink(name, dir_fd=self.fd)
            fd = self._open(name)
        try:
            if os.fstat(fd).st_size != size:
                os.ftruncate(fd, size)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _open(self, name: str) -> int:
        return os.open(name, _FLAGS | os.O_CREAT, 0o600, dir_fd=self.fd)

    def discard(self, root: bytes, size: int) -> None:
        """Remove the extent of a root. The table of its leaves stays: other links may stand for it. Never raises."""
        with suppress(OSError):
            os.unlink(self.name(root, size), dir_fd=self.fd)

    def discard_table(self, root: bytes, size: int) -> None:
        """Remove the table of the leaves of a root. Never raises."""
        with suppress(OSError):
            os.unlink(self.name(root, size) + _TABLE, dir_fd=self.fd)

    def each(self) -> list[Kept]:
        """All extents and tables, and nothing else: not what is set aside, nor what is in use by other names.

        Raises OSError.
        """
        found: list[Kept] = []
        for name in names_in(self.fd):
            content = _content(name)
            if content is not None:
                with suppress(FileNotFoundError):
                    st = os.stat(name, dir_fd=self.fd, follow_symlinks=False)
                    found.append(Kept(name, *content, st.st_blocks * _BLOCK, st.st_mtime_ns))
        return found

    def with_tables(self) -> Iterator[tuple[bytes, int]]:
        """Root and size of each extent whose table is kept: those of files of several leaves. Raises OSError."""
        names = set(names_in(self.fd))
        for name in names:
            if name + _TABLE in names and (content := _content(name)) is not None:
                yield content

    def sizes(self) -> dict[bytes, set[int]]:
        """By root, the sizes that its extents are named by. Raises OSError."""
        found: dict[bytes, set[int]] = {}
        for kept in self.each():
            found.setdefault(kept.root, set()).add(kept.size)
        return found

    def aside_name(self) -> str:
        """A new name for what nobody needs from now on, or in a moment; what stays there goes with the next mount."""
        return f"{os.urandom(8).hex()}{_REMOVED}"

    def set_aside(self, kept: Kept) -> str:
        """Rename a file that nobody needs, so that nothing opens it any more; returns the name, for `remove`.

        Raises OSError.
        """
        aside = self.aside_name()
        os.rename(kept.name, aside, src_dir_fd=self.fd, dst_dir_fd=self.fd)
        return aside

    def remove(self, aside: str) -> None:
        """Remove what was set aside, which may take a while. Never raises."""
        with suppress(OSError):
            os.unlink(aside, dir_fd=self.fd)

    def read_table(self, root: bytes, size: int) -> bytes | None:
        """The table of the leaves of a root, as it was kept; None where there is none that is whole."""
        try:
            fd = os.open(self.name(root, size) + _TABLE, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.fd)
            with open(fd, "rb") as file:
                data = file.read()
        except OSError:
            return None
        table, checksum = data[:-_SUM_SIZE], data[-_SUM_SIZE:]
        return table if xxhash.xxh3_64_digest(table) == checksum else None

    def keep_table(self, root: bytes, size: int, table: bytes) -> None:
        """Keep the table of the leaves of a root. Not durably: it can be fetched again. Raises OSError."""
        name = self.name(root, size) + _TABLE
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with self._writing:
            with open(os.open(name + _NEW, flags, 0o600, dir_fd=self.fd), "wb") as file:
                file.write(table + xxhash.xxh3_64_digest(table))
            os.rename(name + _NEW, name, src_dir_fd=self.fd, dst_dir_fd=self.fd)

    def keep_table_durably(self, root: bytes, size: int, table: bytes) -> None:
        """The same, on disk when this returns: it is dear to have again. Waits for the disk. Raises OSError."""
        if self.read_table(root, size) != table:
            self.keep_table(root, size, table)
        fd = os.open(self.name(root, size) + _TABLE, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.fd)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
        os.fsync(self.fd)


def _is_running(pid: str) -> bool:
    return os.path.exists(f"/proc/{pid}")


def _content(name: str) -> tuple[bytes, int] | None:
    """The root and size that an extent, its table, or the beginning of that, is named by; None for all else."""
    root, _, size = name.removesuffix(_NEW).removesuffix(_TABLE).partition(".")
    try:
        return (cid.from_text(root), int(size)) if size.isdecimal() and size.isascii() else None
    except FormatError:
        return None
