"""Brought: which files are here because an origin gave them, so that they may be given back to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ipfsfs.store.database import Database, signed, unsigned

SCHEMA: Final = """
-- Files that took the place of a placeholder: their content came from an origin and was made by nobody here. Without a
-- row a file is its user's, and is not evicted. One row an inode number, so that the table is no larger than the
-- filesystem; a row whose file is gone says nothing of the next one with that number, which has another birth time.
CREATE TABLE brought (
    ino INTEGER PRIMARY KEY,    -- as signed
    born_ns INTEGER NOT NULL,   -- birth time of the file; 0 where the filesystem keeps none
    root BLOB NOT NULL,         -- CID that its link named, raw bytes
    size INTEGER NOT NULL,      -- bytes
    tsize INTEGER,              -- as signed, bytes of all blocks, where its link said that
    sha256 BLOB NOT NULL        -- of all its bytes
);

-- Files that are giving way to links. A row is written before the first name is made, and goes when the last step is on
-- disk: what an eviction left half done is put right before the next mount.
CREATE TABLE leaving (
    path BLOB NOT NULL,         -- of the file, from the plain root
    beside BLOB PRIMARY KEY     -- the temporary name in the same directory: first of the link, then of the file
) WITHOUT ROWID;
"""


@dataclass(slots=True, frozen=True)
class BroughtFile:
    """A file that came from an origin: its inode and birth time (ns), what its link said (the raw CID of its root, its
    size and tsize in bytes), and the sha2-256 of its content."""

    ino: int
    born_ns: int
    root: bytes
    size: int
    tsize: int | None
    sha256: bytes


@dataclass(slots=True, frozen=True)
class LeavingFile:
    """A file that is giving way to a link: its path from the plain root, and the temporary name beside it."""

    path: bytes
    beside: bytes


@dataclass(slots=True, frozen=True)
class Brought:
    """The table `brought`."""

    _database: Database

    def add_all(self, files: Sequence[BroughtFile]) -> None:
        """Note that files came from an origin."""
        self._database.write_many(
            "INSERT OR REPLACE INTO brought VALUES (?, ?, ?, ?, ?, ?)",
            [_row(one) for one in files],
        )

    def get(self, ino: int) -> BroughtFile | None:
        """What is known of the file that had an inode number when it came; it may be another file's by now."""
        sql = "SELECT born_ns, root, size, tsize, sha256 FROM brought WHERE ino = ?"
        for born_ns, root, size, tsize, sha256 in self._database.rows(sql, (signed(ino),)):
            return BroughtFile(ino, unsigned(born_ns), root, size, None if tsize is None else unsigned(tsize), sha256)
        return None

    def inodes(self) -> set[int]:
        """All inode numbers of which something is known."""
        return {unsigned(ino) for (ino,) in self._database.rows("SELECT ino FROM brought")}

    def remove(self, ino: int, born_ns: int) -> None:
        """A file is gone, and another may have its inode number already."""
        self._database.write(("DELETE FROM brought WHERE ino = ? AND born_ns = ?", (signed(ino), signed(born_ns))))


def _row(one: BroughtFile) -> tuple[object, ...]:
    tsize = None if one.tsize is None else signed(one.tsize)
    return signed(one.ino), signed(one.born_ns), one.root, one.size, tsize, one.sha256


@dataclass(slots=True, frozen=True)
class Leaving:
    """The table `leaving`."""

    _database: Database

    def add(self, file: LeavingFile) -> None:
        """A file is about to give way to a link."""
        self._database.write(("INSERT OR REPLACE INTO leaving VALUES (?, ?)", (file.path, file.beside)))

    def remove(self, beside: bytes) -> None:
        """It has, or has not, and nothing is left of that."""
        self._database.write(("DELETE FROM leaving WHERE beside = ?", (beside,)))

    def all(self) -> list[LeavingFile]:
        """Those that were not done when the last daemon ended."""
        return [LeavingFile(*row) for row in self._database.rows("SELECT path, beside FROM leaving")]
