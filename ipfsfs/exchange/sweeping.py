"""Which of the store's blocks are needed, found by reading them from the roots on; the others can be removed.

Blocks came from elsewhere: this is for the process of a command, never for the daemon.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ipfsfs.errors import FormatError, StoreError
from ipfsfs.exchange import reading_out
from ipfsfs.store.blocks import Blocks
from ipfsfs.unixfs import cid as cids
from ipfsfs.unixfs import reading
from ipfsfs.unixfs.reading import File, Node


@dataclass(slots=True)
class Swept:
    """How many blocks were removed, or would be, and the bytes that they took on the disk."""

    blocks: int = 0
    bytes: int = 0


def below(blocks: Blocks, roots: Iterable[bytes]) -> set[bytes]:
    """The digests of all blocks of the store that roots lead to, as far as the store has the way to them."""
    met: set[bytes] = set()
    waiting = list(roots)
    while waiting:
        block_cid = waiting.pop()
        digest = cids.digest(block_cid)
        if digest in met:
            continue
        met.add(digest)
        if cids.unixfs_codec(block_cid) == cids.DAG_PB and (block := blocks.read(block_cid)) is not None:
            try:
                waiting += _new(reading.read(block_cid, block), lambda one: cids.digest(one) not in met)
            except FormatError:
                continue  # it is no node of UnixFS, and leads nowhere
    return met


def files_below(blocks: Blocks, roots: Iterable[bytes]) -> set[bytes]:
    """The CIDs of all that could be the root of a file in a tree, as far as the store has the tree."""
    found: set[bytes] = set()
    waiting = list(roots)
    while waiting:
        block_cid = waiting.pop()
        if block_cid in found:
            continue
        found.add(block_cid)
        if cids.unixfs_codec(block_cid) == cids.DAG_PB and (block := blocks.read(block_cid)) is not None:
            try:
                node = reading.read(block_cid, block)
            except FormatError:
                continue
            if not isinstance(node, File):
                waiting += _new(node, lambda one: one not in found)
    return found


def _new(node: Node, is_new: Callable[[bytes], bool]) -> list[bytes]:
    """The new CIDs that a node links to, each once: a node of a hostile tree links to one thousands of times."""
    return [one for one in dict.fromkeys(reading_out.links(node)) if is_new(one)]


def sweep(blocks: Blocks, unwanted: Callable[[bytes | None], bool], *, dry_run: bool) -> Swept:
    """Remove the blocks whose digests are unwanted; None is that of one that was not finished. Raises StoreError."""
    swept = Swept()
    try:
        for stored in blocks.each():
            if unwanted(None if stored.cid is None else cids.digest(stored.cid)):
                if not dry_run:
                    blocks.remove(stored.name)
                swept.blocks += 1
                swept.bytes += stored.size
    except OSError as error:
        raise StoreError(f"blocks of the store cannot be removed: {error.strerror}") from error
    return swept
