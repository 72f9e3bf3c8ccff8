"""From a directory's entries to its root: one node, or a HAMT when it is too large for one.

Names are bytes. One that is not UTF-8 (Linux permits any but NUL and "/") goes into the node as it is, as Go's importer
does it, although the format calls the field a string: the alternative is a directory without its file. What looks up
such a name in Go finds it; importers that insist on UTF-8 refuse the node.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from ipfsfs.errors import FormatError
from ipfsfs.unixfs import dagpb, hamt
from ipfsfs.unixfs.dagpb import NO_METADATA, Metadata, Type, Unixfs
from ipfsfs.unixfs.file import Dag, finish, node_cid
from ipfsfs.unixfs.profile import V1_2025, Profile

_STEP: Final = 1024
"""Entries that are prepared in one step."""


@dataclass(slots=True, frozen=True)
class Entry:
    """A name in a directory. `tsize`: bytes of all blocks of what it names, as `Dag.tsize` says."""

    name: bytes
    cid: bytes
    tsize: int


def build(entries: Iterable[Entry], profile: Profile = V1_2025, metadata: Metadata = NO_METADATA) -> Dag:
    """The DAG of a directory that holds `entries`, in any order.

    The form follows from the entries alone, not from how the directory came to hold them (Kubo's own conversion between
    the two forms does depend on it). Raises FormatError for a name that comes twice.
    """
    return finish(building(entries, profile, metadata))


def building(
    entries: Iterable[Entry], profile: Profile = V1_2025, metadata: Metadata = NO_METADATA
) -> Generator[None, None, Dag]:
    """`build` in steps, for a caller that has other work to do between them. Returns the DAG."""
    ordered = sorted(entries, key=lambda entry: entry.name)
    for before, after in pairwise(ordered):
        if before.name == after.name:
            raise FormatError(f"two entries of a directory are named {after.name!r}")
    yield
    measure = sum([len(entry.name) + len(entry.cid) for entry in ordered])  # a block has these bytes, and more
    block = b""
    if measure <= profile.shard_above:
        links = [dagpb.encode_link(entry.cid, entry.name, entry.tsize) for entry in ordered]
        block = dagpb.encode_node(links, dagpb.encode_unixfs(Unixfs(Type.DIRECTORY, metadata=metadata)))
        if profile.shard_by == "block-bytes":
            measure = len(block)
    if measure <= profile.shard_above:
        root = node_cid(block, profile)
        return Dag(root, 0, len(block) + sum([entry.tsize for entry in ordered]), [(root, block)])
    leaves: list[hamt.Leaf] = []
    for at in range(0, len(ordered), _STEP):
        yield
        leaves += [(hamt.hash_name(one.name), one.name, one.cid, one.tsize) for one in ordered[at : at + _STEP]]
    nodes: list[tuple[bytes, bytes]] = []
    root, tsize = yield from hamt.shard(leaves, 0, lambda node: node_cid(node, profile), nodes, metadata)
    return Dag(root, 0, tsize, nodes)
