"""Walks over DAGs whose blocks are in a dict, and blocks made by hand, which need make no sense."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256

import pytest
from hypothesis import strategies as st

from ipfsfs.errors import FormatError
from ipfsfs.unixfs import dagpb
from ipfsfs.unixfs.cid import dag_pb_cid, raw_cid, to_text
from ipfsfs.unixfs.dagpb import Link, Type, Unixfs
from ipfsfs.unixfs.file_walk import FileWalk
from ipfsfs.unixfs.profile import Profile
from ipfsfs.unixfs.tree_walk import TreeEntry, TreeWalk

ALWAYS_SHARDED = Profile("always sharded", 1, True, 1 << 20, 1024, "block-bytes", 1)

NAMES = st.binary(min_size=1, max_size=12).filter(
    lambda name: name not in (b".", b"..") and not {0, ord("/")} & set(name)
)
"""Names that a file can have."""

Blocks = Mapping[bytes, bytes]


def raw(data: bytes) -> bytes:
    """The CID of a raw block."""
    return raw_cid(sha256(data).digest())


def node(made: dict[bytes, bytes], links: Iterable[Link], message: Unixfs) -> bytes:
    """Puts a dag-pb block into `made`, and returns its CID."""
    encoded = [dagpb.encode_link(link.cid, link.name, link.tsize) for link in links]
    block = dagpb.encode_node(encoded, dagpb.encode_unixfs(message))
    cid = dag_pb_cid(sha256(block).digest())
    made[cid] = block
    return cid


def walk_file(root: bytes, size: int | None, blocks: Blocks) -> FileWalk:
    """The walk over a file, at its end. Each node is asked for once."""
    walk = FileWalk(root, size)
    given: set[bytes] = set()
    while wanted := walk.wanted():
        assert wanted == walk.wanted()
        for cid in reversed(wanted):
            assert cid not in given
            given.add(cid)
            walk.give(cid, blocks[cid])
            walk.give(cid, blocks[cid])
    return walk


def walk_tree(root: bytes, blocks: Blocks) -> dict[bytes, TreeEntry]:
    """All entries below a directory, by path. A directory's comes before those in it."""
    walk = TreeWalk(root)
    found: dict[bytes, TreeEntry] = {}
    while wanted := walk.wanted():
        assert wanted == walk.wanted()
        for cid in reversed(wanted):
            for entry in walk.give(cid, blocks[cid]):
                assert entry.path not in found
                parent = entry.path.rpartition(b"/")[0]
                assert not parent or found[parent].kind == "directory"
                found[entry.path] = entry
    return found


def directory_node(made: dict[bytes, bytes], *links: Link) -> bytes:
    """Puts a directory with these links into `made`, whatever they are."""
    return node(made, links, Unixfs(Type.DIRECTORY))


def shard(*slots: int, fanout: int | None = 256, hash_type: int | None = 0x22, data: bytes | None = None) -> Unixfs:
    """The message of a shard: its bitfield has the bits of `slots` set, or is `data`."""
    if data is None:
        bitfield = sum(1 << slot for slot in slots)
        data = bitfield.to_bytes((bitfield.bit_length() + 7) // 8, "big")
    return Unixfs(Type.HAMT_SHARD, data, hash_type=hash_type, fanout=fanout)


def tree_is_refused(root: bytes, blocks: Blocks, what: str, of: bytes | None = None) -> None:
    """The walk over a tree says what is wrong, and with which block: `of`, or the root."""
    with pytest.raises(FormatError, match=what) as caught:
        walk_tree(root, blocks)
    assert str(caught.value).startswith(to_text(root if of is None else of) + ": ")
