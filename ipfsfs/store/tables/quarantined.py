"""Which content failed a promise before, so that the same bytes for the same name are known again (H24)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ipfsfs.store.database import Database

SCHEMA: Final = """
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

REMEMBERED: Final = 10_000
"""Rows that are kept: beyond that the oldest go. Whoever may write to the cache can make as many as they like."""

_DROP_OLDEST: Final = """
DELETE FROM quarantined WHERE stored_as IN (SELECT stored_as FROM quarantined ORDER BY when_ns DESC LIMIT -1 OFFSET ?)
"""


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


@dataclass(slots=True, frozen=True)
class BrokenPromises:
    """The table `quarantined`."""

    _database: Database

    def add(self, item: Quarantined) -> None:
        """Note what was put into quarantine, or set aside."""
        values = (item.stored_as, item.name, item.promised, item.actual, item.why, item.when_ns)
        self._database.write(
            ("INSERT OR REPLACE INTO quarantined VALUES (?, ?, ?, ?, ?, ?)", values), (_DROP_OLDEST, (REMEMBERED,))
        )

    def had(self, name: bytes, actual: bytes) -> bool:
        """Whether the same bytes (by sha2-256) have failed the promise of the same name before."""
        sql = "SELECT 1 FROM quarantined WHERE name = ? AND actual = ? LIMIT 1"
        return bool(self._database.rows(sql, (name, actual)))
