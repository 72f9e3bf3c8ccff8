"""Checks: files that got a promised name before their content was compared with it, until that is done (H25)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ipfsfs.store.database import Database, signed, unsigned

SCHEMA: Final = """
-- Files that got a promised name before their content was compared with it. A row is written before the rename returns,
-- and goes when the check is done, so that neither an unmount nor a crash forgets one.
CREATE TABLE checks (
    path BLOB NOT NULL,         -- the promised name, from the plain root
    last_path BLOB NOT NULL,    -- where the file was seen last: the client may have moved it on
    ino INTEGER NOT NULL,       -- as signed, of the file that got the name
    born_ns INTEGER NOT NULL,   -- its birth time; 0 where the filesystem keeps none
    PRIMARY KEY (path, ino)
) WITHOUT ROWID;
"""


@dataclass(slots=True, frozen=True)
class Check:
    """A file whose content is to be compared with what a name promises. `path` is that name, from the plain root;
    `ino` and `born_ns` tell the file, wherever it is by now, and `last_path` is where it was seen last."""

    path: bytes
    last_path: bytes
    ino: int
    born_ns: int


@dataclass(slots=True, frozen=True)
class Checks:
    """The table `checks`."""

    _database: Database

    def add(self, check: Check) -> None:
        """Note that a check is to be made, or that its file was moved."""
        values = (check.path, check.last_path, signed(check.ino), signed(check.born_ns))
        self._database.write(("INSERT OR REPLACE INTO checks VALUES (?, ?, ?, ?)", values))

    def remove(self, check: Check) -> None:
        """A check was made, or nothing is left to be checked."""
        self._database.write(("DELETE FROM checks WHERE path = ? AND ino = ?", (check.path, signed(check.ino))))

    def all(self) -> list[Check]:
        """All checks that are still to be made."""
        rows = self._database.rows("SELECT path, last_path, ino, born_ns FROM checks")
        return [Check(path, last, unsigned(ino), unsigned(born_ns)) for path, last, ino, born_ns in rows]
