"""Where a file is cut into leaves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from ipfsfs.unixfs import tensor
from ipfsfs.unixfs.span import ReadAt

Chunker = Literal["auto", "fixed"]

LEAF_MAX = 1 << 20
"""The longest leaf, in bytes: the chunk of unixfs-v1-2025, and half of what a block may be."""


def plan(read_at: ReadAt, size: int, chunker: Chunker) -> Iterator[int]:
    """Yields the lengths of a file's leaves in order: each 1 to `LEAF_MAX` bytes, together `size`. No bytes, no leaf.

    "fixed" cuts every `LEAF_MAX` bytes, as `ipfs add` with the profile unixfs-v1-2025 does. "auto" first cuts where a
    tensor begins or ends if the content is safetensors, GGUF or a torch zip (`tensor.cuts`), so that the same tensor
    gives the same leaves in each of them; it equals "fixed" for all else. Content alone decides, never a name.

    `read_at(offset, length)` reads the file; fewer bytes than asked for mean end of file. What it raises goes on.
    """
    start = 0
    if chunker == "auto":
        for cut in tensor.cuts(read_at, size):
            yield from fixed(cut - start)
            start = cut
    yield from fixed(size - start)


def fixed(size: int, length: int = LEAF_MAX) -> Iterator[int]:
    """Yields `length` as often as it fits into `size`, then the rest."""
    whole, rest = divmod(size, length)
    for _ in range(whole):
        yield length
    if rest:
        yield rest
