"""The tree over a file's leaves."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfsfs.unixfs import dagpb, file
from ipfsfs.unixfs.cid import RAW, codec, raw_cid
from ipfsfs.unixfs.dagpb import Metadata, Type
from ipfsfs.unixfs.profile import V0_2015, V1_2025, Profile

_NARROW = Profile("narrow", 1, True, 16, 3, "block-bytes", 262_144)


def _leaves(sizes: list[int]) -> list[tuple[bytes, int]]:
    return [(raw_cid(sha256(b"%d" % i).digest()), size) for i, size in enumerate(sizes)]


def _walk(cid: bytes, size: int, blocks: dict[bytes, bytes], depth: int, found: list[tuple[bytes, int, int]]) -> int:
    """Lists the (CID, length, depth) of the leaves below a node, and checks what nodes say. Returns the tsize."""
    if codec(cid) == RAW:
        found.append((cid, size, depth))
        return size
    links, data = dagpb.decode_node(blocks[cid])
    assert data is not None
    message = dagpb.decode_unixfs(data)
    assert message.type is Type.FILE
    assert message.filesize == size == sum(message.blocksizes)
    assert 0 < len(links) == len(message.blocksizes) <= 3
    tsizes = [
        _walk(link.cid, length, blocks, depth + 1, found)
        for link, length in zip(links, message.blocksizes, strict=True)
    ]
    assert [link.tsize for link in links] == tsizes
    assert {link.name for link in links} == {b""}
    return len(blocks[cid]) + sum(tsizes)


@given(st.lists(st.integers(1, 1 << 20), min_size=1, max_size=100))
def test_a_reader_finds_all_leaves_in_order_at_one_depth(sizes: list[int]) -> None:
    leaves = _leaves(sizes)
    dag = file.build(leaves, _NARROW)
    found: list[tuple[bytes, int, int]] = []
    assert _walk(dag.cid, dag.size, dict(dag.nodes), 0, found) == dag.tsize
    assert [(cid, size) for cid, size, _ in found] == leaves
    assert len({depth for _, _, depth in found}) == 1
    assert dag.size == sum(sizes)


@pytest.mark.parametrize(("count", "nodes"), [(1, 0), (2, 1), (3, 1), (4, 3), (9, 4), (10, 7), (27, 13), (28, 17)])
def test_nodes_of_a_balanced_tree(count: int, nodes: int) -> None:
    dag = file.build(_leaves([16] * count), _NARROW)
    assert len(dag.nodes) == nodes
    assert not nodes or dag.nodes[-1][0] == dag.cid
    made: set[bytes] = {cid for cid, _ in _leaves([16] * count)}
    for cid, block in dag.nodes:
        assert {link.cid for link in dagpb.decode_node(block)[0]} <= made  # children come before parents
        made.add(cid)


def test_one_leaf_is_the_file() -> None:
    leaf = _leaves([77])
    assert file.build(leaf) == file.Dag(leaf[0][0], 77, 77, [])


def test_no_leaf_is_the_empty_file() -> None:
    assert file.build([]) == file.Dag(raw_cid(sha256(b"").digest()), 0, 0, [])
    assert file.build([], V0_2015).cid == file.leaf(b"", V0_2015)[0]


def test_uneven_leaves_say_their_sizes() -> None:
    dag = file.build(_leaves([5, 1 << 20, 64, 7]))
    message = dagpb.decode_unixfs(dagpb.decode_node(dag.nodes[0][1])[1] or b"")
    assert message.blocksizes == [5, 1 << 20, 64, 7]


@pytest.mark.parametrize("count", [2, 3, 4, 9, 10])
def test_metadata_stands_in_the_root_alone(count: int) -> None:
    metadata = Metadata(mode=0o640, mtime=(1, 2))
    dag = file.build(_leaves([16] * count), _NARROW, metadata)
    said = [dagpb.decode_unixfs(dagpb.decode_node(block)[1] or b"").metadata for _, block in dag.nodes]
    assert said[-1] == metadata
    assert not any(said[:-1])


def test_no_block_is_above_one_mebibyte() -> None:
    dag = file.build(_leaves([(1 << 20) - 1] * V1_2025.width))
    assert len(dag.nodes[0][1]) < 1 << 20
