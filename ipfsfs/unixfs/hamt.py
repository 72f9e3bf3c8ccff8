"""Directories too large for one node: a trie over the hash of the name; ours take eight bits a level."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from itertools import groupby

from mmh3 import mmh3_x64_128_digest

from ipfsfs.errors import FormatError
from ipfsfs.unixfs import dagpb
from ipfsfs.unixfs.dagpb import NO_METADATA, Link, Metadata, Type, Unixfs

FANOUT = 256
MURMUR3_X64_64 = 0x22
_LEVELS = 8
_HASH_BITS = 64
_FANOUTS = (8, 16, 32, 64, 128, 256, 512, 1024)
"""That the specification allows: bitfields are whole bytes, and a shard is no larger than a reader can bear."""

Leaf = tuple[bytes, bytes, bytes, int]
"""An entry: hash of its name, name, CID, tsize."""


def hash_name(name: bytes) -> bytes:
    """The eight bytes that place `name`, one a level: the first half of murmur3-x64-128, big-endian."""
    return mmh3_x64_128_digest(name)[7::-1]


def shard(
    leaves: list[Leaf],
    level: int,
    node_cid: Callable[[bytes], bytes],
    nodes: list[tuple[bytes, bytes]],
    metadata: Metadata = NO_METADATA,
) -> Generator[None, None, tuple[bytes, int]]:
    """Builds the shard at `level` over `leaves`, whose names all differ; appends its blocks to `nodes`, children first.

    Yields before each block, and returns the shard's CID and tsize. `metadata` is the directory's and stands in the
    root alone. Raises FormatError if different names have the same hash: no reader could tell them apart either.
    """
    if level == _LEVELS:
        raise FormatError(f"{len(leaves)} names of a directory have the same hash, among them {leaves[0][1]!r}")
    links: list[bytes] = []
    bitfield = 0
    below = 0
    for slot, group in groupby(sorted(leaves), key=lambda leaf: leaf[0][level]):
        bitfield |= 1 << slot
        here = list(group)
        prefix = b"%02X" % slot
        if len(here) == 1:
            _, name, cid, tsize = here[0]
        else:
            name = b""
            cid, tsize = yield from shard(here, level + 1, node_cid, nodes)
        links.append(dagpb.encode_link(cid, prefix + name, tsize))
        below += tsize
    yield
    present = bitfield.to_bytes((bitfield.bit_length() + 7) // 8, "big")
    message = Unixfs(Type.HAMT_SHARD, present, hash_type=MURMUR3_X64_64, fanout=FANOUT, metadata=metadata)
    block = dagpb.encode_node(links, dagpb.encode_unixfs(message))
    root = node_cid(block)
    nodes.append((root, block))
    return root, len(block) + below


@dataclass(slots=True, frozen=True)
class Slot:
    """A slot of a shard that is taken: by an entry, or, where `name` is empty, by a shard below."""

    number: int
    name: bytes
    cid: bytes
    tsize: int


@dataclass(slots=True, frozen=True)
class Place:
    """Where a shard stands: the names below it have hashes that begin with `bits` bits of the value `prefix`."""

    fanout: int
    bits: int = 0
    prefix: int = 0

    def below(self, slot: int) -> Place:
        """The place of what stands in a slot. Raises FormatError where the hash has no bits left to tell slots by."""
        step = self.fanout.bit_length() - 1
        if self.bits + step > _HASH_BITS:
            raise FormatError(f"shards {self.bits // step + 1} levels deep, and a hash has {_HASH_BITS} bits")
        return Place(self.fanout, self.bits + step, self.prefix << step | slot)

    def has(self, name: bytes) -> bool:
        """Whether a reader that looks `name` up comes to this place."""
        return int.from_bytes(hash_name(name), "big") >> (_HASH_BITS - self.bits) == self.prefix


def slots(links: list[Link], message: Unixfs) -> list[Slot]:
    """The slots of a shard that are taken, in order. Raises FormatError unless parameters, bitfield and links agree."""
    fanout = message.fanout
    if message.hash_type != MURMUR3_X64_64 or fanout not in _FANOUTS:
        raise FormatError(f"a shard of hash {message.hash_type} and fanout {fanout}")
    present = int.from_bytes(message.data or b"", "big")
    if len(message.data or b"") > fanout // 8 or present.bit_count() != len(links):
        raise FormatError(f"a shard with {len(links)} links and a bitfield that has {present.bit_count()} bits set")
    width = len(f"{fanout - 1:X}")
    found: list[Slot] = []
    for link in links:
        number = (present & -present).bit_length() - 1
        present &= present - 1
        if not link.name.startswith(b"%0*X" % (width, number)):
            raise FormatError(f"a shard with the link {link.name[:80]!r} in slot {number:0{width}X}")
        found.append(Slot(number, link.name[width:], link.cid, link.tsize))
    return found
