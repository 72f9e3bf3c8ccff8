"""Upstream: which names were in the view once that its upstream has, so that what was removed here stays removed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from ipfsfs.store.database import Database

NAMES_MAX: Final = 200_000
"""Names of one tree that are followed. Twice as many are remembered, those that no tree has any more among them."""
DIGEST_SIZE: Final = 16
_AT_ONCE: Final = 500

SCHEMA: Final = """
-- Names that the upstream of the view has, and that were in the view once. One that is gone was removed here, and is
-- not made again. A row is written after its name is on disk.
CREATE TABLE upstream_names (
    name BLOB PRIMARY KEY,      -- the first 16 bytes of the sha2-256 of its path from the plain root
    last INTEGER NOT NULL       -- when a tree had it last, seconds since the epoch
) WITHOUT ROWID;

-- The tree that was wholly filled in last: at most one row.
CREATE TABLE upstream_root (
    upstream TEXT PRIMARY KEY,  -- as `mount --upstream` names it
    root BLOB NOT NULL,         -- CID, raw bytes
    at INTEGER NOT NULL         -- seconds since the epoch
) WITHOUT ROWID;
"""


class UpstreamRoot(NamedTuple):
    """The tree that was wholly filled in last, as raw CID, and when, in seconds since the epoch."""

    root: bytes
    at: int


@dataclass(slots=True, frozen=True)
class UpstreamNames:
    """The tables `upstream_names` and `upstream_root`."""

    _database: Database

    def known(self, names: Sequence[bytes]) -> set[bytes]:
        """Which of these names, by their digests, were in the view once."""
        found: set[bytes] = set()
        for at in range(0, len(names), _AT_ONCE):
            part = names[at : at + _AT_ONCE]
            sql = f"SELECT name FROM upstream_names WHERE name IN ({', '.join('?' * len(part))})"
            found.update(name for (name,) in self._database.rows(sql, tuple(part)))
        return found

    def add(self, names: Sequence[bytes], at: int) -> None:
        """These names are in the view, or were, and a tree has them now."""
        self._database.write_many("INSERT OR REPLACE INTO upstream_names VALUES (?, ?)", [(name, at) for name in names])

    def complete(self, upstream: str, root: UpstreamRoot) -> None:
        """A tree was wholly filled in. Of too many names those go that trees had longest ago."""
        self._database.write(
            ("DELETE FROM upstream_root", ()),
            ("INSERT INTO upstream_root VALUES (?, ?, ?)", (upstream, root.root, root.at)),
            (
                "DELETE FROM upstream_names WHERE name IN"
                " (SELECT name FROM upstream_names ORDER BY last DESC LIMIT -1 OFFSET ?)",
                (2 * NAMES_MAX,),
            ),
        )

    def last(self, upstream: str) -> UpstreamRoot | None:
        """The tree of this upstream that was wholly filled in last."""
        for root, at in self._database.rows("SELECT root, at FROM upstream_root WHERE upstream = ?", (upstream,)):
            return UpstreamRoot(root, at)
        return None
