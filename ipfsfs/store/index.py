"""The index: which files are sealed, and as what. It can always be made again by reading the files.

Hence nothing here waits for the disk, and any doubt ends in a new, empty index. After a power cut a database that was
never fsynced may hold anything: each row carries a checksum over all of itself, and one that does not fit is no row.
"""

from __future__ import annotations

import sqlite3
import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import xxhash

from ipfsfs.errors import StoreError
from ipfsfs.store import database
from ipfsfs.store.database import signed, unsigned
from ipfsfs.store.seal import LEAF_SIZE, Seal, boot_id, sums_size

_APPLICATION: Final = 0x69706678
_VERSION: Final = 1

_SCHEMA: Final = """
-- plain_root: "inode:birth time" of the plain directory the seals are of.
-- boot: the boot in which the index was last open.
-- closed: "1" if it was closed in order and is on disk, "0" while it is open.
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

-- One sealed file each; the columns are the fields of `Seal`. Numbers that may exceed 63 bits are stored as signed.
-- row_sum: XXH3-64 over all other columns as `_row_sum` packs them.
CREATE TABLE seals (
    ino INTEGER PRIMARY KEY,
    born_ns INTEGER NOT NULL,
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    ctime_ns INTEGER NOT NULL,
    seal_id INTEGER NOT NULL,
    leased INTEGER NOT NULL,
    settled INTEGER NOT NULL,
    row_sum INTEGER NOT NULL,
    chunker TEXT NOT NULL,
    boot TEXT NOT NULL,
    root BLOB NOT NULL,
    sha256 BLOB NOT NULL,
    sums BLOB NOT NULL,
    leaves BLOB NOT NULL
);
CREATE INDEX seals_by_root ON seals (root);
"""

_NAMES: Final = (
    "ino", "born_ns", "size", "mtime_ns", "ctime_ns", "seal_id", "leased", "settled", "row_sum", "chunker", "boot",
    "root", "sha256", "sums", "leaves",
)  # fmt: skip
_COLUMNS: Final = ", ".join(_NAMES)
_GET: Final = f"SELECT {_COLUMNS} FROM seals WHERE ino = ?"
_PUT: Final = f"INSERT OR REPLACE INTO seals ({_COLUMNS}) VALUES ({', '.join('?' * len(_NAMES))})"
_AFTER: Final = f"SELECT {_COLUMNS} FROM seals WHERE ino > ? ORDER BY ino LIMIT 256"

_NUMBERS: Final = struct.Struct("<6q2B5I")

_READ_BUSY_MS: Final = 50
_WRITE_BUSY_MS: Final = 2_000


@dataclass(slots=True, frozen=True)
class Totals:
    """How many files are sealed, their bytes and leaves together."""

    files: int
    bytes: int
    leaves: int


class _Unusable(Exception):
    """Why a file cannot serve as the index of this plain directory."""


@dataclass(slots=True)
class Index:
    """The open index. `reason` says why it was made anew; empty where it was not, or is the first.

    `get` uses a connection of its own and may be called from the event loop at any time. All other methods write or
    take long: they share a second connection, from whatever thread, one waiting for the other. All raise StoreError
    where the database fails them.
    """

    path: Path
    reason: str
    _reader: sqlite3.Connection
    _writer: sqlite3.Connection
    _file: database.DatabaseFile
    _turn: threading.RLock = field(default_factory=threading.RLock)

    @classmethod
    def open(cls, path: Path, *, plain_root: tuple[int, int], renew: bool = True) -> Index:
        """Open the index of the plain directory that has this inode and birth time (ns), or make an empty one.

        What is there and damaged, of another directory, or of another version is removed; without `renew` it stays, and
        StoreError says what it is. Raises StoreError also where no index can be made at all.
        """
        try:
            try:
                return cls._open(path, plain_root, "")
            except (_Unusable, sqlite3.Error) as error:
                if not renew:
                    raise
                database.remove(path)
                return cls._open(path, plain_root, str(error))
        except (_Unusable, sqlite3.Error, OSError) as error:
            raise database.broken(path, error) from error

    @classmethod
    def _open(cls, path: Path, plain_root: tuple[int, int], reason: str) -> Index:
        writer = database.connect(path, synchronous="FULL", busy_ms=_WRITE_BUSY_MS)
        try:
            root = f"{plain_root[0]}:{plain_root[1]}"
            boot = boot_id()
            _prepare(writer, root, boot)
            # That it is open must be on disk before anything that is not: see `_prepare`.
            writer.executemany(
                "INSERT OR REPLACE INTO meta VALUES (?, ?)", [("plain_root", root), ("boot", boot), ("closed", "0")]
            )
            database.set_durability(writer, "OFF")
            reader = database.connect(path, synchronous="OFF", busy_ms=_READ_BUSY_MS)
            return cls(path, reason, reader, writer, database.DatabaseFile.at(path))
        except BaseException:
            writer.close()
            raise

    def get(self, ino: int) -> Seal | None:
        """The seal of an inode; None where there is none, or its row is damaged."""
        try:
            rows = self._reader.execute(_GET, (signed(ino),)).fetchall()
        except (sqlite3.Error, MemoryError) as error:
            raise database.broken(self.path, error) from error
        return _seal(rows[0]) if rows else None

    def put(self, seals: Sequence[Seal]) -> None:
        """Enter seals, each instead of what there was for its inode; all of them or none."""
        rows = [_row(seal) for seal in seals]
        self._write(_PUT, rows)

    def drop(self, inos: Iterable[int]) -> None:
        """Forget the seals of inodes; all of them or none."""
        rows = [(signed(ino),) for ino in inos]
        self._write("DELETE FROM seals WHERE ino = ?", rows)

    def drop_seals(self, seals: Iterable[tuple[int, int]]) -> None:
        """Forget seals by inode and seal_id; what else there is for an inode stays. All of them or none."""
        rows = [(signed(ino), seal_id) for ino, seal_id in seals]
        self._write("DELETE FROM seals WHERE ino = ? AND seal_id = ?", rows)

    def restamp(self, ino: int, seal_id: int, ctime_ns: int) -> None:
        """Give a seal a new ctime: renames, links and chmods set it and leave content alone. No such seal: nothing."""
        self._amend(ino, seal_id, lambda seal: replace(seal, ctime_ns=ctime_ns))

    def mark_settled(self, ino: int, seal_id: int) -> None:
        """Note that the bytes of a seal are on disk. No such seal: nothing."""
        self._amend(ino, seal_id, lambda seal: replace(seal, settled=True))

    def totals(self) -> Totals:
        """How much is sealed."""
        sql = f"SELECT count(*), total(size), total(length(leaves)) / {LEAF_SIZE} FROM seals"
        files, size, leaves = self._rows(sql)[0]
        return Totals(files, int(size), int(leaves))

    def sealed(self, inos: Iterable[int]) -> dict[int, tuple[int, int, int, int]]:
        """Those of `inos` that are sealed, with size, mtime, ctime and birth time (ns) of the seal."""
        found = {}
        for ino in inos:
            for row in self._rows(_GET, (signed(ino),)):
                if (seal := _seal(row)) is not None:
                    found[ino] = (seal.size, seal.mtime_ns, seal.ctime_ns, seal.born_ns)
        return found

    def iterate(self) -> Iterator[Seal]:
        """Yields all seals whose rows are whole. What is entered or dropped meanwhile may or may not be among them."""
        for _, seal in self._scan():
            if seal is not None:
                yield seal

    def damaged(self) -> list[int]:
        """The inodes of rows that are not what was written."""
        return [ino for ino, seal in self._scan() if seal is None]

    def files_with_root(self, cid: bytes) -> list[int]:
        """The inodes of the files whose root is the raw CID `cid`."""
        found = []
        for (ino,) in self._rows("SELECT ino FROM seals WHERE root = ?", (cid,)):
            found += [ino for row in self._rows(_GET, (ino,)) if _seal(row) is not None]
        return [unsigned(ino) for ino in found]

    def make_durable(self) -> None:
        """Return when everything written so far is on disk."""
        with self._using_writer():
            database.set_durability(self._writer, "FULL")
            try:
                database.checkpoint(self._writer)
            finally:
                database.set_durability(self._writer, "OFF")

    def integrity(self) -> list[str]:
        """What SQLite finds wrong with the structure of its file; nothing where it is sound."""
        return [str(text) for (text,) in self._rows("PRAGMA integrity_check(20)") if text != "ok"]

    def healthy(self) -> str:
        """Empty, or why what is written would be lost: the file was deleted, replaced, or cannot be written."""
        return self._file.healthy()

    def close(self) -> None:
        """Bring it to disk and close it. Never raises: one that could not be closed in order is checked when opened."""
        with self._turn:
            try:
                if not self.healthy():
                    self._writer.execute("UPDATE meta SET value = '1' WHERE key = 'closed'")
                    self.make_durable()
            except (sqlite3.Error, StoreError):
                pass
            finally:
                self._close()

    def discard(self) -> None:
        """Remove it, so that it vouches for nothing from now on, and close it. Never raises."""
        with suppress(OSError):
            database.remove(self.path)
        with self._turn:
            self._close()

    def _close(self) -> None:
        for connection in (self._reader, self._writer):
            with suppress(sqlite3.Error):
                connection.close()

    def _amend(self, ino: int, seal_id: int, change: Callable[[Seal], Seal]) -> None:
        for row in self._rows(_GET, (signed(ino),)):
            seal = _seal(row)
            if seal is not None and seal.seal_id == seal_id:
                self.put([change(seal)])

    def _scan(self) -> Iterator[tuple[int, Seal | None]]:
        after = -(1 << 63)
        while rows := self._rows(_AFTER, (after,)):
            for row in rows:
                yield unsigned(row[0]), _seal(row)
            after = rows[-1][0]

    def _rows(self, sql: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        with self._using_writer():
            return self._writer.execute(sql, values).fetchall()

    def _write(self, sql: str, rows: list[tuple[Any, ...]]) -> None:
        with self._using_writer(), database.transaction(self._writer):
            self._writer.executemany(sql, rows)

    @contextmanager
    def _using_writer(self) -> Iterator[None]:
        with self._turn:
            try:
                yield
            except (sqlite3.Error, MemoryError) as error:
                raise database.broken(self.path, error) from error


def _prepare(writer: sqlite3.Connection, root: str, boot: str) -> None:
    """See that the database is an index of `root` that can be trusted; fill an empty one. Raises `_Unusable`."""
    (application,) = writer.execute("PRAGMA application_id").fetchone()
    (version,) = writer.execute("PRAGMA user_version").fetchone()
    (tables,) = writer.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if application == version == tables == 0:
        marks = f"PRAGMA application_id = {_APPLICATION}; PRAGMA user_version = {_VERSION};"
        writer.executescript(f"BEGIN; {_SCHEMA} {marks} COMMIT;")
        return
    if application != _APPLICATION:
        raise _Unusable("it was no index of ipfsfs")
    if version != _VERSION:
        raise _Unusable(f"it had format {version}, not {_VERSION}")
    meta = dict(writer.execute("SELECT key, value FROM meta"))
    writer.execute(f"SELECT {_COLUMNS} FROM seals LIMIT 1").fetchall()
    if meta.get("plain_root") != root:
        raise _Unusable("it was of another directory")
    if meta.get("closed") != "1" and meta.get("boot") != boot:
        # A killed process loses nothing, a stopped machine may have torn the file.
        (found,) = writer.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise _Unusable(f"it was damaged when the machine stopped: {found}")


def _row(seal: Seal) -> tuple[Any, ...]:
    return (
        signed(seal.ino),
        seal.born_ns,
        seal.size,
        seal.mtime_ns,
        seal.ctime_ns,
        seal.seal_id,
        int(seal.leased),
        int(seal.settled),
        signed(_row_sum(seal)),
        seal.chunker,
        seal.boot,
        seal.root,
        seal.sha256,
        seal.sums,
        seal.leaves,
    )


def _seal(row: tuple[Any, ...]) -> Seal | None:
    """The seal in a row; None if anything in it is not what was written."""
    try:
        ino, born, size, mtime, ctime, seal_id, leased, settled, row_sum, chunker, boot, root, sha256, sums, leaves = (
            row
        )
        seal = Seal(
            unsigned(ino), born, size, mtime, ctime, seal_id, root, chunker, leaves, sums, sha256, leased == 1,
            settled == 1, boot,
        )  # fmt: skip
        if _row_sum(seal) != unsigned(row_sum) or len(sums) != sums_size(size) or len(leaves) % LEAF_SIZE:
            return None
    except (struct.error, TypeError, ValueError, AttributeError):
        return None
    return seal


def _row_sum(seal: Seal) -> int:
    chunker, boot = seal.chunker.encode(), seal.boot.encode()
    numbers = _NUMBERS.pack(
        signed(seal.ino), seal.born_ns, seal.size, seal.mtime_ns, seal.ctime_ns, seal.seal_id, seal.leased,
        seal.settled, len(chunker), len(boot), len(seal.root), len(seal.sha256), len(seal.sums),
    )  # fmt: skip
    head = b"".join((numbers, chunker, boot, seal.root, seal.sha256))
    return xxhash.xxh3_64_intdigest(seal.leaves, xxhash.xxh3_64_intdigest(seal.sums, xxhash.xxh3_64_intdigest(head)))
