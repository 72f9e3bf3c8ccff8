"""The pins of a store, as they are made, listed and removed."""

from __future__ import annotations

from dataclasses import dataclass

import trio

from ipfsfs.exchange.keeping import Keeping
from ipfsfs.store.kept import Kept
from ipfsfs.store.tables.pins import Pin, Pins
from ipfsfs.unixfs import cid


@dataclass(slots=True)
class Progress:
    """How far it is: files and bytes of the pin as far as they are known, and those that are kept by now."""

    files: int = 0
    files_done: int = 0
    bytes: int = 0
    bytes_done: int = 0
    bytes_copied: int = 0
    """Bytes of which the store has a copy of its own, since its filesystem shares nothing with the plain directory."""


@dataclass(slots=True, frozen=True)
class Listed:
    """A pin. `path`: from the root, as it was pinned; None where it was pinned by its CID. `files` and `bytes` are what
    it holds, `bytes_here` those that are kept by now. `complete`: all of it is. `damaged`: part of it was found to be
    damaged, which pinning it again mends. `when_ns`: since the epoch."""

    cid: str
    path: str | None
    files: int
    bytes: int
    bytes_here: int
    complete: bool
    damaged: bool
    when_ns: int


async def pins_of(pins: Pins, kept: Kept) -> list[Listed]:
    """All pins, the oldest first. Raises StoreError."""
    return [await trio.to_thread.run_sync(_listed, pins, kept, pin) for pin in pins.all()]


async def remove_pin(keeping: Keeping, root: bytes) -> int | None:
    """Remove a pin, and what no other holds. Returns how many bytes the disk gets back at once; None where there was no
    such pin. Raises StoreError."""
    pins = keeping.pins
    files = pins.files(root)
    if not await trio.to_thread.run_sync(pins.remove, root):
        return None
    held = pins.all_files()
    freed = 0
    for file in files:
        if file not in held:
            freed += await keeping.drop(file)
        if not pins.holds(file.root):
            keeping.kept.discard_nodes(file.root)
    if not pins.holds(root):
        keeping.kept.discard_nodes(root)
    return freed


def _listed(pins: Pins, kept: Kept, pin: Pin) -> Listed:
    files = pins.files(pin.root)
    here = [file for file in files if kept.holds(file)]
    return Listed(
        cid=cid.to_text(pin.root),
        path=pin.name.decode("utf-8", "surrogateescape") or None,
        files=len(files),
        bytes=sum(file.size for file in files),
        bytes_here=sum(file.size for file in here),
        complete=pin.state == "pinned" and len(here) == len(files),
        damaged=pin.state == "damaged",
        when_ns=pin.when_ns,
    )
