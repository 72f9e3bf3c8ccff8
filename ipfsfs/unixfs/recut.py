"""Cutting a file again whose CID is known, and whose nodes are not, in each way that is known until that CID comes out.

A CID says neither how its file was cut nor how its tree is laid out. So a file that came by another name, such as its
sha256, is compared with its CID, and gets the leaves that the CID means.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from ipfsfs.unixfs import chunk, cid, file
from ipfsfs.unixfs.chunk import CHUNKERS, Chunker
from ipfsfs.unixfs.profile import V0_2015, V1_2025, Profile
from ipfsfs.unixfs.span import ReadAt

Leaf = tuple[bytes, int]
"""CID, and bytes of the file."""


@dataclass(slots=True, frozen=True)
class _Way:
    """How a file may have been cut and laid out. `lengths`: of its leaves, in order."""

    lengths: Callable[[ReadAt, int], Iterator[int]]
    profile: Profile


def _by(chunker: Chunker) -> Callable[[ReadAt, int], Iterator[int]]:
    return lambda read_at, size: chunk.plan(read_at, size, chunker)


_WAYS: Final = (
    *(_Way(_by(chunker), V1_2025) for chunker in CHUNKERS),
    _Way(lambda _, size: chunk.fixed(size, V0_2015.chunk), V0_2015),
)
"""Our own first: links that stand for files of this cache name those."""


def leaves(read_at: ReadAt, size: int, root: bytes) -> list[Leaf] | None:
    """The leaves of a file of `size` bytes whose root is the raw CID `root`, in order; None where it is not that of
    these bytes in any way that is known. Reads all of the file, once for each way. `read_at(offset, length)` reads it;
    what it raises goes on."""
    tried: set[tuple[int, ...]] = set()
    for way in _WAYS:
        lengths = tuple(way.lengths(read_at, size))
        if way.profile is V1_2025:
            if lengths in tried:
                continue
            tried.add(lengths)
        if sum(lengths) != size or _codec(lengths, way.profile) != cid.codec(root):
            continue
        found = list(_leaves(read_at, lengths, way.profile))
        if cid.digest(file.build(found, way.profile).cid) == cid.digest(root):
            return found
    return None


def leaf_block(leaf_cid: bytes, data: bytes) -> bytes:
    """The block of a leaf that holds `data`: the data itself, or, where the CID is that of a dag-pb block, what the
    profile unixfs-v0-2015 makes of it. Who asks compares it with the CID."""
    return data if cid.codec(leaf_cid) == cid.RAW else file.leaf(data, V0_2015)[1]


def _codec(lengths: tuple[int, ...], profile: Profile) -> int:
    return cid.RAW if profile.raw_leaves and len(lengths) < 2 else cid.DAG_PB


def _leaves(read_at: ReadAt, lengths: tuple[int, ...], profile: Profile) -> Iterator[Leaf]:
    offset = 0
    for length in lengths:
        data = read_at(offset, length)
        if profile.raw_leaves:
            yield cid.raw_cid(sha256(data).digest()), length
        else:
            yield file.leaf(data, profile)[0], length
        offset += length
