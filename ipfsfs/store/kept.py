"""What pins hold, in the store's own hands: `extents/pinned/`.

    <CID>.<size>         all bytes of a file: shared with the file it was taken from, by blocks or as a second name of
                         it, else a copy
    <CID>.<size>.leaves  the table of its leaves, as of an extent
    <CID>.car            the blocks of a pinned root that hold no bytes of files: directories, links, nodes of files

A name is there only once what stands at it is whole and on disk; before that it ends with `.new`, or with `.apart`
where it is to be the copy of a file that is about to change. Which pin holds what
is in the ledger: what none holds may be removed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ipfsfs.errors import FormatError, StoreError
from ipfsfs.store.directory import open_directory
from ipfsfs.store.extents import Extents, extent_name
from ipfsfs.store.names import names_in
from ipfsfs.store.tables.pins import PinnedFile
from ipfsfs.unixfs import cid

DIRECTORY: Final = "pinned"
"""Its name in the directory of extents."""
NEW: Final = ".new"
APART: Final = ".apart"
CAR: Final = ".car"
_TABLE: Final = ".leaves"
_DIRECTORY_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(slots=True)
class Kept:
    """The directory, by a descriptor of it."""

    fd: int
    tables: Extents = field(init=False)
    """Reads and keeps the tables of leaves that lie in it."""

    def __post_init__(self) -> None:
        self.tables = Extents(self.fd)

    @classmethod
    def open(cls, extents_fd: int) -> Kept:
        """Open the directory, which is made where there is none. Raises OSError."""
        with suppress(FileExistsError):
            os.mkdir(DIRECTORY, 0o700, dir_fd=extents_fd)
        return cls(os.open(DIRECTORY, _DIRECTORY_FLAGS, dir_fd=extents_fd))

    @classmethod
    @contextmanager
    def of(cls, store: Path) -> Iterator[Kept]:
        """The directory in a store that another process may have open, while the block runs. Raises StoreError."""
        try:
            directory = open_directory(store / "extents")
            try:
                found = cls.open(directory)
            finally:
                os.close(directory)
        except OSError as error:
            raise StoreError(f"what the store {store} keeps cannot be read: {error.strerror}") from error
        try:
            yield found
        finally:
            found.close()

    def close(self) -> None:
        """Close it."""
        os.close(self.fd)

    def stat(self, file: PinnedFile) -> os.stat_result | None:
        """What is kept of a file; None where that is nothing, or not of its size."""
        try:
            st = os.stat(name(file), dir_fd=self.fd, follow_symlinks=False)
        except OSError:
            return None
        return st if stat.S_ISREG(st.st_mode) and st.st_size == file.size else None

    def stats(self) -> Iterator[tuple[PinnedFile, os.stat_result]]:
        """All files of which something is kept, with the attributes of that. Raises OSError."""
        for one in names_in(self.fd):
            if (file := file_of(one)) is not None and (st := self.stat(file)) is not None:
                yield file, st

    def tables_of(self) -> Iterator[PinnedFile]:
        """The files whose tables are kept: those of several leaves. Raises OSError."""
        for one in names_in(self.fd):
            if one.endswith(_TABLE) and (file := file_of(one.removesuffix(_TABLE))) is not None:
                yield file

    def holds(self, file: PinnedFile) -> bool:
        """Whether all bytes of a file are kept. An empty one needs no keeping."""
        return not file.size or self.stat(file) is not None

    def open_file(self, file: PinnedFile) -> int:
        """A descriptor of what is kept of a file, for reading. Raises OSError."""
        return os.open(name(file), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.fd)

    def open_new(self, file: PinnedFile) -> int:
        """A descriptor of what is not committed yet. Raises OSError."""
        return os.open(name(file) + NEW, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.fd)

    def make(self, file: PinnedFile) -> int:
        """A descriptor of an empty file that is to be `commit`ted once it holds a file's bytes. Raises OSError."""
        return self._make(name(file) + NEW)

    def make_apart(self, file: PinnedFile) -> int:
        """A descriptor of an empty file for `put_apart`. Raises OSError."""
        return self._make(name(file) + APART)

    def link_apart(self, file: PinnedFile, fd: int) -> None:
        """The same as `make_apart`, by a second name of an open file. Raises OSError as `link`."""
        self._unlink(name(file) + APART)
        os.link(f"/proc/self/fd/{fd}", name(file) + APART, dst_dir_fd=self.fd, follow_symlinks=True)

    def _make(self, path: str) -> int:
        self._unlink(path)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(path, flags, 0o600, dir_fd=self.fd)

    def put_apart(self, file: PinnedFile, ino: int) -> None:
        """Put what was made apart in the place of the names, committed or not, by which an inode is kept; remove it
        where there is none (any more). Raises OSError."""
        apart = name(file) + APART
        first, *others = self._names_of(file, ino) or [""]
        for one in others:
            os.unlink(one, dir_fd=self.fd)
        if first:
            os.rename(apart, first, src_dir_fd=self.fd, dst_dir_fd=self.fd)
        else:
            os.unlink(apart, dir_fd=self.fd)

    def remove_names_of(self, file: PinnedFile, ino: int) -> None:
        """Remove the name by which an inode is kept, and what was made apart from it. Never raises."""
        for one in (*self._names_of(file, ino), name(file) + APART):
            with suppress(OSError):
                os.unlink(one, dir_fd=self.fd)

    def _names_of(self, file: PinnedFile, ino: int) -> list[str]:
        found: list[str] = []
        for one in (name(file), name(file) + NEW):
            with suppress(OSError):
                if os.stat(one, dir_fd=self.fd, follow_symlinks=False).st_ino == ino:
                    found.append(one)
        return found

    def link(self, file: PinnedFile, fd: int) -> None:
        """Give an open file of another directory a second name, to be `commit`ted. Raises OSError: EXDEV where it lies
        on another filesystem, EPERM where it is another user's."""
        self.drop_new(file)
        os.link(f"/proc/self/fd/{fd}", name(file) + NEW, dst_dir_fd=self.fd, follow_symlinks=True)

    def drop_new(self, file: PinnedFile) -> None:
        """Remove what was not committed. Raises OSError."""
        self._unlink(name(file) + NEW)

    def _unlink(self, path: str) -> None:
        with suppress(FileNotFoundError):
            os.unlink(path, dir_fd=self.fd)

    def commit(self, file: PinnedFile) -> None:
        """What was made or linked, and is on disk, is what is kept of a file from now on. Raises OSError."""
        os.rename(name(file) + NEW, name(file), src_dir_fd=self.fd, dst_dir_fd=self.fd)
        self.drop_new(file)  # rename(2) does nothing where both are names of one file

    def keep_table(self, file: PinnedFile, table: bytes) -> None:
        """Keep the table of a file's leaves, without which it is read by no root; on disk, but for its name.

        Raises OSError.
        """
        self.tables.keep_table(*file, table)
        fd = os.open(name(file) + _TABLE, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.fd)
        try:
            os.fdatasync(fd)
        finally:
            os.close(fd)

    def has_nodes(self, root: bytes) -> bool:
        """Whether the blocks of a root that hold no bytes of files are kept; a raw block has none."""
        return cid.codec(root) == cid.RAW or os.access(car_name(root), os.R_OK, dir_fd=self.fd, follow_symlinks=False)

    def keep_nodes(self, root: bytes, pieces: Iterable[bytes]) -> None:
        """Keep these blocks, which come as the pieces of a CAR; on disk when this returns. Raises OSError."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(car_name(root) + NEW, flags, 0o600, dir_fd=self.fd), "wb") as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
        os.rename(car_name(root) + NEW, car_name(root), src_dir_fd=self.fd, dst_dir_fd=self.fd)

    def sync(self) -> None:
        """Return when all names are on disk. Raises OSError."""
        os.fsync(self.fd)

    def discard_nodes(self, root: bytes) -> None:
        """Remove the nodes of a root. Never raises."""
        with suppress(OSError):
            os.unlink(car_name(root), dir_fd=self.fd)

    def strays(self, files: Iterable[PinnedFile], roots: Iterable[bytes]) -> list[str]:
        """The names of what is kept and belongs to none of these files and roots; what is being made for one of them is
        none. Raises OSError."""
        known = {DIRECTORY}
        for file in files:
            known |= {name(file), name(file) + _TABLE, name(file) + APART}
            known.add(car_name(file.root))
        known.update(car_name(root) for root in roots)
        return [one for one in names_in(self.fd) if one.removesuffix(NEW) not in known]


def bytes_in_store(extents: Extents) -> dict[str, int]:
    """How many bytes the store has of files, by the names of their extents: all of those that pins hold.
    Raises OSError."""
    found = {one.name: one.bytes for one in extents.each()}
    kept = Kept.open(extents.fd)
    try:
        return found | {extent_name(file.root, file.size): file.size for file, _ in kept.stats()}
    finally:
        kept.close()


def name(file: PinnedFile) -> str:
    """The name of a file's bytes in the directory."""
    return f"{cid.to_text(file.root)}.{file.size}"


def file_of(text: str) -> PinnedFile | None:
    """The file whose bytes have a name in the directory; None for other names."""
    root, _, size = text.partition(".")
    try:
        return PinnedFile(cid.from_text(root), int(size)) if size.isascii() and size.isdigit() else None
    except FormatError:
        return None


def new_path(file: PinnedFile) -> str:
    """The path, from the directory of extents, of what is not committed yet."""
    return f"{DIRECTORY}/{name(file)}{NEW}"


def car_name(root: bytes) -> str:
    """The name of a root's nodes in the directory."""
    return cid.to_text(root) + CAR
