"""From a file's root to the table of its leaves, without I/O: says which nodes it needs, takes them, checks all of it.

    walk = FileWalk(root, size)
    while wanted := walk.wanted():
        for cid in wanted: walk.give(cid, <its block, from anywhere>)
    for leaf in walk.leaves(): ...

Each node is fetched once, however often it is linked, and nothing is expanded before it is known how many leaves that
gives: a few small nodes can link each other to more leaves than there are atoms.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from ipfsfs.unixfs import cid as cids
from ipfsfs.unixfs import dagpb, reading
from ipfsfs.unixfs.reading import FILE_MAX, File, FilePart, fault

DEPTH_MAX: Final = 32
"""Links from the root to a leaf. A balanced file of 8 EiB has 5; the trickle layout, and old importers, have more."""

LEAVES_MAX: Final = 4_000_000
"""A file of a terabyte has as many in pieces of 256 KiB, the smallest that importers make unless they are told to. A
leaf takes 41 bytes while the file is walked, and some 100 in the table of whoever keeps it."""

WANTED_MAX: Final = 64
"""So many nodes are asked for at once: more need no fetcher in parallel, and a caller's list stays short."""

_RAW, _DAG_PB, _DAG_PB_V0 = range(3)
_KINDS: Final = (cids.raw_cid, cids.dag_pb_cid, cids.dag_pb_cid_v0)


@dataclass(slots=True, frozen=True)
class Leaf:
    """`length` bytes of a file at `offset`: what `reading.content` gives for the block of `cid`."""

    offset: int
    length: int
    cid: bytes


class _Parts:
    """The links of a node, packed: a file of 4,000,000 leaves has as many."""

    __slots__ = ("_digests", "_kinds", "_sizes")

    def __init__(self, parts: list[FilePart]) -> None:
        self._kinds = bytes([_kind(part.cid) for part in parts])
        self._digests = b"".join([part.cid[-32:] for part in parts])
        self._sizes = array("Q", [part.size for part in parts])

    def __len__(self) -> int:
        return len(self._kinds)

    def __iter__(self) -> Iterator[FilePart]:
        for at, (kind, size) in enumerate(zip(self._kinds, self._sizes, strict=True)):
            yield FilePart(_KINDS[kind](self._digests[32 * at : 32 * at + 32]), size)

    def nodes(self) -> Iterator[bytes]:
        """The CIDs of the parts that are not raw leaves."""
        for at, kind in enumerate(self._kinds):
            if kind != _RAW:
                yield _KINDS[kind](self._digests[32 * at : 32 * at + 32])


@dataclass(slots=True, frozen=True)
class _Node:
    block: int  # bytes
    data: int  # bytes of the file in the node itself
    parts: _Parts


@dataclass(slots=True, frozen=True)
class _Total:
    """What a node comes to with all below it: leaves, bytes of blocks, links to the deepest leaf."""

    leaves: int
    tsize: int
    depth: int


class FileWalk:
    """Finds the leaves of a file. `root`: its CID. `size`: the bytes that it must have, None to take the root's word.

    What is certain at the end: the leaves are those of `root`, in order, none empty, together `size` bytes by what its
    nodes say. That a raw leaf has the length that is said is seen when it comes; a DAG whose nodes lie about it has no
    right bytes at all. Raises FormatError, with the CID, here and in `give`.
    """

    def __init__(self, root: bytes, size: int | None) -> None:
        self._root = root
        self._nodes: dict[bytes, _Node] = {}
        self._declared: dict[bytes, tuple[int | None, int]] = {}  # bytes of the file, links from the root
        self._wanted: dict[bytes, None] = {}  # in the order of their discovery
        self._links = 0
        self._total = _Total(0, 0, 0)
        self._size = size
        if size is not None:
            self._check_size(size)
        if reading.linkable(root) == cids.DAG_PB or size is None:
            self._declared[root] = size, 0
            self._wanted[root] = None
        else:
            self._check_raw_root(size)
            self._total = _Total(1 if size else 0, size, 0)

    def wanted(self) -> list[bytes]:
        """The CIDs of nodes that are needed now, at most `WANTED_MAX`; none when the walk is at its end.

        The same ones again until they are given. Where leaves are dag-pb, each is wanted: only its block tells that it
        is one.
        """
        return list(islice(self._wanted, WANTED_MAX))

    def give(self, cid: bytes, block: bytes) -> None:
        """Takes the block of a node. One that is not wanted, or no longer, is ignored.

        Bytes that are not the block of `cid` change nothing; after any other FormatError the walk is over.
        """
        if cid not in self._wanted:
            return
        node = reading.read(cid, block)
        size, depth = self._declared[cid]
        if not isinstance(node, File):
            raise fault(cid, "not part of a file")
        if size is None:
            self._check_size(node.size)
            self._size = node.size
        elif node.size != size:
            raise fault(cid, f"{node.size} bytes of a file, and {size} are said of it")
        for part in node.parts:
            self._discover(cid, part, depth + 1)
        self._links += len(node.parts)
        if self._links > self._links_max():
            raise fault(self._root, f"a file of {self._size} bytes with more than {self._links_max()} links")
        # The empty file has a node and no leaf.
        self._nodes[cid] = _Node(len(block), len(node.data), _Parts(node.parts))
        del self._wanted[cid]
        if not self._wanted:
            self._finish()

    @property
    def size(self) -> int:
        """The bytes of the file. Call it at the end of the walk, as the others below."""
        self._check_ended()
        return self._size or 0

    @property
    def tsize(self) -> int:
        """The bytes of all blocks, each as often as it is linked: what a directory's link says of this file."""
        self._check_ended()
        return self._total.tsize

    @property
    def leaf_count(self) -> int:
        """How many leaves there are."""
        self._check_ended()
        return self._total.leaves

    def leaves(self) -> Iterator[Leaf]:
        """The leaves in order; none for the empty file."""
        self._check_ended()
        if self._root not in self._nodes:
            if self._size:
                yield Leaf(0, self._size, self._root)
            return
        offset = 0
        above: list[Iterator[FilePart]] = [iter((FilePart(self._root, self.size),))]
        while above:
            part = next(above[-1], None)
            if part is None:
                above.pop()
                continue
            node = self._nodes.get(part.cid)
            length = part.size if node is None else node.data
            if length:
                yield Leaf(offset, length, part.cid)
                offset += length
            if node is not None:
                above.append(iter(node.parts))

    def _discover(self, parent: bytes, part: FilePart, depth: int) -> None:
        if depth > DEPTH_MAX:
            raise fault(parent, f"more than {DEPTH_MAX} links below the root of a file")
        if cids.unixfs_codec(part.cid) == cids.RAW:
            return
        known = self._declared.get(part.cid)
        if known is None:
            self._declared[part.cid] = part.size, depth
            self._wanted[part.cid] = None
        elif known[0] != part.size:
            raise fault(part.cid, f"{known[0]} bytes of a file are said of it, and {part.size} as well")

    def _links_max(self) -> int:
        """How many links the nodes of this file can have between them.

        Its size has room for as many leaves, at most one for each byte. A tree over them in which each node has two
        links or more has as many links again; a node with one link is made once a level, at the end.
        """
        return 2 * min(self._size or 0, LEAVES_MAX) + DEPTH_MAX

    def _check_size(self, size: int) -> None:
        if not 0 <= size <= min(FILE_MAX, LEAVES_MAX * dagpb.BLOCK_MAX):
            raise fault(self._root, f"a file of {size} bytes has more than {LEAVES_MAX} leaves, or none")

    def _check_raw_root(self, size: int) -> None:
        if size > dagpb.BLOCK_MAX:
            raise fault(self._root, f"one raw block of {size} bytes")
        if (self._root == cids.EMPTY) != (size == 0):
            raise fault(self._root, f"{size} bytes are said of it, and only the raw block without bytes has none")

    def _check_ended(self) -> None:
        if self._wanted:
            raise RuntimeError("the walk is not at its end")

    def _finish(self) -> None:
        """Sums up, children before parents; a node that is linked many times is looked at once."""
        totals: dict[bytes, _Total] = {}
        stack = [self._root]
        while stack:
            cid = stack[-1]
            missing = [] if cid in totals else [one for one in self._nodes[cid].parts.nodes() if one not in totals]
            if missing:
                stack.extend(dict.fromkeys(missing))
                continue
            stack.pop()
            if cid not in totals:
                totals[cid] = self._sum(self._nodes[cid], totals)
                if totals[cid].leaves > LEAVES_MAX:
                    raise fault(cid, f"a file with {totals[cid].leaves} leaves; at most {LEAVES_MAX} are read")
                if totals[cid].depth > DEPTH_MAX:
                    raise fault(cid, f"more than {DEPTH_MAX} links below it to a leaf of a file")
        self._total = totals[self._root]

    def _sum(self, node: _Node, totals: dict[bytes, _Total]) -> _Total:
        leaves, tsize, depth = int(node.data > 0), node.block, 0
        for part in node.parts:
            below = totals.get(part.cid) or _Total(1, part.size, 0)
            leaves += below.leaves
            tsize += below.tsize
            depth = max(depth, below.depth + 1)
        return _Total(leaves, tsize, depth)


def _kind(cid: bytes) -> int:
    if cids.unixfs_codec(cid) == cids.RAW:
        return _RAW
    return _DAG_PB if len(cid) == cids.V1_SIZE else _DAG_PB_V0
