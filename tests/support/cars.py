"""CARs of raw blocks, whole and streamed, for tests of what takes them."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterable, Sequence

from ipfsfs.unixfs import car, file
from ipfsfs.unixfs.cid import raw_cid, to_text


def car_with(root: bytes, blocks: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A CARv1 with one root and these blocks (CID, bytes)."""
    return b"".join([car.header([root]), *(car.frame(cid, block) for cid, block in blocks)])


def raw(block: bytes) -> bytes:
    """The CID of a raw block."""
    return raw_cid(hashlib.sha256(block).digest())


async def pieces(data: bytes, size: int) -> AsyncIterator[bytes]:
    """The data in pieces, as it would be streamed."""
    for at in range(0, len(data), size):
        yield data[at : at + size]


async def endless(sent: list[int]) -> AsyncIterator[bytes]:
    """What begins like a CAR and never ends; `sent` has the length of each piece that was asked for."""
    piece = car_of([b"x" * 100_000])
    while True:
        sent.append(len(piece))
        yield piece


def car_of(blocks: Sequence[bytes]) -> bytes:
    """A CARv1 of raw blocks; the first is the root."""
    return car_with(raw(blocks[0]), [(raw(block), block) for block in blocks])


def blocks_of(content: bytes, size: int = 1 << 20) -> tuple[str, list[tuple[bytes, bytes]]]:
    """The CID of a file that is cut every `size` bytes, and its blocks (CID, bytes): the root first."""
    leaves = [content[at : at + size] for at in range(0, len(content), size)]
    dag = file.build([(raw(leaf), len(leaf)) for leaf in leaves])
    return to_text(dag.cid), [*reversed(dag.nodes), *((raw(leaf), leaf) for leaf in leaves)]
