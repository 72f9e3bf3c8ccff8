"""The ledger: what cannot be made again. Small, and on disk before any method that writes returns."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from ipfsfs.errors import StoreError
from ipfsfs.store import database
from ipfsfs.store.database import signed, unsigned

_APPLICATION: Final = 0x6970666C
_VERSION: Final = 1

FINDINGS_MAX: Final = 10_000
"""Findings that are kept: beyond that the oldest go. A dying disk makes one for each file on it."""

_SCHEMA: Final = """
-- Seals that hold no longer (H17). A row is written before the first overwrite of the sealed bytes, and goes once the
-- index on disk lacks that seal: the index may be thrown back to an earlier state by a power cut, this may not.
CREATE TABLE unsealed (
    ino INTEGER NOT NULL,       -- as signed
    seal_id INTEGER NOT NULL,
    PRIMARY KEY (ino, seal_id)
) WITHOUT ROWID;

-- What is wrong with files, for `status` and `verify`: the last of each kind for each path.
CREATE TABLE findings (
    path BLOB NOT NULL,         -- from the plain root
    kind TEXT NOT NULL,         -- "rot" or "broken_promise"
    ino INTEGER NOT NULL,       -- as signed
    detail TEXT NOT NULL,       -- in words
    who TEXT NOT NULL,          -- the program that did it, as far as known; empty for rot
    when_ns INTEGER NOT NULL,   -- since the epoch
    PRIMARY KEY (path, kind)
) WITHOUT ROWID;

-- Content that did not keep the promise of the name it was to get (H23, H24).
CREATE TABLE quarantined (
    stored_as TEXT PRIMARY KEY, -- name in the quarantine directory
    name BLOB NOT NULL,         -- path from the plain root that it was to get
    promised BLOB NOT NULL,     -- sha2-256
    actual BLOB NOT NULL,       -- sha2-256, empty where it is not known
    why TEXT NOT NULL,
    when_ns INTEGER NOT NULL    -- since the epoch
) WITHOUT ROWID;
CREATE INDEX quarantined_by_name ON quarantined (name, actual);
"""

_ADD_FINDING: Final = """
INSERT INTO findings (path, kind, ino, detail, who, when_ns) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (path, kind) DO UPDATE
SET ino = excluded.ino, detail = excluded.detail, who = excluded.who, when_ns = excluded.when_ns
WHERE excluded.who != '' OR findings.who = ''
"""

_BUSY_MS: Final = 2_000


@dataclass(slots=True, frozen=True)
class Finding:
    """Something wrong with a file that a user must hear of. `path`: from the plain root. `when_ns`: since the epoch."""

    kind: Literal["rot", "broken_promise"]
    path: bytes
    ino: int
    detail: str
    who: str
    when_ns: int


@dataclass(slots=True, frozen=True)
class Quarantined:
    """Content that was put aside. `name` is the path it was to get, `promised` and `actual` are sha2-256 digests (the
    latter empty where unknown), `stored_as` is its name in the quarantine."""

    name: bytes
    promised: bytes
    actual: bytes
    stored_as: str
    when_ns: int
    why: str


@dataclass(slots=True)
class Ledger:
    """The open ledger. All methods may be called from whatever thread, one waiting for the other; they may wait for the
    disk, and raise StoreError where the database fails them."""

    path: Path
    _db: sqlite3.Connection
    _file: database.DatabaseFile
    _found: set[tuple[bytes, str]] = field(default_factory=set)
    _turn: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def open(cls, path: Path) -> Ledger:
        """Open the ledger, or make an empty one where there is none. Raises StoreError where it cannot be read."""
        try:
            connection = database.connect(path, synchronous="FULL", busy_ms=_BUSY_MS)
            try:
                _prepare(connection)
                database.fsync_directory(path.parent)
                found = set(connection.execute("SELECT path, kind FROM findings"))
                return cls(path, connection, database.DatabaseFile.at(path), found)
            except BaseException:
                connection.close()
                raise
        except (sqlite3.Error, OSError) as error:
            raise StoreError(
                f"the ledger {path} cannot be read: {error}",
                hint="`ipfsfs fsck --repair` makes a new one; findings are lost, files are not.",
            ) from error

    @classmethod
    def rebuild(cls, path: Path) -> Ledger:
        """Put an unreadable ledger aside, as `<name>.unreadable`, and open an empty one.

        The index must be removed first: which of its seals hold no longer is no longer known. Raises StoreError.
        """
        try:
            aside = path.with_name(path.name + ".unreadable")
            path.replace(aside)
            database.remove(path)
        except OSError as error:
            raise database.broken(path, error) from error
        return cls.open(path)

    def mark_unsealed(self, ino: int, seal_id: int) -> None:
        """Note that a seal holds no longer. When this returns, the file may be overwritten."""
        self._write([("INSERT OR IGNORE INTO unsealed VALUES (?, ?)", (signed(ino), seal_id))])

    def unsealed(self) -> list[tuple[int, int]]:
        """The (inode, seal_id) of all seals that hold no longer and may still be in the index."""
        return [(unsigned(ino), seal_id) for ino, seal_id in self._rows("SELECT ino, seal_id FROM unsealed")]

    def forget_unsealed(self, marks: Iterable[tuple[int, int]]) -> None:
        """Remove marks, because the index on disk lacks these seals."""
        sql = "DELETE FROM unsealed WHERE ino = ? AND seal_id = ?"
        self._write([(sql, (signed(ino), seal_id)) for ino, seal_id in marks])

    def add_finding(self, finding: Finding) -> None:
        """Keep a finding, instead of an earlier one of the same kind for the same path.

        An earlier one that knows who did it stays where the new one does not.
        """
        values = (finding.path, finding.kind, signed(finding.ino), finding.detail, finding.who, finding.when_ns)
        oldest = "SELECT path, kind FROM findings ORDER BY when_ns DESC LIMIT -1 OFFSET ?"
        self._write(
            [
                (_ADD_FINDING, values),
                (f"DELETE FROM findings WHERE (path, kind) IN ({oldest})", (FINDINGS_MAX,)),
            ]
        )
        self._found.add((finding.path, finding.kind))

    @property
    def any_finding(self) -> bool:
        """Whether there is any finding. From memory; it may be asked at any time."""
        return bool(self._found)

    def has_finding(self, path: bytes, kind: Literal["rot", "broken_promise"]) -> bool:
        """Whether there is a finding of a path. From memory; it may be asked at any time."""
        return (path, kind) in self._found

    def findings(self) -> list[Finding]:
        """All findings, the oldest first."""
        rows = self._rows("SELECT kind, path, ino, detail, who, when_ns FROM findings ORDER BY when_ns")
        return [Finding(kind, path, unsigned(ino), *rest) for kind, path, ino, *rest in rows]

    def clear_findings(self, path: bytes, kind: Literal["rot", "broken_promise"] | None = None) -> None:
        """Remove what was found about a path (of one kind, or all): it was mended, removed, or read again and right."""
        kinds = ("rot", "broken_promise") if kind is None else (kind,)
        self._write([("DELETE FROM findings WHERE path = ? AND kind = ?", (path, one)) for one in kinds])
        self._found.difference_update((path, one) for one in kinds)

    def add_quarantined(self, item: Quarantined) -> None:
        """Note what was put into quarantine, or is about to be."""
        values = (item.stored_as, item.name, item.promised, item.actual, item.why, item.when_ns)
        self._write([("INSERT OR REPLACE INTO quarantined VALUES (?, ?, ?, ?, ?, ?)", values)])

    def was_quarantined(self, name: bytes, actual: bytes) -> bool:
        """Whether the same bytes (by sha2-256) have failed the promise of the same name before."""
        return bool(self._rows("SELECT 1 FROM quarantined WHERE name = ? AND actual = ? LIMIT 1", (name, actual)))

    def quarantined(self) -> list[Quarantined]:
        """Everything that was put into quarantine, the oldest first."""
        rows = self._rows("SELECT name, promised, actual, stored_as, when_ns, why FROM quarantined ORDER BY when_ns")
        return [Quarantined(*row) for row in rows]

    def forget_quarantined(self, stored_as: str) -> None:
        """Remove the note about something that was taken out of quarantine."""
        self._write([("DELETE FROM quarantined WHERE stored_as = ?", (stored_as,))])

    def integrity(self) -> list[str]:
        """What SQLite finds wrong with the structure of its file; nothing where it is sound."""
        return [str(text) for (text,) in self._rows("PRAGMA integrity_check(20)") if text != "ok"]

    def healthy(self) -> str:
        """Empty, or why what is written would be lost: the file was deleted, replaced, or cannot be written."""
        return self._file.healthy()

    def close(self) -> None:
        """Close it. Never raises: everything is on disk already."""
        with self._turn:
            self._db.close()

    def _rows(self, sql: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        try:
            with self._turn:
                return self._db.execute(sql, values).fetchall()
        except (sqlite3.Error, MemoryError) as error:
            raise database.broken(self.path, error) from error

    def _write(self, changes: list[tuple[str, tuple[Any, ...]]]) -> None:
        # SQLite would go on writing to files that are no longer there, and call that durable.
        if why := self._file.healthy():
            raise StoreError(f"{self.path}: {why}")
        try:
            with self._turn, database.transaction(self._db):
                for sql, values in changes:
                    self._db.execute(sql, values)
        except (sqlite3.Error, MemoryError) as error:
            raise database.broken(self.path, error) from error


def _prepare(connection: sqlite3.Connection) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if application == version == tables == 0:
        marks = f"PRAGMA application_id = {_APPLICATION}; PRAGMA user_version = {_VERSION};"
        connection.executescript(f"BEGIN; {_SCHEMA} {marks} COMMIT;")
    elif application != _APPLICATION:
        raise sqlite3.DatabaseError("it is no ledger of ipfsfs")
    elif version != _VERSION:
        raise sqlite3.DatabaseError(f"it has format {version}, and this version of ipfsfs knows only {_VERSION}")
    for table in ("unsealed", "findings", "quarantined"):
        connection.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchall()
