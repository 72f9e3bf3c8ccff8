"""Findings: what is wrong with files, until it is mended."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal, get_args

from ipfsfs.store.database import Database, signed, unsigned

FindingKind = Literal["rot", "unreadable", "broken_promise", "withdrawn"]
"""What can be wrong with a file: its bytes are not those that were sealed, the disk refuses to read some of them, or
they are not those that its name promises. Withdrawn: a file that broke a promise lies under a hidden name, since the
quarantine did not take it."""

FINDINGS_MAX: Final = 10_000
"""Findings that are kept: beyond that the oldest go. A dying disk makes one for each file on it."""

SCHEMA: Final = """
-- What is wrong with files, for `status` and `verify`: the last of each kind for each path.
CREATE TABLE findings (
    path BLOB NOT NULL,         -- from the plain root
    kind TEXT NOT NULL,         -- one of `FindingKind`
    ino INTEGER NOT NULL,       -- as signed
    detail TEXT NOT NULL,       -- in words
    who TEXT NOT NULL,          -- the program that did it, as far as known; empty for rot
    when_ns INTEGER NOT NULL,   -- since the epoch
    PRIMARY KEY (path, kind)
) WITHOUT ROWID;
"""

_ADD: Final = """
INSERT INTO findings (path, kind, ino, detail, who, when_ns) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (path, kind) DO UPDATE
SET ino = excluded.ino, detail = excluded.detail, who = excluded.who, when_ns = excluded.when_ns
WHERE excluded.who != '' OR findings.who = ''
"""
_DROP_OLDEST: Final = """
DELETE FROM findings WHERE (path, kind) IN (SELECT path, kind FROM findings ORDER BY when_ns DESC LIMIT -1 OFFSET ?)
"""


@dataclass(slots=True, frozen=True)
class Finding:
    """Something wrong with a file that a user must hear of. `path`: from the plain root. `when_ns`: since the epoch."""

    kind: FindingKind
    path: bytes
    ino: int
    detail: str
    who: str
    when_ns: int


@dataclass(slots=True)
class Findings:
    """The table `findings`. Which paths have one is kept in memory too, so that it may be asked for at any time."""

    _database: Database
    _known: set[tuple[bytes, str]] = field(init=False)

    def __post_init__(self) -> None:
        self._known = set(self._database.rows("SELECT path, kind FROM findings"))

    @property
    def empty(self) -> bool:
        """Whether there is no finding at all. From memory."""
        return not self._known

    def has(self, path: bytes, kind: FindingKind) -> bool:
        """Whether there is a finding of a path. From memory."""
        return (path, kind) in self._known

    def add(self, finding: Finding) -> None:
        """Keep a finding, instead of an earlier one of the same kind for the same path.

        An earlier one that knows who did it stays where the new one does not.
        """
        values = (finding.path, finding.kind, signed(finding.ino), finding.detail, finding.who, finding.when_ns)
        self._database.write((_ADD, values), (_DROP_OLDEST, (FINDINGS_MAX,)))
        self._known.add((finding.path, finding.kind))

    def all(self) -> list[Finding]:
        """All findings, the oldest first."""
        rows = self._database.rows("SELECT kind, path, ino, detail, who, when_ns FROM findings ORDER BY when_ns")
        return [Finding(kind, path, unsigned(ino), *rest) for kind, path, ino, *rest in rows]

    def clear(self, path: bytes, kind: FindingKind | None = None) -> None:
        """Remove what was found about a path (of one kind, or all): it was mended, removed, or read again and right."""
        kinds: tuple[FindingKind, ...] = get_args(FindingKind) if kind is None else (kind,)
        self._database.write_many("DELETE FROM findings WHERE path = ? AND kind = ?", [(path, one) for one in kinds])
        self._known.difference_update((path, one) for one in kinds)
