"""Where a file is cut into leaves: the table of chunkers, and what they have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from ipfsfs.unixfs import tensor
from ipfsfs.unixfs.span import ReadAt

Chunker = Literal["auto", "fixed"]
"""The name of a chunker. A new one is a name here and a row of `CHUNKERS`."""

LEAF_MAX = 1 << 20
"""The longest leaf, in bytes: the chunk of unixfs-v1-2025, and half of what a block may be."""


@dataclass(slots=True, frozen=True)
class Rule:
    """How a chunker cuts. `cuts(read_at, size)` yields the offsets at which a leaf begins whatever its length would
    otherwise be, in ascending order; content alone may decide, never a name. `meaning` is shown to users."""

    cuts: Callable[[ReadAt, int], Iterable[int]]
    meaning: str


def _nowhere(_: ReadAt, __: int) -> Iterable[int]:
    return ()


CHUNKERS: Final[dict[Chunker, Rule]] = {
    "auto": Rule(tensor.cuts, "leaves of weights begin where tensors do"),
    "fixed": Rule(_nowhere, "1 MiB, as `ipfs add` with unixfs-v1-2025"),
}
DEFAULT: Final[Chunker] = "auto"


def chunker_named(name: str) -> Chunker:
    """A chunker by its name. Raises KeyError where there is none."""
    return {str(known): known for known in CHUNKERS}[name]


def plan(read_at: ReadAt, size: int, chunker: Chunker) -> Iterator[int]:
    """Yields the lengths of a file's leaves in order: each 1 to `LEAF_MAX` bytes, together `size`. No bytes, no leaf.

    A chunker's cuts come first, then every `LEAF_MAX` bytes: "auto" cuts where a tensor begins or ends if the content
    is safetensors, GGUF or a torch zip, so that the same tensor gives the same leaves in each of them, and equals
    "fixed" for all else; "fixed" equals `ipfs add` with the profile unixfs-v1-2025.

    `read_at(offset, length)` reads the file; fewer bytes than asked for mean end of file. What it raises goes on.
    """
    start = 0
    for cut in CHUNKERS[chunker].cuts(read_at, size):
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
