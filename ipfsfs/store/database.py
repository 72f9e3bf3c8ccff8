"""What index and ledger share: opening, format, transactions, health, and what becomes of SQLite's errors."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from urllib.parse import quote

from ipfsfs.errors import NoRoom, StoreError

_SIDE_FILES: Final = ("-wal", "-shm", "-journal")
_PAGE_BYTES: Final = 4096
"""What SQLite writes at a time, unless told otherwise."""


@dataclass(slots=True, frozen=True)
class File:
    """A database's file: its name in the store's directory, which a descriptor holds.

    The path of that directory is never used: who may rename a directory on it could lead us elsewhere.
    """

    directory_fd: int
    name: str

    def __str__(self) -> str:
        """Its path as it is now, for messages."""
        return os.path.join(os.readlink(f"/proc/self/fd/{self.directory_fd}"), self.name)

    def beside(self, suffix: str) -> File:
        """What SQLite keeps beside it under its name and a suffix."""
        return File(self.directory_fd, self.name + suffix)

    def exists(self) -> bool:
        """Whether there is anything of this name. Raises OSError."""
        try:
            self.stat()
        except FileNotFoundError:
            return False
        return True

    def stat(self) -> os.stat_result:
        """Its attributes; those of a symlink are its own. Raises OSError."""
        return os.stat(self.name, dir_fd=self.directory_fd, follow_symlinks=False)

    def create(self) -> None:
        """Make it, empty and for us alone, where it is not there. Raises OSError, also for what is no regular file."""
        # Never a second descriptor of a file that is open already: closing it would give back SQLite's locks (fcntl(2))
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            os.close(os.open(self.name, flags, 0o600, dir_fd=self.directory_fd))
        except FileExistsError:
            if not stat.S_ISREG(self.stat().st_mode):
                raise OSError(errno.ELOOP, "it is no regular file", self.name) from None

    def remove(self) -> None:
        """Remove it and what SQLite keeps beside it. Raises OSError."""
        for file in (self, *(self.beside(suffix) for suffix in _SIDE_FILES)):
            with suppress(FileNotFoundError):
                os.unlink(file.name, dir_fd=file.directory_fd)

    def put_aside(self, suffix: str) -> None:
        """Rename it to its name and a suffix, and remove what SQLite keeps beside it. Raises OSError."""
        aside = self.beside(suffix)
        os.rename(self.name, aside.name, src_dir_fd=self.directory_fd, dst_dir_fd=aside.directory_fd)
        self.remove()


class Unusable(Exception):
    """A database cannot serve as what it is to be opened as; says why, as a clause that begins with "it"."""


@dataclass(slots=True, frozen=True)
class Schema:
    """What a database of ours holds.

    `name` is what messages call it. `application` is its mark (PRAGMA application_id). `formats` are its versions
    (PRAGMA user_version), of which the first is 1: each is the SQL that makes it of the version before.
    """

    name: str
    application: int
    formats: tuple[str, ...]

    def prepare(self, connection: sqlite3.Connection) -> bool:
        """Bring a database to the newest format; returns whether it is a new one. Raises Unusable and sqlite3.Error."""
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        is_new = application == version == 0 and not _columns(connection)
        if not is_new and application != self.application:
            raise Unusable(f"it is no {self.name} of ipfsfs")
        if version > len(self.formats):
            raise Unusable(f"it has format {version}, and this version of ipfsfs knows formats up to {self._newest}")
        if version < self._newest:
            with transaction(connection):
                for statement in _statements("".join(self.formats[version:])):
                    connection.execute(statement)
                connection.execute(f"PRAGMA application_id = {self.application}")
                connection.execute(f"PRAGMA user_version = {self._newest}")
        if missing := self._expected() - _columns(connection):
            raise Unusable("it lacks {}.{}".format(*min(missing)))
        return is_new

    @property
    def _newest(self) -> int:
        return len(self.formats)

    def _expected(self) -> set[tuple[str, str]]:
        with closing(sqlite3.connect(":memory:")) as fresh:
            fresh.executescript("".join(self.formats))
            return _columns(fresh)


@dataclass(slots=True)
class Database:
    """An open database. All methods may be called from any thread, one waiting for the other; they may wait for the
    disk, and raise StoreError where SQLite fails them."""

    file: File
    is_new: bool
    """Whether it was made by opening it."""
    _connection: sqlite3.Connection
    _main: tuple[int, int]
    _wal: tuple[int, int]
    """Device and inode of the file and of its write-ahead log, as they were opened."""
    _turn: threading.RLock = field(default_factory=threading.RLock)

    @classmethod
    def open(cls, file: File, schema: Schema, *, busy_ms: int) -> Database:
        """Open a database, or make an empty one, whose name is not on disk yet. Each commit waits for the disk.

        Raises Unusable, sqlite3.Error and OSError.
        """
        connection = connect(file, synchronous="FULL", busy_ms=busy_ms)
        try:
            is_new = schema.prepare(connection)
            return cls(file, is_new, connection, _identity(file), _identity(file.beside("-wal")))
        except BaseException:
            connection.close()
            raise

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        with self.using() as connection:
            return connection.execute(sql, values).fetchall()

    def write(self, *changes: tuple[str, Sequence[Any]]) -> None:
        """Make changes, each a statement and its values; all of them or none."""
        with self._writing() as connection:
            for sql, values in changes:
                connection.execute(sql, values)

    def write_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run one statement for each of many rows of values; for all of them or for none."""
        with self._writing() as connection:
            connection.executemany(sql, rows)

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        # SQLite would go on writing to files that have no name any more, and call that durable.
        if why := self.trouble():
            raise StoreError(f"{self.file}: {why}")
        with self.using() as connection, transaction(connection):
            yield connection

    @contextmanager
    def using(self) -> Iterator[sqlite3.Connection]:
        """The connection, for this thread alone. What SQLite raises within becomes a StoreError."""
        with self._turn:
            try:
                yield self._connection
            except (sqlite3.Error, MemoryError) as error:
                raise broken(self.file, error) from error

    def set_durability(self, synchronous: Literal["OFF", "FULL"]) -> None:
        """From now on, wait for the disk at every commit and checkpoint ("FULL"), or never ("OFF")."""
        with self.using() as connection:
            connection.execute(f"PRAGMA synchronous = {synchronous}")

    def make_durable(self) -> None:
        """Return when everything written so far is on disk, in the file itself, where durability is "OFF"."""
        with self.using() as connection:
            self.set_durability("FULL")
            try:
                busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                if busy:
                    raise sqlite3.OperationalError("database is locked")
            finally:
                self.set_durability("OFF")

    def reserve_log(self, size: int) -> None:
        """Have room for `size` bytes in the log, if the disk has it, and begin the log anew before it is used up: so
        much can be written on a full disk, too. To be called before anything else. Raises StoreError."""
        with self.using() as connection:
            connection.execute(f"PRAGMA wal_autocheckpoint = {size // _PAGE_BYTES // 2}")
        log = self.file.beside("-wal")
        # A second descriptor does no harm here: SQLite's locks are on the other file.
        fd = os.open(log.name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=log.directory_fd)
        before = os.fstat(fd).st_size
        try:
            os.posix_fallocate(fd, 0, size)
        except OSError:
            os.ftruncate(fd, before)
        finally:
            os.close(fd)

    def trouble(self) -> str:
        """Why what is written from now on would be lost or fail; empty where nothing is known to be wrong.

        SQLite itself does not notice that a file was deleted or replaced.
        """
        for file, opened in ((self.file, self._main), (self.file.beside("-wal"), self._wal)):
            try:
                found = _identity(file)
            except FileNotFoundError:
                return f"{file.name} was deleted"
            except OSError as error:
                return f"{file.name} cannot be reached: {error.strerror}"
            if found != opened:
                return f"{file.name} was replaced"
            if not os.access(file.name, os.W_OK, dir_fd=file.directory_fd):
                return f"{file.name} cannot be written"
        return ""

    def integrity(self) -> list[str]:
        """What SQLite finds wrong with the structure of the file; nothing where it is sound."""
        return [str(text) for (text,) in self.rows("PRAGMA integrity_check(20)") if text != "ok"]

    def close(self) -> None:
        """Close it. Never raises."""
        with self._turn, suppress(sqlite3.Error):
            self._connection.close()


def connect(file: File, *, synchronous: Literal["OFF", "FULL"], busy_ms: int) -> sqlite3.Connection:
    """A connection in WAL mode, without implicit transactions; the file is made where there is none, mode 0600.

    The VFS is unix-excl: no other process can open the database meanwhile, and the index of its log is in our memory.
    Were that index in a shared file, truncating the file would kill the daemon with SIGBUS.

    Raises sqlite3.Error and OSError.
    """
    file.create()
    # SQLite asks the kernel where that descriptor leads and uses the path it is told: it can do no other. Before
    # anything is read, what it opened is compared with what we hold. At the end, SQLite itself leaves alone what is
    # beside a path that does not lead to its file any more.
    uri = f"file:/proc/self/fd/{file.directory_fd}/{quote(file.name)}?vfs=unix-excl&mode=rw"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=busy_ms / 1000, check_same_thread=False)
    try:
        _refuse_another(connection, file)
        connection.text_factory = _lenient_text
        (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise sqlite3.OperationalError(f"journal mode is {mode}, not wal")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        # What is dropped is gone: a file that has become a secret must leave no digest behind in a free page.
        connection.execute("PRAGMA secure_delete = ON")
        # Files of its own would lie in TMPDIR, which may be below the mount point.
        connection.execute("PRAGMA temp_store = MEMORY")
    except BaseException:
        connection.close()
        raise
    return connection


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


def broken(file: File, error: Exception) -> StoreError:
    """What SQLite or the filesystem said about a database, as an error of ours: NoRoom where that may pass."""
    kind = NoRoom if is_no_room(error) else StoreError
    return kind(f"{file}: {error}")


def is_no_room(error: Exception) -> bool:
    """Whether an error says that a disk is full or a quota used up, which is no fault of the database."""
    if isinstance(error, sqlite3.Error):
        # SQLite tells a full disk from other errors, a quota it does not.
        return getattr(error, "sqlite_errorcode", None) in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE)
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def signed(number: int) -> int:
    """An unsigned 64-bit number (an inode, a checksum) as SQLite holds it."""
    return number - (1 << 64) if number >= 1 << 63 else number


def unsigned(number: int) -> int:
    """The reverse of `signed`."""
    return number & 0xFFFF_FFFF_FFFF_FFFF


def _columns(connection: sqlite3.Connection) -> set[tuple[str, str]]:
    """All tables of a database with each of their columns."""
    sql = "SELECT tables.name, columns.name FROM sqlite_schema AS tables, pragma_table_info(tables.name) AS columns"
    return set(connection.execute(sql + " WHERE tables.type = 'table'"))


def _statements(script: str) -> Iterator[str]:
    """The statements of a script, one at a time: `executescript` would commit what is open."""
    statement = ""
    for part in script.split(";"):
        statement += part + ";"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _lenient_text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _refuse_another(connection: sqlite3.Connection, file: File) -> None:
    """Raises OSError where SQLite has opened something else than a file."""
    connection.text_factory = os.fsdecode
    ((_, _, path),) = connection.execute("PRAGMA database_list")
    found = os.stat(path, follow_symlinks=False)
    if (found.st_dev, found.st_ino) != _identity(file):
        raise OSError(errno.ESTALE, "its directory was replaced", file.name)


def _identity(file: File) -> tuple[int, int]:
    st = file.stat()
    return st.st_dev, st.st_ino
