"""Trees that nobody makes by mistake: names, shards and links whose author meant harm, and bytes that mean nothing."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipfsfs.errors import FormatError
from ipfsfs.unixfs import cid as cids
from ipfsfs.unixfs import directory, hamt
from ipfsfs.unixfs.cid import dag_pb_cid
from ipfsfs.unixfs.dagpb import Link, Type, Unixfs
from ipfsfs.unixfs.directory import Entry
from ipfsfs.unixfs.profile import V1_2025, Profile
from ipfsfs.unixfs.tree_walk import TreeEntry, TreeWalk
from tests.support.dags import ALWAYS_SHARDED, NAMES, directory_node, node, raw, shard, tree_is_refused, walk_tree

Blocks = dict[bytes, bytes]


def test_roots_that_are_no_directories() -> None:
    made: Blocks = {}
    tree_is_refused(node(made, [], Unixfs(Type.FILE, b"a", 1)), made, "not a directory, but a file")
    tree_is_refused(node(made, [], Unixfs(Type.SYMLINK, b"a")), made, "not a directory, but a symlink")
    tree_is_refused(raw(b"a"), made, "not a directory, but a raw block")
    with pytest.raises(FormatError, match="not sha2-256, raw or dag-pb"):
        TreeWalk(b"\x01\x70\x00\x00")


_BAD_NAMES = [
    b"",
    b".",
    b"..",
    b"a/b",
    b"/",
    b"../../token",
    b"a\0b",
    b"\0",
    b"n" * 256,
]


@pytest.mark.parametrize("name", _BAD_NAMES)
def test_names_that_no_file_can_have(name: bytes) -> None:
    made: Blocks = {}
    root = directory_node(made, Link(raw(b"a"), b"good", 1), Link(raw(b"a"), name, 1))
    tree_is_refused(root, made, "no file can have this name")
    inner = directory_node(made, Link(root, b"inner", 1))
    tree_is_refused(inner, made, "no file can have this name", of=root)
    if name:
        slot = hamt.hash_name(name)[0]
        tree_is_refused(
            node(made, [Link(raw(b"a"), b"%02X" % slot + name, 1)], shard(slot)), made, "no file can have this"
        )


def test_names_of_other_kinds_are_taken_as_they_are() -> None:
    made: Blocks = {}
    names = [b"n" * 255, b"...", b"\xff\xfe", "é".encode(), b" ", b"a\n", b"\\"]
    root = directory_node(made, *(Link(raw(b"a"), name, 1) for name in names))
    assert list(walk_tree(root, made)) == names


@pytest.mark.parametrize(
    ("links", "message", "what"),
    [
        ([Link(raw(b"a"), b"a", 1), Link(raw(b"b"), b"a", 1)], Unixfs(Type.DIRECTORY), "two entries named b'a'"),
        ([], Unixfs(Type.DIRECTORY, b"a"), "a directory with data"),
        ([], Unixfs(Type.DIRECTORY, filesize=1), "a directory with a size"),
        ([], Unixfs(Type.DIRECTORY, blocksizes=[1]), "sizes of blocks in what is no file"),
        ([], Unixfs(Type.DIRECTORY, fanout=256), "a hash or fanout in what is no shard"),
        ([], Unixfs(Type.METADATA), "type metadata"),
        ([Link(b"\x01\x55\x00\x01a", b"a", 1)], Unixfs(Type.DIRECTORY), "not sha2-256, raw or dag-pb"),
        ([Link(b"\x01\x55\x00\x80\x01" + bytes(128), b"a", 1)], Unixfs(Type.DIRECTORY), "not sha2-256, raw or dag-pb"),
        ([Link(b"\x01\x71\x12\x20" + bytes(32), b"a", 1)], Unixfs(Type.DIRECTORY), "not sha2-256, raw or dag-pb"),
        ([Link(raw(b"a"), b"00", 1)], shard(0), "a raw block in place of a shard"),
        ([], shard(fanout=None), "fanout None"),
        ([], shard(fanout=0), "fanout 0"),
        ([], shard(fanout=1), "fanout 1"),
        ([], shard(fanout=4), "fanout 4"),
        ([], shard(fanout=255), "fanout 255"),
        ([], shard(fanout=2048), "fanout 2048"),
        ([], shard(fanout=1 << 63), "fanout 9223372036854775808"),
        ([], shard(hash_type=None), "hash None"),
        ([], shard(hash_type=0x12), "hash 18"),
        ([], shard(0), "0 links and a bitfield that has 1 bits"),
        ([Link(raw(b"a"), b"00a", 1)], shard(), "1 links and a bitfield that has 0 bits"),
        ([], shard(data=bytes(33)), "a bitfield"),
        ([], shard(256), "a bitfield"),
        ([Link(raw(b"a"), b"01a", 1)], shard(0), "the link b'01a' in slot 00"),
        ([Link(raw(b"a"), b"0", 1)], shard(0), "the link b'0' in slot 00"),
        ([Link(raw(b"a"), b"", 1)], shard(0), "the link b'' in slot 00"),
        ([Link(raw(b"a"), b"aba", 1)], shard(0xAB), "the link b'aba' in slot AB"),
        ([Link(raw(b"a"), b"0ABa", 1)], shard(0xAB), "the link b'0ABa' in slot AB"),
        ([Link(raw(b"a"), b"02a", 1), Link(raw(b"a"), b"01a", 1)], shard(1, 2), "in slot 01"),
    ],
)
def test_directories_that_nobody_makes(links: list[Link], message: Unixfs, what: str) -> None:
    made: Blocks = {}
    tree_is_refused(node(made, links, message), made, what)


@pytest.mark.parametrize("target", [b"", b"a\0b", b"t" * 4096, None])
def test_targets_that_no_link_can_have(target: bytes | None) -> None:
    made: Blocks = {}
    link = node(made, [], Unixfs(Type.SYMLINK, target))
    tree_is_refused(directory_node(made, Link(link, b"a", 1)), made, "no symbolic link has this target", of=link)


def test_links_of_a_symbolic_link() -> None:
    made: Blocks = {}
    link = node(made, [Link(raw(b"a"), b"", 1)], Unixfs(Type.SYMLINK, b"a"))
    tree_is_refused(directory_node(made, Link(link, b"a", 1)), made, "no symbolic link", of=link)


def test_the_longest_target() -> None:
    made: Blocks = {}
    link = node(made, [], Unixfs(Type.SYMLINK, b"t" * 4095))
    assert walk_tree(directory_node(made, Link(link, b"a", 1)), made)[b"a"].target == b"t" * 4095


def test_a_raw_block_cannot_have_what_is_said_of_it() -> None:
    made: Blocks = {}
    tree_is_refused(directory_node(made, Link(raw(b"a"), b"a", (2 << 20) + 1)), made, "2097153 bytes", of=raw(b"a"))
    tree_is_refused(directory_node(made, Link(cids.EMPTY, b"a", 1)), made, "1 bytes", of=cids.EMPTY)


def test_a_name_in_a_slot_that_is_not_its_own() -> None:
    """A reader that looks the name up does not find it, or finds another file."""
    made: Blocks = {}
    slot = hamt.hash_name(b"a")[0]
    right = node(made, [Link(raw(b"a"), b"%02Xa" % slot, 1)], shard(slot))
    assert list(walk_tree(right, made)) == [b"a"]
    wrong = node(made, [Link(raw(b"a"), b"%02Xa" % (slot ^ 1), 1)], shard(slot ^ 1))
    tree_is_refused(wrong, made, "whose hash has another place")
    below = node(made, [Link(right, b"%02X" % (slot ^ 1), 1)], shard(slot ^ 1))
    tree_is_refused(below, made, "whose hash has another place", of=right)


def test_a_name_that_two_shards_have() -> None:
    made: Blocks = {}
    first, second = hamt.hash_name(b"a")[:2]
    deep = node(made, [Link(raw(b"b"), b"%02Xa" % second, 1)], shard(second))
    other = (first + 1) % 256
    links = sorted([(first, Link(deep, b"%02X" % first, 1)), (other, Link(raw(b"a"), b"%02Xa" % other, 1))])
    tree_is_refused(node(made, [link for _, link in links], shard(first, other)), made, "another place")


def test_shards_below_that_are_none() -> None:
    made: Blocks = {}
    for below in (
        directory_node(made),
        node(made, [], Unixfs(Type.FILE, b"a", 1)),
        node(made, [], shard()),
        node(made, [Link(raw(b"a"), b"0a", 1)], shard(0, fanout=16)),
    ):
        root = node(made, [Link(below, b"00", 1)], shard(0))
        tree_is_refused(root, made, "not the shard of fanout 256 that its parent says it is", of=below)


@pytest.mark.parametrize(("fanout", "levels"), [(256, 8), (8, 21), (1024, 6)])
def test_shards_deeper_than_the_hash(fanout: int, levels: int) -> None:
    made: Blocks = {}
    prefix = b"0" * len(f"{fanout - 1:X}")
    root = node(made, [Link(raw(b"a"), prefix + b"a", 1)], shard(0, fanout=fanout))
    last = root
    for _ in range(levels):
        root = node(made, [Link(root, prefix, 1)], shard(0, fanout=fanout))
    tree_is_refused(root, made, f"shards {levels + 1} levels deep", of=last)


@given(
    st.lists(st.tuples(NAMES | st.sampled_from(_BAD_NAMES), st.integers(0, 9), st.integers(0, 1 << 21)), max_size=5),
    st.sampled_from([shard(), shard(0), shard(0, 1, fanout=8), Unixfs(Type.DIRECTORY), Unixfs(Type.FILE)]),
    st.data(),
)
@settings(max_examples=300)
def test_nodes_of_any_kind_give_entries_or_an_error(
    links: list[tuple[bytes, int, int]], message: Unixfs, draw: st.DataObject
) -> None:
    made: Blocks = {}
    known = [raw(b"a"), directory_node(made), directory_node(made, Link(raw(b"a"), b"a", 1)), cids.EMPTY]
    known += [node(made, [], Unixfs(Type.FILE, b"a", 1)), node(made, [], Unixfs(Type.SYMLINK, b"a"))]
    prefix = draw.draw(st.sampled_from([b"", b"00", b"0", b"1"]))
    chosen = [Link(known[which % len(known)], prefix + name, tsize) for name, which, tsize in links]
    inner = node(made, chosen, message)
    _walks_or_refuses(directory_node(made, Link(inner, b"inner", 1)), made)


@given(st.sets(NAMES, max_size=30), st.sampled_from([V1_2025, ALWAYS_SHARDED]), st.data())
@settings(max_examples=300)
def test_damaged_directories_give_entries_or_an_error(names: set[bytes], profile: Profile, draw: st.DataObject) -> None:
    dag = directory.build([Entry(name, raw(name), len(name)) for name in names], profile)
    damaged = bytearray(dag.nodes[-1][1])
    at = draw.draw(st.integers(0, len(damaged) - 1))
    damaged[at : at + draw.draw(st.integers(0, 2))] = draw.draw(st.binary(max_size=3))
    root = dag_pb_cid(sha256(damaged).digest())
    _walks_or_refuses(root, dict(dag.nodes) | {root: bytes(damaged)})


@given(st.binary(max_size=100))
def test_noise_is_no_directory(noise: bytes) -> None:
    root = dag_pb_cid(sha256(noise).digest())
    _walks_or_refuses(root, {root: noise})


def _walks_or_refuses(root: bytes, made: Blocks) -> None:
    walk = TreeWalk(root)
    found: list[TreeEntry] = []
    try:
        while wanted := walk.wanted():
            for cid in wanted:
                if cid not in made:
                    return
                found += walk.give(cid, made[cid])
    except FormatError:
        pass
    paths = [entry.path for entry in found]
    assert len(set(paths)) == len(paths)
    for path in paths:
        assert not {b"", b".", b".."} & set(path.split(b"/"))
        assert b"\0" not in path
