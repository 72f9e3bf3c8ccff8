"""How both databases are opened, and what becomes of SQLite's errors."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from ipfsfs.errors import StoreError

_SIDE_FILES = ("-wal", "-shm", "-journal")


@dataclass(slots=True, frozen=True)
class DatabaseFile:
    """A database file of ours, and its write-ahead log, as they were when they were opened."""

    path: Path
    main: tuple[int, int]
    wal: tuple[int, int]

    @classmethod
    def at(cls, path: Path) -> DatabaseFile:
        """The file that is open now. Call it after a first write: only then is there a log. Raises OSError."""
        return cls(path, _file_id(path), _file_id(_beside(path, "-wal")))

    def healthy(self) -> str:
        """Empty, or why what is written from now on would be lost or fail. SQLite itself does not notice."""
        for path, opened in ((self.path, self.main), (_beside(self.path, "-wal"), self.wal)):
            try:
                found = _file_id(path)
            except FileNotFoundError:
                return f"{path.name} was deleted"
            except OSError as error:
                return f"{path.name} cannot be reached: {error.strerror}"
            if found != opened:
                return f"{path.name} was replaced"
            if not os.access(path, os.W_OK):
                return f"{path.name} cannot be written"
        return ""


def connect(path: Path, *, synchronous: Literal["OFF", "FULL"], busy_ms: int) -> sqlite3.Connection:
    """A connection in WAL mode, without implicit transactions; the file is made where there is none, mode 0600.

    The VFS is unix-excl: nobody else may open the file meanwhile, and the index of the log is in memory of ours. In a
    shared memory file, somebody who truncates that file kills the daemon with SIGBUS.

    Raises sqlite3.Error and OSError.
    """
    # Never a second descriptor of a file that is open already: closing it would give back SQLite's locks (fcntl(2)).
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        if path.is_symlink():
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), os.fspath(path)) from None
    uri = f"file:{quote(os.fsencode(path))}?vfs=unix-excl"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=busy_ms / 1000, check_same_thread=False)
    try:
        connection.text_factory = _lenient_text
        (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise sqlite3.OperationalError(f"journal mode is {mode}, not wal")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        # What is dropped is gone: a file that has become a secret must leave no digest behind in a free page.
        connection.execute("PRAGMA secure_delete = ON")
    except BaseException:
        connection.close()
        raise
    return connection


def set_durability(connection: sqlite3.Connection, synchronous: Literal["OFF", "FULL"]) -> None:
    """From now on, wait for the disk at every commit and checkpoint ("FULL"), or never ("OFF")."""
    connection.execute(f"PRAGMA synchronous = {synchronous}")


def checkpoint(connection: sqlite3.Connection) -> None:
    """Bring all of the log into the database file. Raises sqlite3.Error, also where a reader is in the way."""
    busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if busy:
        raise sqlite3.OperationalError("database is locked")


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """What is written within takes effect as a whole, or, where anything is raised, not at all."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # On some errors (a full disk) SQLite has rolled back by itself.
        if connection.in_transaction:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
        raise


def fsync_directory(path: Path) -> None:
    """Return when the names in a directory are on disk. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def remove(path: Path) -> None:
    """Remove a database and what SQLite keeps beside it. Raises OSError."""
    for name in (path, *(_beside(path, suffix) for suffix in _SIDE_FILES)):
        with suppress(FileNotFoundError):
            name.unlink()


def broken(path: Path, error: Exception) -> StoreError:
    """What SQLite or the filesystem said about a database, as an error of ours."""
    return StoreError(f"{path}: {error}")


def signed(number: int) -> int:
    """An unsigned 64-bit number (an inode, a checksum) as SQLite holds it."""
    return number - (1 << 64) if number >= 1 << 63 else number


def unsigned(number: int) -> int:
    """The reverse of `signed`."""
    return number & 0xFFFF_FFFF_FFFF_FFFF


def _lenient_text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _file_id(path: Path) -> tuple[int, int]:
    st = os.stat(path, follow_symlinks=False)
    return st.st_dev, st.st_ino
