"""From the root of a file to its leaves: what was built is found again, and what lies is refused before it costs."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from hashlib import sha256
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipfsfs.errors import FormatError
from ipfsfs.unixfs import cid as cids
from ipfsfs.unixfs import dagpb, file, file_walk, reading
from ipfsfs.unixfs.cid import dag_pb_cid, raw_cid, to_text
from ipfsfs.unixfs.dagpb import Link, Metadata, Type, Unixfs
from ipfsfs.unixfs.file_walk import FileWalk, Leaf
from ipfsfs.unixfs.profile import V0_2015, V1_2025, Profile
from tests.support.dags import node, raw, walk_file

_NARROW = Profile("narrow", 1, True, 16, 3, "block-bytes", 262_144)
_DAG_PB_LEAVES = Profile("dag-pb leaves", 1, False, 16, 3, "block-bytes", 262_144)
_OLD = Profile("old", 0, False, 16, 3, "block-bytes", 262_144)

Blocks = dict[bytes, bytes]


def _file(made: Blocks, parts: list[tuple[bytes, int]], data: bytes = b"", **fields: int | None) -> bytes:
    """A node over `parts`, right by itself unless `fields` say otherwise."""
    said = {"filesize": len(data) + sum(size for _, size in parts), **fields}
    sizes = [size for _, size in parts]
    message = Unixfs(Type.FILE, data or None, said["filesize"], sizes)
    return node(made, [Link(cid, b"", size) for cid, size in parts], message)


def _refused(root: bytes, size: int | None, made: Blocks, what: str, of: bytes | None = None) -> None:
    with pytest.raises(FormatError, match=what) as caught:
        walk_file(root, size, made)
    assert str(caught.value).startswith(to_text(root if of is None else of) + ": ")


@given(
    st.lists(st.binary(min_size=1, max_size=16), max_size=80),
    st.sampled_from([_NARROW, _DAG_PB_LEAVES, _OLD, V1_2025, V0_2015]),
    st.booleans(),
)
def test_leaves_of_a_built_file_are_found_again(contents: list[bytes], profile: Profile, size_known: bool) -> None:
    made = [file.leaf(content, profile) for content in contents]
    dag = file.build([(cid, len(content)) for (cid, _), content in zip(made, contents, strict=True)], profile)
    blocks = dict([*made, *dag.nodes] or [file.leaf(b"", profile)])
    walk = walk_file(dag.cid, dag.size if size_known else None, blocks)
    assert (walk.size, walk.tsize, walk.leaf_count) == (dag.size, dag.tsize, len(contents))
    leaves = list(walk.leaves())
    assert [(leaf.cid, leaf.length) for leaf in leaves] == [
        (cid, len(content)) for (cid, _), content in zip(made, contents, strict=True)
    ]
    assert [leaf.offset for leaf in leaves] == list(accumulate([0, *(leaf.length for leaf in leaves)]))[:-1]
    assert b"".join(reading.content(leaf.cid, blocks[leaf.cid]) for leaf in leaves) == b"".join(contents)


def test_leaves_that_begin_where_tensors_do() -> None:
    lengths = [5, 1 << 20, 64, 7, (1 << 20) - 1] * 500
    dag = file.build([(raw_cid(number.to_bytes(32, "big")), length) for number, length in enumerate(lengths)])
    walk = walk_file(dag.cid, dag.size, dict(dag.nodes))
    assert walk.tsize == dag.tsize != file.fixed_tsize(dag.size)
    assert [leaf.length for leaf in walk.leaves()] == lengths


def test_nodes_that_do_not_depend_on_each_other_are_wanted_at_once() -> None:
    dag = file.build([(raw_cid(number.to_bytes(32, "big")), 1) for number in range(100 * 1024)])
    blocks = dict(dag.nodes)
    walk = FileWalk(dag.cid, dag.size)
    assert walk.wanted() == [dag.cid]
    walk.give(dag.cid, blocks[dag.cid])
    assert walk.wanted() == [cid for cid, _ in dag.nodes[: file_walk.WANTED_MAX]]
    for cid, block in dag.nodes:
        walk.give(cid, block)
    assert walk.wanted() == []
    assert walk.leaf_count == 100 * 1024


def test_a_raw_root_needs_no_block_where_its_size_is_known() -> None:
    walk = FileWalk(raw(b"some"), 4)
    assert walk.wanted() == []
    assert (walk.size, walk.tsize, list(walk.leaves())) == (4, 4, [Leaf(0, 4, raw(b"some"))])
    walk = walk_file(raw(b"some"), None, {raw(b"some"): b"some"})
    assert (walk.size, walk.tsize, list(walk.leaves())) == (4, 4, [Leaf(0, 4, raw(b"some"))])


def test_a_raw_root_that_is_larger_than_a_block_may_be() -> None:
    largest = bytes(dagpb.BLOCK_MAX)
    assert walk_file(raw(largest), None, {raw(largest): largest}).size == dagpb.BLOCK_MAX
    larger = largest + b"a"
    _refused(raw(larger), None, {raw(larger): larger}, "a block of 2097153 bytes; at most 2097152")


def test_the_empty_file_has_no_leaf() -> None:
    for root, size, blocks in [
        (cids.EMPTY, 0, {}),
        (cids.EMPTY, None, {cids.EMPTY: b""}),
        (file.leaf(b"", V0_2015)[0], 0, dict([file.leaf(b"", V0_2015)])),
    ]:
        walk = walk_file(root, size, blocks)
        assert (walk.size, walk.leaf_count, list(walk.leaves())) == (0, 0, [])


def test_data_of_a_node_comes_before_its_links() -> None:
    """As in the trickle layout."""
    made: Blocks = {}
    inner = _file(made, [(raw(b"cc"), 2)], b"bbb")
    root = _file(made, [(inner, 5), (raw(b"d"), 1)], b"aaaa")
    walk = walk_file(root, 10, made)
    assert list(walk.leaves()) == [
        Leaf(0, 4, root),
        Leaf(4, 3, inner),
        Leaf(7, 2, raw(b"cc")),
        Leaf(9, 1, raw(b"d")),
    ]
    assert reading.content(inner, made[inner]) == b"bbb"
    assert walk.tsize == len(made[root]) + len(made[inner]) + 3


def test_a_node_that_is_linked_often_is_asked_for_once_and_counts_each_time() -> None:
    made: Blocks = {}
    inner = _file(made, [(raw(b"a"), 1)] * 3)
    root = _file(made, [(inner, 3)] * 4)
    walk = walk_file(root, 12, made)
    assert len(list(walk.leaves())) == walk.leaf_count == 12
    assert walk.tsize == len(made[root]) + 4 * len(made[inner]) + 12


def test_nothing_is_known_before_the_end() -> None:
    walk = FileWalk(dag_pb_cid(bytes(32)), 12)
    for ask in (lambda: walk.size, lambda: walk.tsize, lambda: walk.leaf_count, lambda: next(walk.leaves())):
        with pytest.raises(RuntimeError):
            ask()


@pytest.mark.parametrize("size", [-1, 1 << 63, file_walk.LEAVES_MAX * dagpb.BLOCK_MAX + 1])
def test_sizes_that_no_file_has(size: int) -> None:
    _refused(dag_pb_cid(bytes(32)), size, {}, f"a file of {size} bytes")


def test_sizes_that_no_raw_block_has() -> None:
    _refused(raw(b"a"), 0, {}, "0 bytes are said")
    _refused(raw(b"a"), (2 << 20) + 1, {}, "one raw block of 2097153 bytes")
    _refused(cids.EMPTY, 1, {}, "only the raw block without bytes")


@pytest.mark.parametrize("said", [11, 13, None, 0, 1 << 40])
def test_a_size_that_is_not_the_roots(said: int | None) -> None:
    made: Blocks = {}
    root = _file(made, [(raw(b"a"), 6), (raw(b"b"), 6)])
    if said is not None:
        _refused(root, said, made, f"12 bytes of a file, and {said} are said of it")
    lying = _file(made, [(raw(b"a"), 6), (raw(b"b"), 6)], filesize=said)
    _refused(lying, None, made, f"said to have {said or 0} bytes, with blocks of 12")


def test_a_size_that_is_not_the_childs() -> None:
    made: Blocks = {}
    inner = _file(made, [(raw(b"a"), 6)])
    _refused(_file(made, [(inner, 7), (raw(b"b"), 5)]), 12, made, "6 bytes of a file, and 7 are said", of=inner)
    _refused(_file(made, [(inner, 6), (inner, 5)]), 11, made, "6 bytes of a file are said of it, and 5 as", of=inner)


@pytest.mark.parametrize(
    ("links", "message", "what"),
    [
        ([Link(raw(b"a"), b"", 1)], Unixfs(Type.FILE, filesize=0), "1 links and 0 sizes"),
        ([], Unixfs(Type.FILE, filesize=1, blocksizes=[1]), "0 links and 1 sizes"),
        ([Link(raw(b"a"), b"x", 1)], Unixfs(Type.FILE, filesize=1, blocksizes=[1]), "a link that has a name: b'x'"),
        ([Link(cids.EMPTY, b"", 0)], Unixfs(Type.FILE, filesize=0, blocksizes=[0]), "a link to no bytes"),
        (
            [Link(raw(b"a"), b"", 1)],
            Unixfs(Type.FILE, filesize=(2 << 20) + 1, blocksizes=[(2 << 20) + 1]),
            "a raw block of 2097153 bytes",
        ),
        ([Link(raw(b"a"), b"", 1)], Unixfs(Type.RAW, filesize=1, blocksizes=[1]), "type raw with 1 links"),
        ([], Unixfs(Type.METADATA), "type metadata"),
        ([], Unixfs(Type.DIRECTORY), "not part of a file"),
        ([], Unixfs(Type.SYMLINK, b"a"), "not part of a file"),
        ([], Unixfs(Type.FILE, b"a", filesize=1, fanout=256), "hash or fanout"),
        (
            [Link(raw(b"a"), b"", 1), Link(raw(b"b"), b"", 1)],
            Unixfs(Type.FILE, filesize=(1 << 64) - 2, blocksizes=[2 << 20, (1 << 64) - 2 - (2 << 20)]),
            "a file of 18446744073709551614 bytes",
        ),
        *(
            ([Link(cid, b"", 1)], Unixfs(Type.FILE, filesize=1, blocksizes=[1]), "a link to what is not sha2-256")
            for cid in (
                b"\x01\x55\x00\x01a",  # an identity CID
                b"\x01\x71\x12\x20" + bytes(32),  # dag-cbor
                b"\x01\x55\x1e\x20" + bytes(32),  # blake3
                b"\x01\xd5\x00\x12\x20" + bytes(32),  # a codec longer than it needs to be
                raw_cid(bytes(31)),
                raw_cid(bytes(33)),
                b"x" * 10_000,
            )
        ),
    ],
)
def test_nodes_that_are_part_of_no_file(links: list[Link], message: Unixfs, what: str) -> None:
    made: Blocks = {}
    _refused(node(made, links, message), None, made, what)


def test_a_dag_pb_leaf_of_the_old_type_is_read() -> None:
    made: Blocks = {}
    leaf = node(made, [], Unixfs(Type.RAW, b"some", 4))
    root = _file(made, [(leaf, 4), (leaf, 4)])
    assert [leaf.length for leaf in walk_file(root, 8, made).leaves()] == [4, 4]


def test_bytes_that_are_not_the_block_change_nothing() -> None:
    made: Blocks = {}
    root = _file(made, [(raw(b"a"), 1)] * 2)
    walk = FileWalk(root, 2)
    other = _file(made, [(raw(b"b"), 1)] * 2)
    for wrong in (made[other], b"", made[root] + b"\0", made[root][:-1], bytes(dagpb.BLOCK_MAX + 1)):
        with pytest.raises(FormatError, match=to_text(root)):
            walk.give(root, wrong)
    assert walk.wanted() == [root]
    walk.give(root, made[root])
    assert walk.leaf_count == 2


def _nested(made: Blocks, depth: int, links: int = 1, leaf: int = 1) -> tuple[bytes, int]:
    """Nodes in each other, each linking the next `links` times."""
    root, size = raw(bytes(leaf)), leaf
    for _ in range(depth):
        root = _file(made, [(root, size)] * links)
        size *= links
    return root, size


def test_depth() -> None:
    made: Blocks = {}
    root, size = _nested(made, file_walk.DEPTH_MAX)
    assert walk_file(root, size, made).leaf_count == 1
    root, size = _nested(made, file_walk.DEPTH_MAX + 1)
    with pytest.raises(FormatError, match="more than 32 links below the root"):
        walk_file(root, size, made)


def test_ten_thousand_levels() -> None:
    made: Blocks = {}
    root, size = _nested(made, 10_000)
    walk = FileWalk(root, size)
    for _ in range(file_walk.DEPTH_MAX):
        (cid,) = walk.wanted()
        walk.give(cid, made[cid])
    (cid,) = walk.wanted()
    with pytest.raises(FormatError, match="more than 32 links"):
        walk.give(cid, made[cid])


def test_depth_by_the_longest_way() -> None:
    """A node that the root links itself, and that lies deep as well: what is below it is deeper than it seemed."""
    made: Blocks = {}
    shared, size = _nested(made, 20, leaf=100)
    deep = shared
    for _ in range(file_walk.DEPTH_MAX - 20):
        deep = _file(made, [(deep, size)])
    root = _file(made, [(shared, size), (deep, size)])
    _refused(root, 2 * size, made, "more than 32 links below it to a leaf")


def _bounded(work: Callable[[], None]) -> None:
    """Takes less than a few seconds and 64 MiB, which is far from what an expansion would take."""
    tracemalloc.start()
    started = time.process_time()
    try:
        work()
        assert time.process_time() - started < 20
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("depth", "links"), [(6, 1000), (10, 30), (30, 2), (3, 160)])
def test_a_node_that_links_itself_over_and_over_is_not_expanded(depth: int, links: int) -> None:
    """1,000 links at 6 levels are 10^18 leaves of one byte, in 6 nodes."""
    made: Blocks = {}
    root, size = _nested(made, depth, links)
    assert size > file_walk.LEAVES_MAX
    _bounded(lambda: _refused(root, None, made, "leaves", of=None if size > 1 << 43 else _over(made, root)))


def _over(made: Blocks, root: bytes) -> bytes:
    """The smallest node of a self-similar file that has too many leaves."""
    cid = root
    while True:
        links, data = dagpb.decode_node(made[cid])
        below = dagpb.decode_unixfs(data or b"").blocksizes[0]
        if below <= file_walk.LEAVES_MAX:
            return cid
        cid = links[0].cid


def test_ten_levels_of_a_thousand_links_have_no_size() -> None:
    made: Blocks = {}
    root, size = raw(b"a"), 1
    for _ in range(10):
        sizes = [size % (1 << 64)] * 1000
        message = Unixfs(Type.FILE, filesize=sum(sizes) % (1 << 64), blocksizes=sizes)
        root = node(made, [Link(root, b"", 1)] * 1000, message)
        size *= 1000
    _bounded(lambda: _refused(root, None, made, "UnixFS: a file"))


def test_nodes_that_the_size_cannot_justify() -> None:
    """Each node has one link and lies in a chain of its own: 20 chains of 10 nodes for a file of 20 bytes."""
    made: Blocks = {}
    chains = []
    for number in range(20):
        cid = raw(b"%d" % number)
        for _ in range(10):
            cid = _file(made, [(cid, 1)])
        chains.append((cid, 1))
    root = _file(made, chains)
    _refused(root, 20, made, "a file of 20 bytes with more than 72 links")


def test_a_file_of_many_leaves_takes_little_memory() -> None:
    """40 GiB: what a leaf takes while the file is walked."""
    made: Blocks = {}
    inner = [_file(made, [(raw(b"%d" % number), 1 << 20), *[(raw(b""), 1 << 20)] * 1023]) for number in range(40)]
    root = _file(made, [(cid, 1 << 30) for cid in inner])
    tracemalloc.start()
    try:
        walk = walk_file(root, 40 << 30, made)
        assert tracemalloc.get_traced_memory()[0] < 40 * 1024 * 50
    finally:
        tracemalloc.stop()
    assert sum(1 for _ in walk.leaves()) == walk.leaf_count == 40 * 1024


_PARTS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 40)), max_size=5)


@given(st.lists(_PARTS, min_size=1, max_size=6), st.none() | st.integers(0, 200), st.data())
@settings(max_examples=300)
def test_nodes_of_any_kind_give_leaves_that_add_up_or_an_error(
    nodes: list[list[tuple[int, int]]], size: int | None, draw: st.DataObject
) -> None:
    made: Blocks = {}
    known = [raw(b"%d" % number) for number in range(4)]
    for parts in nodes:
        data = draw.draw(st.binary(max_size=3))
        known.append(_file(made, [(known[which % len(known)], length) for which, length in parts], data))
    _walks_or_refuses(known[-1], size, made)


@given(st.lists(st.integers(1, 20), min_size=4, max_size=30), st.sampled_from([_NARROW, _DAG_PB_LEAVES]), st.data())
@settings(max_examples=300)
def test_damaged_nodes_give_leaves_that_add_up_or_an_error(
    lengths: list[int], profile: Profile, draw: st.DataObject
) -> None:
    leaves = [file.leaf(bytes(length), profile) for length in lengths]
    dag = file.build([(cid, length) for (cid, _), length in zip(leaves, lengths, strict=True)], profile)
    damaged = bytearray(dag.nodes[-1][1])
    at = draw.draw(st.integers(0, len(damaged) - 1))
    damaged[at : at + draw.draw(st.integers(0, 2))] = draw.draw(st.binary(max_size=3))
    root = dag_pb_cid(sha256(damaged).digest())
    _walks_or_refuses(root, None, dict(leaves) | dict(dag.nodes) | {root: bytes(damaged)})


@given(st.binary(max_size=100))
def test_noise_is_no_file(noise: bytes) -> None:
    root = dag_pb_cid(sha256(noise).digest())
    _walks_or_refuses(root, None, {root: noise})


def _walks_or_refuses(root: bytes, size: int | None, made: Blocks) -> None:
    try:
        walk = FileWalk(root, size)
        while wanted := walk.wanted():
            for cid in wanted:
                if cid not in made:
                    return
                walk.give(cid, made[cid])
    except FormatError:
        return
    leaves = list(walk.leaves())
    assert sum(leaf.length for leaf in leaves) == walk.size <= walk.tsize
    assert size in (None, walk.size)
    assert len(leaves) == walk.leaf_count
    assert all(leaf.length > 0 for leaf in leaves)


def test_metadata_of_the_root_changes_no_leaf() -> None:
    leaves = [(raw(b"%d" % number), 1) for number in range(5)]
    dag = file.build(leaves, _NARROW, Metadata(mode=0o600, mtime=(5, 6)))
    assert [(leaf.cid, leaf.length) for leaf in walk_file(dag.cid, 5, dict(dag.nodes)).leaves()] == leaves
