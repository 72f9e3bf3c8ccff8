"""A DAG as a CAR, block by block as they are read: the root, then what it links to, depth first.

Which blocks: `dag-scope=block` the root alone; `entity` all of a file (or a range of it), or of a directory its own
blocks; `all` what is below that, too.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from ipfsfs.errors import FormatError
from ipfsfs.unixfs import car, reading
from ipfsfs.unixfs import cid as cids
from ipfsfs.unixfs.reading import Directory, File, Node, Shard

Scope = Literal["block", "entity", "all"]
SCOPES: Final[tuple[Scope, ...]] = ("block", "entity", "all")
_DEPTH_MAX: Final = 512
_BLOCKS_MAX: Final = 4_000_000
"""Of one CAR: a few nodes can link each other to more than there are atoms."""
_REMEMBERED: Final = 500_000
"""Blocks that are known to have been sent: those of half a terabyte. Beyond, one may come twice, which no reader
minds."""


@dataclass(slots=True, frozen=True)
class Span:
    """Bytes of a file, from `first` on and before `end`; None: to its end. Negative ones count from the end."""

    first: int = 0
    end: int | None = None

    def of(self, size: int) -> tuple[int, int]:
        """The same for a file of `size` bytes: where the bytes begin, and where they end."""
        first = max(0, size + self.first) if self.first < 0 else self.first
        end = size if self.end is None else max(0, size + self.end) if self.end < 0 else min(self.end, size)
        return first, end


@dataclass(slots=True, frozen=True)
class Wanted:
    """What a CAR is to hold."""

    root: bytes
    scope: Scope = "all"
    span: Span = Span()
    duplicates: bool = False


class Incomplete(Exception):
    """A block of the DAG is not here, or no node: the CAR ends before its end."""


async def pieces(
    wanted: Wanted, root: bytes, get: Callable[[bytes], Awaitable[bytes | None]]
) -> AsyncIterator[tuple[bytes, bytes]]:
    """What a CAR consists of: what stands before a block, and the block. `root`: the block of the root, which is had
    already. `get`: gives all others, compared with their CIDs. Raises Incomplete."""
    yield car.header([wanted.root]), b""
    walk = _Walk(wanted.scope, *_bounds(wanted, root))
    sent: set[bytes] = set()
    count = 0
    stack: list[Iterator[tuple[bytes, int]]] = [iter([(wanted.root, 0)])]
    while stack:
        following = next(stack[-1], None)
        if following is None:
            stack.pop()
            continue
        cid, offset = following
        is_sent = not wanted.duplicates and cid in sent
        if is_sent and (walk.is_whole or cids.unixfs_codec(cid) == cids.RAW):
            continue  # all below it was sent as well
        block = await get(cid) if count else root
        count += 1
        if block is None or count > _BLOCKS_MAX or len(stack) > _DEPTH_MAX:
            raise Incomplete
        if not is_sent:
            yield car.before(cid, len(block)), block
            if not wanted.duplicates and len(sent) < _REMEMBERED:
                sent.add(cid)
        if cids.unixfs_codec(cid) == cids.DAG_PB and wanted.scope != "block":
            stack.append(walk.below(_read(cid, block), offset))


def _bounds(wanted: Wanted, root: bytes) -> tuple[int, int | None]:
    """Where the bytes of a file begin and end that are wanted; None: at its end."""
    if wanted.scope != "entity" or wanted.span == Span():
        return 0, None
    node = _read(wanted.root, root)
    return wanted.span.of(node.size) if isinstance(node, File) else (0, None)


def _read(cid: bytes, block: bytes) -> Node:
    """Raises Incomplete for what is no node of UnixFS."""
    try:
        return reading.read(cid, block)
    except FormatError:
        raise Incomplete from None


@dataclass(slots=True, frozen=True)
class _Walk:
    """What is wanted below a node."""

    scope: Scope
    first: int
    end: int | None

    @property
    def is_whole(self) -> bool:
        """Whether all of a file is."""
        return not self.first and self.end is None

    def below(self, node: Node, offset: int) -> Iterator[tuple[bytes, int]]:
        """What a node links to, as far as it is wanted: its CID, and where it begins in its file."""
        match node:
            case File():
                at = offset + len(node.data)
                for part in node.parts:
                    if at + part.size > self.first and (self.end is None or at < self.end):
                        yield part.cid, at
                    at += part.size
            case Directory() if self.scope == "all":
                for entry in node.entries:
                    yield entry.cid, 0
            case Shard():
                for slot in node.slots:
                    if not slot.name or self.scope == "all":
                        yield slot.cid, 0
            case _:
                pass
