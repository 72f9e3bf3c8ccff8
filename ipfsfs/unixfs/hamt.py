"""Directories too large for one node: a trie over the hash of the name, eight bits a level."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby

from mmh3 import mmh3_x64_128_digest

from ipfsfs.errors import FormatError
from ipfsfs.unixfs import dagpb
from ipfsfs.unixfs.dagpb import NO_METADATA, Metadata, Type, Unixfs

FANOUT = 256
MURMUR3_X64_64 = 0x22
_LEVELS = 8

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
) -> tuple[bytes, int]:
    """Builds the shard at `level` over `leaves`, whose names all differ; appends its blocks to `nodes`, children first.

    Returns its CID and its tsize. `metadata` is the directory's and stands in the root alone. Raises FormatError if
    different names have the same hash: no reader could tell them apart either.
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
            cid, tsize = shard(here, level + 1, node_cid, nodes)
        links.append(dagpb.encode_link(cid, prefix + name, tsize))
        below += tsize
    present = bitfield.to_bytes((bitfield.bit_length() + 7) // 8, "big")
    message = Unixfs(Type.HAMT_SHARD, present, hash_type=MURMUR3_X64_64, fanout=FANOUT, metadata=metadata)
    block = dagpb.encode_node(links, dagpb.encode_unixfs(message))
    root = node_cid(block)
    nodes.append((root, block))
    return root, len(block) + below
