"""What pins hold, read again from the disk, and compared with its leaves."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import trio

from ipfsfs.errors import FormatError, IpfsfsError
from ipfsfs.exchange.verify import Progress, Verification
from ipfsfs.plain.identities import identity_of
from ipfsfs.store import kept
from ipfsfs.store.kept import Kept
from ipfsfs.store.seal import pack_leaf
from ipfsfs.store.tables.pins import PinnedFile, Pins
from ipfsfs.unixfs import cid
from ipfsfs.workers.fetcher.table import LeafTable, pack
from ipfsfs.workers.sealer.client import Sealer, open_sealer
from ipfsfs.workers.sealer.outcome import Verified

_TRIES: Final = 3
"""How often a file is read again that got or lost a name meanwhile, or gave way to a copy."""


@dataclass(slots=True, frozen=True)
class WrongPinned:
    """A file of pins whose content is not (all) kept: its CID as text and its size, the pins that hold it (the path
    that each was pinned by, else its CID), and what is wrong in words."""

    cid: str
    size: int
    pins: tuple[str, ...]
    detail: str

    @property
    def file(self) -> PinnedFile:
        """The same as the ledger has it."""
        return PinnedFile(cid.from_text(self.cid), self.size)

    @classmethod
    def of(cls, file: PinnedFile, pins: Pins, detail: str) -> WrongPinned:
        """What is wrong with a file. Raises StoreError."""
        held_by = [os.fsdecode(pin.name) or cid.to_text(pin.root) for pin in pins.holders(file)]
        return cls(cid.to_text(file.root), file.size, tuple(held_by), detail)


@asynccontextmanager
async def comparing(directory: Kept) -> AsyncIterator[Sealer]:
    """A sealer for the directory while the block runs; its process starts when it is first asked."""
    failed: IpfsfsError | OSError | None = None
    async with open_sealer(directory.fd) as sealer:
        try:
            yield sealer
        except (IpfsfsError, OSError) as error:  # out of here it would come in a group
            failed = error
    if failed is not None:
        raise failed


def table_of(directory: Kept, file: PinnedFile) -> LeafTable | None:
    """The leaves of a file as they are kept beside it; None where they are not."""
    if cid.codec(file.root) == cid.RAW:
        return LeafTable(pack(0, file.size, file.root) if file.size else b"")
    records = directory.tables.read_table(*file)
    try:
        return None if records is None else LeafTable(records)
    except FormatError:
        return None


async def fault(
    sealer: Sealer, directory: Kept, file: PinnedFile, progress: Callable[[int], None] | None = None
) -> str:
    """Why what is kept of a file is not all of its content, in words; empty where it is. `sealer` is one for the
    directory. Of a leaf in a dag-pb block it is not told whether it is right: its bytes alone do not say.

    Raises SealerLost.
    """
    for _ in range(_TRIES):
        if not directory.holds(file):
            return "it is gone from the store"
        table = table_of(directory, file)
        if table is None:
            return "the table of its leaves is gone from the store, or damaged"
        leaves = b"".join(pack_leaf(leaf.length, cid.digest(leaf.cid)) for leaf in table)
        try:
            fd = directory.open_file(file)
        except OSError as error:
            return f"it cannot be read: {error.strerror}"
        try:
            identity = identity_of(fd)
        finally:
            os.close(fd)
        name = os.fsencode(kept.name(file))
        found = await sealer.verify(name, identity, sums=b"", leaves=leaves, progress=progress)
        if not isinstance(found, Verified):
            return "it cannot be read from the disk"
        if found.unreadable:
            return "the disk cannot read part of it"
        lost = [at for at in found.bad_leaves if cid.codec(table[table.index_at(at)].cid) == cid.RAW]
        if not lost and found.unchanged:
            return ""
        if found.unchanged:
            return f"bytes from {lost[0]} on are not what they were"
    return "it is being changed"


async def verify_pinned(
    directory: Kept, pins: Pins, verification: Verification, report: Callable[[Progress], None]
) -> list[WrongPinned]:
    """Read all that pins hold again, but for what `verification` has read by another name and found sound. What is
    wrong is noted in the ledger. Raises StoreError and SealerLost."""
    due = await trio.to_thread.run_sync(_due, directory, pins)
    wrong: dict[PinnedFile, str] = {}
    async with comparing(directory) as sealer:
        for file in due:
            st = directory.stat(file)
            if st is not None and verification.sound.get(st.st_ino) == file.root:
                continue
            name = kept.name(file)

            def tell(done: int, name: str = name) -> None:
                report(Progress(verification.files, verification.bytes + done, name))

            why = await fault(sealer, directory, file, tell)
            if why and pins.holds(file.root):  # it may have been unpinned meanwhile
                wrong[file] = why
            verification.files += 1
            verification.bytes += file.size
            tell(0)
    await trio.to_thread.run_sync(pins.found, wrong.keys())
    return [await trio.to_thread.run_sync(WrongPinned.of, file, pins, why) for file, why in wrong.items()]


def inodes_with_names(directory: Kept, plain_dev: int) -> set[int]:
    """The inodes of files that have a name among what pins hold, and another elsewhere. Raises OSError."""
    return {st.st_ino for _, st in directory.stats() if st.st_nlink > 1 and st.st_dev == plain_dev}


def _due(directory: Kept, pins: Pins) -> list[PinnedFile]:
    """What pins hold, but for what of those that are still being had has not come."""
    found: set[PinnedFile] = set()
    for pin in pins.all():
        files = pins.files(pin.root)
        found.update(files if pin.state != "pinning" else filter(directory.holds, files))
    return sorted(found)
