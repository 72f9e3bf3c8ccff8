"""Which blocks may be given, and where their bytes are: the offers of the daemon, by what they are asked for by.

A leaf takes 36 bytes, which its offer has of it, and 16 to 40 in the table of digests: about 65 MB for a terabyte in
leaves of a mebibyte. The nodes right above leaves are made again from those when they are asked for; those further up
are kept, one for each million leaves.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

import trio

from ipfsfs.errors import FormatError
from ipfsfs.origins.peer_messages import RUN_MAX
from ipfsfs.store.seal import LEAF_SIZE, unpack_leaves
from ipfsfs.unixfs import cid as cids
from ipfsfs.unixfs import file
from ipfsfs.unixfs.profile import V1_2025
from ipfsfs.workers.server.digests import Digests
from ipfsfs.workers.server.offer import NodesOffer, Offer

_WIDTH: Final = V1_2025.width
_MARK: Final = 256
"""Every so many leaves the offset of one is noted."""
_LENGTH_SIZE: Final = LEAF_SIZE - 32


@dataclass(slots=True, eq=False)
class Offered:
    """An offer as it is kept. `number`: by which leaves name it; 0 once it was withdrawn. `nodes`: digests of its nodes
    right above leaves, in order. `upper`: the blocks of those further up, by digest."""

    offer: Offer
    number: int = 0
    marks: array[int] = field(default_factory=lambda: array("Q"))
    nodes: list[bytes] = field(default_factory=list)
    upper: dict[bytes, bytes] = field(default_factory=dict)

    def leaf(self, index: int) -> tuple[int, int, bytes]:
        """Offset, length and digest of a leaf."""
        first = index - index % _MARK
        lengths = unpack_leaves(self.offer.leaves[LEAF_SIZE * first : LEAF_SIZE * (index + 1)])
        *before, (length, digest) = lengths
        return self.marks[index // _MARK] + sum(length for length, _ in before), length, digest

    def run(self, index: int, count: int) -> Iterator[tuple[int, int, bytes]]:
        """A leaf, and what follows it as far as a run goes: offsets, lengths and digests."""
        offset, total = self.leaf(index)[0], 0
        for length, digest in unpack_leaves(self.offer.leaves[LEAF_SIZE * index : LEAF_SIZE * (index + count)]):
            total += length
            if total > RUN_MAX and total > length:
                return
            yield offset, length, digest
            offset += length

    def node(self, number: int) -> bytes:
        """The block of a node right above leaves."""
        return file.node(list(_children(self.offer.leaves, number)))[1]


@dataclass(slots=True, frozen=True)
class LeafAt:
    """A leaf of a file that is offered."""

    offered: Offered
    index: int


@dataclass(slots=True, frozen=True)
class NodeOf:
    """A node of a file that is offered; the file itself is to be there, too, for the node to be given. `number`: of the
    node right above leaves; None for one further up."""

    offered: Offered
    number: int | None


@dataclass(slots=True, frozen=True)
class InStore:
    """A node of a tree that was published, in the store's directory of blocks."""

    public: bool


Found = LeafAt | NodeOf | InStore


@dataclass(slots=True)
class Catalog:
    """All offers. Offers are taken one at a time (`add`), and found meanwhile."""

    _by_key: dict[tuple[bytes, int], Offered] = field(default_factory=dict)
    _files: list[Offered | None] = field(default_factory=lambda: [None])
    _tables: list[bytes] = field(default_factory=lambda: [b""])
    """By number, the leaves of each file, none for one that was withdrawn."""
    _digests: Digests = field(default_factory=Digests)
    _nodes: dict[bytes, list[tuple[Offered, int | None]]] = field(default_factory=dict)
    _trees: dict[bytes, NodesOffer] = field(default_factory=dict)
    _in_store: dict[bytes, list[NodesOffer]] = field(default_factory=dict)

    total: int = 0
    """Bytes of all files that are offered, whether or not all of each is here."""

    @property
    def count(self) -> int:
        """How many files are offered."""
        return len(self._by_key)

    def find(self, digest: bytes) -> Iterator[Found]:
        """Where a block may be had, by its sha2-256 (32 bytes), whatever its codec."""
        for number, index in list(self._digests.candidates(digest)):
            offered = self._files[number]
            at = LEAF_SIZE * index + _LENGTH_SIZE
            if offered is not None and self._tables[number][at : at + 32] == digest:
                yield LeafAt(offered, index)
        for offered, node in list(self._nodes.get(digest, ())):
            yield NodeOf(offered, node)
        for tree in list(self._in_store.get(digest, ())):
            yield InStore(tree.public)

    async def add(self, offer: Offer) -> None:
        """Take an offer, in the place of one of the same root and size. Raises FormatError where its leaves do not give
        its root; nothing is offered then."""
        known = self._by_key.get(offer.key)
        if known is not None and known.offer.leaves == offer.leaves:
            known.offer = offer
            return
        self.withdraw(*offer.key)
        offered = Offered(offer)
        await _build(offered)
        await self._index(offered)
        self._by_key[offer.key] = offered
        self.total += offer.size
        for number, digest in enumerate(offered.nodes):
            self._nodes.setdefault(digest, []).append((offered, number))
        for digest in offered.upper:
            self._nodes.setdefault(digest, []).append((offered, None))

    def withdraw(self, root: bytes, size: int) -> None:
        """An offer holds no longer; none of it is found from now on."""
        offered = self._by_key.pop((root, size), None)
        if offered is None:
            return
        self.total -= size
        self._files[offered.number], self._tables[offered.number] = None, b""
        offered.number = 0
        for digest in (*offered.nodes, *offered.upper):
            others = [other for other in self._nodes[digest] if other[0] is not offered]
            if others:
                self._nodes[digest] = others
            else:
                del self._nodes[digest]

    def add_nodes(self, tree: NodesOffer) -> None:
        """Take an offer of nodes, in the place of one of the same root."""
        self.withdraw_nodes(tree.root)
        self._trees[tree.root] = tree
        for digest in tree.each():
            self._in_store.setdefault(digest, []).append(tree)

    def withdraw_nodes(self, root: bytes) -> None:
        """An offer of nodes holds no longer."""
        tree = self._trees.pop(root, None)
        for digest in tree.each() if tree is not None else ():
            others = [other for other in self._in_store.get(digest, ()) if other is not tree]
            if others:
                self._in_store[digest] = others
            else:
                self._in_store.pop(digest, None)

    async def _index(self, offered: Offered) -> None:
        count = len(offered.offer.leaves) // LEAF_SIZE
        if not self._digests.has_room(count):
            await self._make_room(count)
        number = offered.number = len(self._files)
        self._files.append(offered)
        self._tables.append(offered.offer.leaves)
        await self._note(self._digests, number)

    async def _note(self, digests: Digests, number: int) -> None:
        table = self._tables[number]
        for index in range(len(table) // LEAF_SIZE):
            at = LEAF_SIZE * index + _LENGTH_SIZE
            digests.add(table[at : at + 32], number, index, self._tables, LEAF_SIZE, _LENGTH_SIZE)
            if index % _WIDTH == _WIDTH - 1:
                await trio.lowlevel.checkpoint()

    async def _make_room(self, count: int) -> None:
        """A table of digests with room for so many more, and without what was withdrawn."""
        leaves = sum(len(table) for table in self._tables) // LEAF_SIZE + count
        digests = Digests(leaves + leaves // 4)
        for number, table in enumerate(self._tables):
            if table:
                await self._note(digests, number)
        self._digests = digests


def _children(leaves: bytes, number: int) -> Iterator[tuple[bytes, int, int]]:
    """The children of a node right above leaves."""
    part = leaves[LEAF_SIZE * _WIDTH * number : LEAF_SIZE * _WIDTH * (number + 1)]
    return ((cids.raw_cid(digest), length, length) for length, digest in unpack_leaves(part))


async def _build(offered: Offered) -> None:
    """Find the nodes of an offered file. Raises FormatError where they do not lead to its root."""
    offer = offered.offer
    count = len(offer.leaves) // LEAF_SIZE
    offset = 0
    level: list[tuple[bytes, int, int]] = []
    for number in range(-(-count // _WIDTH)):
        children = list(_children(offer.leaves, number))
        for at, (_, length, _) in enumerate(children):
            if (number * _WIDTH + at) % _MARK == 0:
                offered.marks.append(offset)
            offset += length
        if count > 1:
            parent, block = file.node(children)
            offered.nodes.append(parent[-32:])
            size = sum(child[1] for child in children)
            level.append((parent, size, len(block) + size))
        else:
            level = children
        await trio.lowlevel.checkpoint()
    while len(level) > 1:
        below, level = iter(level), []
        while group := list(islice(below, _WIDTH)):
            parent, block = file.node(group)
            offered.upper[parent[-32:]] = block
            level.append((parent, sum(child[1] for child in group), len(block) + sum(child[2] for child in group)))
        await trio.lowlevel.checkpoint()
    if not count:
        level = [(cids.EMPTY, 0, 0)]
    if level[0][0] != offer.root or offset != offer.size:
        raise FormatError(f"the leaves that are offered of {cids.to_text(offer.root)} do not give it")
