"""The index: which files are sealed, and as what. It can always be made again by reading the files.

Hence nothing here waits for the disk, and any doubt ends in a new, empty index. After a power cut a database that was
never fsynced may hold anything: each row carries a checksum over all of itself, and one that does not fit is no row.
"""

from __future__ import annotations

import os
import sqlite3
import struct
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import xxhash

from ipfsfs.errors import NoRoom, StoreError
from ipfsfs.identity import Identity, PlainRoot
from ipfsfs.store import database
from ipfsfs.store.database import Database, File, Schema, Unusable, signed, unsigned
from ipfsfs.store.seal import LEAF_SIZE, Seal, boot_id, sums_size

_FORMAT_1: Final = """
-- plain_root: "inode:birth time" of the plain directory the seals are of.
-- boot: the boot in which the index was last open.
-- closed: "1" if it was closed in order and is on disk, "0" while it is open.
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

-- One sealed file each; the columns are the fields of `Seal` and of its identity, but for the device.
-- Numbers that may exceed 63 bits are stored as signed.
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
_FORMAT_2: Final = """
-- When files were last opened or closed through the view: what is evicted first. A row may be of an earlier file with
-- that inode number. Without a row the file's own time of access counts.
CREATE TABLE uses (
    ino INTEGER PRIMARY KEY,    -- as signed
    used_ns INTEGER NOT NULL    -- since the epoch
);
"""
_FORMAT_3: Final = """
-- Where a sealed file was seen last: its path from the plain root. A hint: who uses it compares the inode.
CREATE TABLE places (ino INTEGER PRIMARY KEY, path BLOB NOT NULL);
CREATE INDEX seals_of_many_leaves ON seals (ino) WHERE length(leaves) > 36;
"""
_SCHEMA: Final = Schema("index", 0x69706678, (_FORMAT_1, _FORMAT_2, _FORMAT_3))

_NAMES: Final = (
    "ino", "born_ns", "size", "mtime_ns", "ctime_ns", "seal_id", "leased", "settled", "row_sum", "chunker", "boot",
    "root", "sha256", "sums", "leaves",
)  # fmt: skip
_COLUMNS: Final = ", ".join(_NAMES)
_GET: Final = f"SELECT {_COLUMNS} FROM seals WHERE ino = ?"
_PUT: Final = f"INSERT OR REPLACE INTO seals ({_COLUMNS}) VALUES ({', '.join('?' * len(_NAMES))})"
_AFTER: Final = f"SELECT {_COLUMNS} FROM seals WHERE ino > ? ORDER BY ino LIMIT 256"
_PLACE: Final = (
    "INSERT INTO places VALUES (?, ?) ON CONFLICT (ino) DO UPDATE SET path = excluded.path WHERE path != excluded.path"
)
_MANY_LEAVES: Final = """
    SELECT ino, leaves FROM seals INDEXED BY seals_of_many_leaves
    WHERE length(leaves) > 36 AND ino > ? ORDER BY ino LIMIT 4
"""
_REPEATED: Final = "SELECT root FROM seals GROUP BY root HAVING count(*) > 1"
_ASKED_MOST: Final = 500
"""Values of one query."""

_NUMBERS: Final = struct.Struct("<6q2B5I")

_READ_BUSY_MS: Final = 50
_WRITE_BUSY_MS: Final = 2_000


@dataclass(slots=True, frozen=True)
class Totals:
    """How many files are sealed, their bytes and leaves together."""

    files: int
    bytes: int
    leaves: int


@dataclass(slots=True)
class Index:
    """The open index. `reason` says why it was made anew; empty where it was not, or is the first.

    `get` uses a connection of its own and may be called from the event loop at any time. All other methods write or
    take long: they share a second connection, from whatever thread, one waiting for the other. All raise StoreError
    where the database fails them.
    """

    reason: str
    dev: int
    """The device of the plain directory in this boot: its number may be another after each."""
    _plain_root: PlainRoot
    _marked: Container[tuple[int, int]]
    _database: Database
    _reader: sqlite3.Connection
    _is_noted: bool = False
    """Whether it is on disk that the index is open: nothing else may be written before that, see `_check`."""

    @classmethod
    def open(
        cls,
        file: File,
        *,
        plain_root: PlainRoot,
        marked: Container[tuple[int, int]] = frozenset(),
        renew: bool = True,
    ) -> Index:
        """Open the index of a plain directory, or make an empty one. On a full disk it can be read, and written later.

        `marked` has the seals, by inode and seal_id, that hold no longer: it is as if they were not there.

        What is there and damaged, of another directory, or of another version is removed; without `renew` it stays, and
        StoreError says what it is. Raises StoreError also where no index can be made at all.
        """
        try:
            try:
                return cls._open(file, plain_root, marked, "")
            except (Unusable, StoreError, sqlite3.Error) as error:
                if not renew:
                    raise
                file.remove()
                return cls._open(file, plain_root, marked, str(error))
        except (Unusable, sqlite3.Error, OSError) as error:
            raise database.broken(file, error) from error

    @classmethod
    def _open(cls, file: File, plain_root: PlainRoot, marked: Container[tuple[int, int]], reason: str) -> Index:
        opened = Database.open(file, _SCHEMA, busy_ms=_WRITE_BUSY_MS)
        try:
            _check(opened, plain_root)
            opened.set_durability("OFF")
            reader = database.connect(file, synchronous="OFF", busy_ms=_READ_BUSY_MS)
            index = cls(reason, plain_root.dev, plain_root, marked, opened, reader)
            try:
                index._note_that_it_is_open()
            except NoRoom:
                if opened.is_new:
                    index._close()
                    raise
            return index
        except BaseException:
            opened.close()
            raise

    def get(self, ino: int) -> Seal | None:
        """The seal of an inode; None where there is none, or its row is damaged."""
        try:
            rows = self._reader.execute(_GET, (signed(ino),)).fetchall()
        except (sqlite3.Error, MemoryError) as error:
            raise database.broken(self._database.file, error) from error
        return self._valid(_seal(rows[0], self.dev)) if rows else None

    def put(self, seals: Sequence[Seal]) -> None:
        """Enter seals, each instead of what there was for its inode; all of them or none."""
        rows = [_row(seal) for seal in seals]
        self._write(_PUT, rows)

    def drop(self, inos: Iterable[int]) -> None:
        """Forget the seals of inodes; all of them or none."""
        rows = [(signed(ino),) for ino in inos]
        self._write("DELETE FROM seals WHERE ino = ?", rows)
        self._write("DELETE FROM places WHERE ino = ?", rows)

    def drop_seals(self, seals: Iterable[tuple[int, int]]) -> None:
        """Forget seals by inode and seal_id; what else there is for an inode stays. All of them or none."""
        rows = [(signed(ino), seal_id) for ino, seal_id in seals]
        self._write("DELETE FROM seals WHERE ino = ? AND seal_id = ?", rows)

    def totals(self) -> Totals:
        """How much is sealed."""
        sql = f"SELECT count(*), total(size), total(length(leaves)) / {LEAF_SIZE} FROM seals"
        files, size, leaves = self._database.rows(sql)[0]
        return Totals(files, int(size), int(leaves))

    def put_uses(self, uses: Iterable[tuple[int, int]]) -> None:
        """Enter when files were used, by inode, in ns since the epoch; all of them or none."""
        rows = [(signed(ino), used_ns) for ino, used_ns in uses]
        self._write("INSERT OR REPLACE INTO uses VALUES (?, ?)", rows)

    def used_ns(self, ino: int) -> int | None:
        """When a file was used last, in ns since the epoch; None where that is not known."""
        rows = self._database.rows("SELECT used_ns FROM uses WHERE ino = ?", (signed(ino),))
        return int(rows[0][0]) if rows else None

    def uses(self) -> Iterator[tuple[int, int]]:
        """By inode, when files were used last, in ns since the epoch."""
        for ino, used_ns in self._database.rows("SELECT ino, used_ns FROM uses"):
            yield unsigned(ino), int(used_ns)

    def sizes(self, least: int) -> Iterator[tuple[int, int, bool]]:
        """Of each sealed file of at least so many bytes: inode, size, and whether the sha2-256 of all is known."""
        sql = "SELECT ino, size, length(sha256) > 0 FROM seals WHERE size >= ?"
        for ino, size, is_known in self._database.rows(sql, (least,)):
            yield unsigned(ino), size, bool(is_known)

    def iterate(self) -> Iterator[Seal]:
        """Yields all seals whose rows are whole. What is entered or dropped meanwhile may or may not be among them."""
        for _, seal in self._scan():
            if (valid := self._valid(seal)) is not None:
                yield valid

    def damaged(self) -> list[int]:
        """The inodes of rows that are not what was written."""
        return [ino for ino, seal in self._scan() if seal is None]

    def files_with_root(self, cid: bytes) -> list[int]:
        """The inodes of the files whose root is the raw CID `cid`."""
        found = []
        for (ino,) in self._database.rows("SELECT ino FROM seals WHERE root = ?", (cid,)):
            found += [ino for row in self._database.rows(_GET, (ino,)) if self._valid(_seal(row, self.dev)) is not None]
        return [unsigned(ino) for ino in found]

    def first_with_roots(self, roots: Sequence[bytes]) -> dict[bytes, int]:
        """By root, the inode of a file that has or had it, for those roots of which there is one."""
        found: dict[bytes, int] = {}
        for at in range(0, len(roots), _ASKED_MOST):
            some = roots[at : at + _ASKED_MOST]
            sql = f"SELECT root, ino FROM seals WHERE root IN ({', '.join('?' * len(some))})"
            found |= {root: unsigned(ino) for root, ino in self._database.rows(sql, some)}
        return found

    def repeated_roots(self) -> set[bytes]:
        """The roots that more than one file has or had."""
        return {bytes(root) for (root,) in self._database.rows(_REPEATED)}

    def files_of_many_leaves(self) -> Iterator[tuple[int, bytes]]:
        """Yields inode and packed leaves of each file with more leaves than one, as they are or were: rows are not
        compared with their checksums here."""
        after = -(1 << 63)
        while rows := self._database.rows(_MANY_LEAVES, (after,)):
            for ino, leaves in rows:
                yield unsigned(ino), leaves
            after = rows[-1][0]

    def place(self, places: Iterable[tuple[int, bytes]]) -> None:
        """Note where sealed files are: inode, and path from the plain root."""
        self._write(_PLACE, [(signed(ino), path) for ino, path in places])

    def path_of(self, ino: int) -> bytes | None:
        """Where a sealed file was seen last; None where that is not known."""
        rows = self._database.rows("SELECT path FROM places WHERE ino = ?", (signed(ino),))
        return bytes(rows[0][0]) if rows else None

    def make_durable(self) -> None:
        """Return when everything written so far is on disk."""
        self._database.make_durable()

    def integrity(self) -> list[str]:
        """What SQLite finds wrong with the structure of its file; nothing where it is sound."""
        return self._database.integrity()

    def trouble(self) -> str:
        """Why what is written would be lost; empty where nothing is known to be wrong with the files."""
        return self._database.trouble()

    def close(self) -> None:
        """Bring it to disk and close it. Never raises: one that could not be closed in order is checked when opened."""
        with suppress(StoreError):
            if self._is_noted and not self.trouble():
                self._database.write(("UPDATE meta SET value = '1' WHERE key = 'closed'", ()))
                self.make_durable()
        self._close()

    def discard(self) -> None:
        """Remove it, so that it vouches for nothing from now on, and close it. Never raises.

        It is gone from the disk, too, when this returns: what is written from now on is marked nowhere (H17).
        """
        with suppress(OSError):
            self._database.file.remove()
            os.fsync(self._database.file.directory_fd)
        self._close()

    def _write(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        with self._database.using():
            if not self._is_noted:
                self._note_that_it_is_open()
            self._database.write_many(sql, rows)

    def _note_that_it_is_open(self) -> None:
        meta = {"plain_root": _written(self._plain_root), "boot": boot_id(), "closed": "0"}
        self._database.set_durability("FULL")
        try:
            self._database.write_many("INSERT OR REPLACE INTO meta VALUES (?, ?)", list(meta.items()))
        finally:
            self._database.set_durability("OFF")
        self._is_noted = True

    def _valid(self, seal: Seal | None) -> Seal | None:
        """A seal, unless it is marked as one that holds no longer."""
        return None if seal is None or (seal.ino, seal.seal_id) in self._marked else seal

    def _close(self) -> None:
        with suppress(sqlite3.Error):
            self._reader.close()
        self._database.close()

    def _scan(self) -> Iterator[tuple[int, Seal | None]]:
        after = -(1 << 63)
        while rows := self._database.rows(_AFTER, (after,)):
            for row in rows:
                yield unsigned(row[0]), _seal(row, self.dev)
            after = rows[-1][0]


def _check(opened: Database, plain_root: PlainRoot) -> None:
    """See that an index is of `plain_root`, and whole. Raises Unusable."""
    if opened.is_new:
        return
    meta = dict(opened.rows("SELECT key, value FROM meta"))
    if meta.get("plain_root") != _written(plain_root):
        raise Unusable("it was of another directory")
    if meta.get("closed") != "1" and meta.get("boot") != boot_id():
        # A killed process loses nothing, a stopped machine may have torn the file.
        ((found,),) = opened.rows("PRAGMA quick_check(1)")
        if found != "ok":
            raise Unusable(f"it was damaged when the machine stopped: {found}")


def _written(plain_root: PlainRoot) -> str:
    return f"{plain_root.ino}:{plain_root.born_ns}"


def _row(seal: Seal) -> tuple[Any, ...]:
    return (
        signed(seal.ino),
        seal.identity.born_ns,
        seal.size,
        seal.identity.mtime_ns,
        seal.identity.ctime_ns,
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


def _seal(row: tuple[Any, ...], dev: int) -> Seal | None:
    """The seal in a row; None if anything in it is not what was written."""
    try:
        ino, born, size, mtime, ctime, seal_id, leased, settled, row_sum, chunker, boot, root, sha256, sums, leaves = (
            row
        )
        seal = Seal(
            Identity(dev, unsigned(ino), born, size, mtime, ctime), seal_id, root, chunker, leaves, sums, sha256,
            leased == 1, settled == 1, boot,
        )  # fmt: skip
        if _row_sum(seal) != unsigned(row_sum) or len(sums) != sums_size(size) or len(leaves) % LEAF_SIZE:
            return None
    except (struct.error, TypeError, ValueError, AttributeError):
        return None
    return seal


def _row_sum(seal: Seal) -> int:
    chunker, boot = seal.chunker.encode(), seal.boot.encode()
    identity = seal.identity
    numbers = _NUMBERS.pack(
        signed(identity.ino), identity.born_ns, identity.size, identity.mtime_ns, identity.ctime_ns, seal.seal_id,
        seal.leased, seal.settled, len(chunker), len(boot), len(seal.root), len(seal.sha256), len(seal.sums),
    )  # fmt: skip
    head = b"".join((numbers, chunker, boot, seal.root, seal.sha256))
    return xxhash.xxh3_64_intdigest(seal.leaves, xxhash.xxh3_64_intdigest(seal.sums, xxhash.xxh3_64_intdigest(head)))
