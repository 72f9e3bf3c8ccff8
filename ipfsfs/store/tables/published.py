"""Published: trees and files that `publish` named, which other machines may have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from ipfsfs.store.database import Database

ROOTS_MAX: Final = 1_000
"""Roots that are published at a time."""

SCHEMA: Final = """
-- Roots that `publish` named: by `mount --share published` other machines may have them, and what is below them.
CREATE TABLE published (
    root BLOB PRIMARY KEY,      -- CID, raw bytes: of a file, or of a directory
    path BLOB NOT NULL,         -- what it was published from: a path from the plain root
    is_served INTEGER NOT NULL, -- 1: by `publish --serve`, so that no node holds its content
    when_ns INTEGER NOT NULL    -- since the epoch
) WITHOUT ROWID;
CREATE TABLE published_files (
    published BLOB NOT NULL,    -- the root that was published
    root BLOB NOT NULL,         -- CID of a file in it, raw bytes
    PRIMARY KEY (published, root)
) WITHOUT ROWID;
CREATE TABLE published_nodes (
    published BLOB NOT NULL,    -- the root that was published
    digest BLOB NOT NULL,       -- sha2-256 of a node in it, dag-pb, which lies among the blocks of the store
    PRIMARY KEY (published, digest)
) WITHOUT ROWID;
"""


class PublishedRoot(NamedTuple):
    """A root that was published, as raw CID; the path from the plain root that it was published from; whether it is
    served from here alone; and when, in ns since the epoch."""

    root: bytes
    path: bytes
    is_served: bool
    when_ns: int


@dataclass(slots=True)
class Published:
    """The tables `published`, `published_files` and `published_nodes`. Which files they hold is in memory too."""

    _database: Database
    _files: set[bytes] = field(init=False)
    _served: set[bytes] = field(init=False)
    """The roots of files that are served from here alone."""

    def __post_init__(self) -> None:
        self._read()

    def has(self, root: bytes) -> bool:
        """Whether a file, by its root as raw CID, was published, by itself or in a tree. From memory."""
        return root in self._files

    def is_served(self, root: bytes) -> bool:
        """Whether others have a file from here alone, by its root as raw CID. From memory."""
        return root in self._served

    def all(self) -> list[PublishedRoot]:
        """All roots that are published, the oldest first."""
        rows = self._database.rows("SELECT root, path, is_served, when_ns FROM published ORDER BY when_ns, root")
        return [PublishedRoot(root, path, bool(is_served), when_ns) for root, path, is_served, when_ns in rows]

    def files(self, root: bytes) -> list[bytes]:
        """The roots of the files of one that is published."""
        return [
            file for (file,) in self._database.rows("SELECT root FROM published_files WHERE published = ?", (root,))
        ]

    def nodes(self, root: bytes) -> list[bytes]:
        """The digests of its nodes."""
        sql = "SELECT digest FROM published_nodes WHERE published = ?"
        return [digest for (digest,) in self._database.rows(sql, (root,))]

    def note(self, root: bytes, files: Sequence[bytes], nodes: Sequence[bytes]) -> None:
        """Note files and nodes of a root that is about to be published."""
        self._database.write_many("INSERT OR IGNORE INTO published_files VALUES (?, ?)", [(root, one) for one in files])
        self._database.write_many("INSERT OR IGNORE INTO published_nodes VALUES (?, ?)", [(root, one) for one in nodes])

    def add(self, published: PublishedRoot) -> None:
        """A root is published, with the files that were noted for it; of too many roots the oldest are so no more."""
        self._database.write(
            ("INSERT OR REPLACE INTO published VALUES (?, ?, ?, ?)", published),
            (
                "DELETE FROM published WHERE root IN"
                " (SELECT root FROM published ORDER BY when_ns DESC LIMIT -1 OFFSET ?)",
                (ROOTS_MAX,),
            ),
            ("DELETE FROM published_files WHERE published NOT IN (SELECT root FROM published)", ()),
            ("DELETE FROM published_nodes WHERE published NOT IN (SELECT root FROM published)", ()),
        )
        self._read()

    def remove(self, root: bytes) -> bool:
        """A root is published no more; returns whether it was."""
        was_there = bool(self._database.rows("SELECT 1 FROM published WHERE root = ?", (root,)))
        self._database.write(
            ("DELETE FROM published WHERE root = ?", (root,)),
            ("DELETE FROM published_files WHERE published = ?", (root,)),
            ("DELETE FROM published_nodes WHERE published = ?", (root,)),
        )
        self._read()
        return was_there

    def _read(self) -> None:
        sql = "SELECT root FROM published_files WHERE published IN (SELECT root FROM published"
        self._files = {root for (root,) in self._database.rows(f"{sql})")}
        self._served = {root for (root,) in self._database.rows(f"{sql} WHERE is_served)")}
