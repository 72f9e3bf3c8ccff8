"""Marks: the seals that hold no longer, though the index on disk may still have them (H17)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from ipfsfs.store.database import Database, signed, unsigned

SCHEMA: Final = """
-- Seals that hold no longer (H17). A row is written before the first overwrite of the sealed bytes, and goes once the
-- index on disk lacks that seal: the index may be thrown back to an earlier state by a power cut, this may not.
CREATE TABLE unsealed (
    ino INTEGER NOT NULL,       -- as signed
    seal_id INTEGER NOT NULL,
    PRIMARY KEY (ino, seal_id)
) WITHOUT ROWID;
"""


@dataclass(slots=True)
class Marks:
    """The table `unsealed`. A mark is the inode and the seal_id of one seal; all of them are in memory too, so that a
    seal can be looked up among them at any time: `mark in marks`."""

    _database: Database
    _known: set[tuple[int, int]] = field(init=False)

    def __post_init__(self) -> None:
        self._known = set(self.all())

    def __contains__(self, mark: object) -> bool:
        return mark in self._known

    def __len__(self) -> int:
        return len(self._known)

    def add(self, ino: int, seal_id: int) -> None:
        """Note that a seal holds no longer. When this returns, the file may be overwritten."""
        self.add_all([(ino, seal_id)])

    def add_all(self, marks: Sequence[tuple[int, int]]) -> None:
        """The same for many seals at once."""
        sql = "INSERT OR IGNORE INTO unsealed VALUES (?, ?)"
        self._database.write_many(sql, [(signed(ino), seal_id) for ino, seal_id in marks])
        self._known.update(marks)

    def all(self) -> list[tuple[int, int]]:
        """The marks that were not forgotten yet."""
        return [(unsigned(ino), seal_id) for ino, seal_id in self._database.rows("SELECT ino, seal_id FROM unsealed")]

    def forget(self, marks: Sequence[tuple[int, int]]) -> None:
        """Remove marks, because the index on disk lacks these seals."""
        sql = "DELETE FROM unsealed WHERE ino = ? AND seal_id = ?"
        self._database.write_many(sql, [(signed(ino), seal_id) for ino, seal_id in marks])
        self._known.difference_update(marks)
