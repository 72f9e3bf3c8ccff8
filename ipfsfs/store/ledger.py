"""The ledger: what cannot be made again. Small, and on disk before any method that writes returns.

A table is a module in `ipfsfs.store.tables`, a format below that makes it, and an attribute of `Ledger`.
"""

from __future__ import annotations

import os
import sqlite3
from typing import Final

from ipfsfs.errors import NoRoom, StoreError
from ipfsfs.printed import command
from ipfsfs.store import database
from ipfsfs.store.database import Database, File, Schema, Unusable
from ipfsfs.store.tables import announced, brought, checks, findings, marks, pins, published, quarantined, upstream
from ipfsfs.store.tables.announced import AnnouncedRoots
from ipfsfs.store.tables.brought import Brought, Leaving
from ipfsfs.store.tables.checks import Checks
from ipfsfs.store.tables.findings import Findings
from ipfsfs.store.tables.marks import Marks
from ipfsfs.store.tables.pins import Pins
from ipfsfs.store.tables.published import Published
from ipfsfs.store.tables.quarantined import BrokenPromises
from ipfsfs.store.tables.upstream import UpstreamNames

_SCHEMA: Final = Schema(
    name="ledger",
    application=0x6970666C,
    formats=(
        marks.SCHEMA + findings.SCHEMA + quarantined.SCHEMA,
        checks.SCHEMA,
        pins.SCHEMA,
        brought.SCHEMA,
        upstream.SCHEMA,
        published.SCHEMA,
        announced.SCHEMA,
    ),
)
_BUSY_MS: Final = 2_000
_RESERVED_BYTES: Final = 512 * 1024
"""Room for about a hundred marks on a full disk, and many more where they reach the file itself meanwhile: an overwrite
needs no new blocks, so it succeeds there, and its mark must (H17)."""


class Ledger:
    """The open ledger: its tables. Their methods may be called from any thread, one waiting for the other; unless they
    say otherwise they may wait for the disk, and raise StoreError where the database fails them."""

    def __init__(self, opened: Database) -> None:
        self._database = opened
        self.marks = Marks(opened)
        self.findings = Findings(opened)
        self.quarantined = BrokenPromises(opened)
        self.checks = Checks(opened)
        self.pins = Pins(opened)
        self.brought = Brought(opened)
        self.leaving = Leaving(opened)
        self.upstream = UpstreamNames(opened)
        self.published = Published(opened)
        self.announced = AnnouncedRoots(opened)

    @classmethod
    def open(cls, file: File) -> Ledger:
        """Open the ledger, or make an empty one where there is none. Raises StoreError where it cannot be read."""
        try:
            opened = Database.open(file, _SCHEMA, busy_ms=_BUSY_MS)
            try:
                opened.reserve_log(_RESERVED_BYTES)
                os.fsync(file.directory_fd)
                return cls(opened)
            except BaseException:
                opened.close()
                raise
        except (Unusable, StoreError, sqlite3.Error, OSError) as error:
            if isinstance(error, NoRoom) or database.is_no_room(error):
                raise NoRoom(f"the ledger {file} cannot be opened: {error}", hint="Make room on its disk.") from error
            raise StoreError(
                f"the ledger {file} cannot be read: {error}",
                hint=f"`{command('fsck --repair')}` makes a new one; findings are lost, files are not.",
            ) from error

    @classmethod
    def rebuild(cls, file: File) -> Ledger:
        """Put an unreadable ledger aside, as `<name>.unreadable`, and open an empty one.

        The index must be removed first: which of its seals hold no longer is no longer known. Raises StoreError.
        """
        try:
            file.put_aside(".unreadable")
        except OSError as error:
            raise database.broken(file, error) from error
        return cls.open(file)

    def integrity(self) -> list[str]:
        """What SQLite finds wrong with the structure of the file; nothing where it is sound."""
        return self._database.integrity()

    def close(self) -> None:
        """Close it. Never raises: everything is on disk already."""
        self._database.close()
