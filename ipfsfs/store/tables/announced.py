"""Announced: the roots that trees were attached by, of which holders can be found elsewhere; of what is below a root
few say that they have it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ipfsfs.store.database import Database

ROOTS_MAX: Final = 8

SCHEMA: Final = """
-- The roots that were attached last: who has what is below one of them is found by it.
CREATE TABLE announced (
    root BLOB PRIMARY KEY,      -- CID, raw bytes
    at INTEGER NOT NULL         -- when it was attached last, nanoseconds since the epoch
) WITHOUT ROWID;
"""


@dataclass(slots=True, frozen=True)
class AnnouncedRoots:
    """The table `announced`."""

    _database: Database

    def note(self, root: bytes, at: int) -> None:
        """A tree is attached by its root. Of more than eight those go that were attached longest ago."""
        self._database.write(
            ("INSERT OR REPLACE INTO announced VALUES (?, ?)", (root, at)),
            (
                "DELETE FROM announced WHERE root IN (SELECT root FROM announced ORDER BY at DESC LIMIT -1 OFFSET ?)",
                (ROOTS_MAX,),
            ),
        )

    def all(self) -> list[bytes]:
        """The one that was attached last comes last."""
        return [root for (root,) in self._database.rows("SELECT root FROM announced ORDER BY at", ())]
