"""Blocks that were imported, read again from the disk, and had anew where they are damaged. They came from elsewhere:
this is for the process of a command, never for the daemon."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ipfsfs.errors import IpfsfsError, StoreError
from ipfsfs.origins.ordered import Ordered
from ipfsfs.store.blocks import Blocks
from ipfsfs.unixfs import cid as cids


@dataclass(slots=True, frozen=True)
class BlockOutcome:
    """What became of a block that was damaged, by its CID as text. `source`: which origin it was had from. `why`: why
    it stays as it is, which means that it counts as not there; empty where it was had again."""

    cid: str
    source: str = ""
    why: str = ""


def damaged(blocks: Blocks, report: Callable[[int, int], None]) -> list[bytes]:
    """The blocks whose files do not hold what their names say, or cannot be read. `report` is told how many files and
    bytes were read so far. Raises StoreError."""
    found: list[bytes] = []
    files = size = 0
    try:
        for stored in blocks.each():
            if stored.cid is not None:
                if blocks.read_from_disk(stored.cid) is None and blocks.has(stored.cid):
                    found.append(stored.cid)
                files, size = files + 1, size + stored.size
                report(files, size)
    except OSError as error:
        raise StoreError(f"the blocks of the store cannot be read: {error.strerror}") from error
    return found


async def have_again(blocks: Blocks, block_cid: bytes, origins: Ordered) -> BlockOutcome:
    """Have a damaged block from an origin. Never raises for what only concerns this block."""
    text = cids.to_text(block_cid)
    try:
        given = await origins.given(block_cid)
        blocks.put(block_cid, given.block)
        blocks.sync([block_cid])
    except OSError as error:
        return BlockOutcome(text, why=error.strerror or str(error))
    except IpfsfsError as error:
        return BlockOutcome(text, why=str(error))
    return BlockOutcome(text, given.by)
