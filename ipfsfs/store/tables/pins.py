"""Pins: roots whose content stays here until the pin is removed, whatever becomes of their names."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, get_args

from ipfsfs.store.database import Database

FILES_MAX: Final = 100_000
"""Files that one pin may hold. Each has a row here, and a name in the store."""

PinState = Literal["pinning", "pinned", "damaged"]
"""Pinning: its content is still being brought here. Pinned: all of it is, in the store's own hands. Damaged: all of it
was, and part of that was found to be damaged, which pinning it again mends."""

SCHEMA: Final = """
-- Roots whose content stays here, whatever becomes of their names. A row is written before their content is gathered,
-- so that an interrupted pin is known, goes on, and can be removed.
CREATE TABLE pins (
    root BLOB PRIMARY KEY,      -- CID, raw bytes: of a file, or of a directory
    name BLOB NOT NULL,         -- what it was pinned by: a path from the plain root; empty where that was the CID
    state TEXT NOT NULL,        -- one of `PinState`
    when_ns INTEGER NOT NULL    -- since the epoch
) WITHOUT ROWID;
CREATE TABLE pinned_files (
    pin BLOB NOT NULL,          -- the root of the pin
    root BLOB NOT NULL,         -- CID of a file in it, raw bytes
    size INTEGER NOT NULL,      -- of that file
    PRIMARY KEY (pin, root, size)
) WITHOUT ROWID;
"""


class PinnedFile(NamedTuple):
    """The content of a file, which a pin holds: the raw CID of its root, and its size in bytes."""

    root: bytes
    size: int


@dataclass(slots=True, frozen=True)
class Pin:
    """A pinned root, as raw CID. `name`: the path from the plain root that it was pinned by; empty where it was pinned
    by its CID. `when_ns`: since the epoch."""

    root: bytes
    name: bytes
    state: PinState
    when_ns: int


@dataclass(slots=True)
class Pins:
    """The tables `pins` and `pinned_files`. Which roots are held is in memory too, so that it may be asked for at any
    time."""

    _database: Database
    _held: set[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self._held = self._read_held()

    def holds(self, root: bytes) -> bool:
        """Whether a root, as raw CID, is pinned: by itself, or as a file of a pinned tree. From memory.

        What is held may be neither evicted nor collected, also while it is still being brought here.
        """
        return root in self._held

    def all(self) -> list[Pin]:
        """All pins, the oldest first."""
        rows = self._database.rows("SELECT root, name, state, when_ns FROM pins ORDER BY when_ns, root")
        return [Pin(root, name, _state(state), when_ns) for root, name, state, when_ns in rows]

    def files(self, root: bytes) -> list[PinnedFile]:
        """The files that a pin holds."""
        rows = self._database.rows("SELECT root, size FROM pinned_files WHERE pin = ? ORDER BY root, size", (root,))
        return [PinnedFile(*row) for row in rows]

    def all_files(self) -> set[PinnedFile]:
        """The files that any pin holds."""
        return {PinnedFile(*row) for row in self._database.rows("SELECT DISTINCT root, size FROM pinned_files")}

    def add(self, pin: Pin, files: Sequence[PinnedFile]) -> None:
        """Keep a pin and all files that it holds, instead of one of the same root."""
        self._held.add(pin.root)
        self._held.update(file.root for file in files)
        self._database.write(
            ("DELETE FROM pinned_files WHERE pin = ?", (pin.root,)),
            ("INSERT OR REPLACE INTO pins VALUES (?, ?, ?, ?)", (pin.root, pin.name, pin.state, pin.when_ns)),
            *(("INSERT OR IGNORE INTO pinned_files VALUES (?, ?, ?)", (pin.root, *file)) for file in files),
        )

    def holders(self, file: PinnedFile) -> list[Pin]:
        """The pins that hold a file, the oldest first."""
        roots = {
            pin for (pin,) in self._database.rows("SELECT pin FROM pinned_files WHERE root = ? AND size = ?", file)
        }
        return [pin for pin in self.all() if pin.root in roots]

    def found(self, damaged: Collection[PinnedFile]) -> None:
        """All that pins hold was looked at: which of these files are damaged. Pins that are still being had stay so."""
        roots = {pin.root for file in damaged for pin in self.holders(file)}
        for pin in self.all():
            state = "damaged" if pin.root in roots else "pinned"
            if pin.state not in ("pinning", state):
                self._database.write(
                    ("UPDATE pins SET state = ? WHERE root = ? AND state != 'pinning'", (state, pin.root))
                )

    def complete(self, root: bytes) -> bool:
        """All content of a pin is here. Returns whether there is such a pin."""
        is_there = self._is_there(root)
        self._database.write(("UPDATE pins SET state = 'pinned' WHERE root = ?", (root,)))
        return is_there

    def remove(self, root: bytes) -> bool:
        """Forget a pin; what no other pin holds is held no longer. Returns whether there was one."""
        was_there = self._is_there(root)
        self._database.write(
            ("DELETE FROM pins WHERE root = ?", (root,)), ("DELETE FROM pinned_files WHERE pin = ?", (root,))
        )
        self._held = self._read_held()
        return was_there

    def _is_there(self, root: bytes) -> bool:
        return bool(self._database.rows("SELECT 1 FROM pins WHERE root = ?", (root,)))

    def _read_held(self) -> set[bytes]:
        return {root for (root,) in self._database.rows("SELECT root FROM pins UNION SELECT root FROM pinned_files")}


def _state(text: str) -> PinState:
    """A state as the table has it. One that is not known is of a pin that cannot be relied on yet."""
    return next((state for state in get_args(PinState) if state == text), "pinning")
