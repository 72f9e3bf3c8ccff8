"""From the root of a directory to all that is below it: what was built is found again, within bounds."""

from __future__ import annotations

import time
import tracemalloc
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipfsfs.errors import FormatError
from ipfsfs.unixfs import cid as cids
from ipfsfs.unixfs import dagpb, directory, file, hamt, tree_walk
from ipfsfs.unixfs.cid import dag_pb_cid, to_text
from ipfsfs.unixfs.dagpb import Link, Metadata, Type, Unixfs
from ipfsfs.unixfs.directory import Entry
from ipfsfs.unixfs.profile import V1_2025, Profile
from ipfsfs.unixfs.tree_walk import TreeEntry, TreeWalk
from tests.support.dags import ALWAYS_SHARDED, NAMES, directory_node, node, raw, shard, walk_tree

Blocks = dict[bytes, bytes]
Tree = dict[bytes, "bytes | int | Tree"]
"""Names to targets of links, lengths of files, and directories."""

_TARGETS = st.binary(min_size=1, max_size=40).filter(lambda target: 0 not in target)
_TREES = st.recursive(
    st.dictionaries(NAMES, _TARGETS | st.integers(0, 3 << 20), max_size=6),
    lambda trees: st.dictionaries(NAMES, trees | _TARGETS | st.integers(0, 3 << 20), max_size=6),
    max_leaves=20,
)


def _build(tree: Tree, profile: Profile, made: Blocks, path: bytes, found: dict[bytes, TreeEntry]) -> tuple[bytes, int]:
    entries = []
    for name, content in tree.items():
        below = path + b"/" + name if path else name
        size: int | None = None
        target = b""
        if isinstance(content, dict):
            cid, tsize = _build(content, profile, made, below, found)
            entry = TreeEntry(below, "directory", cid, None, tsize, b"", 0o755)
        elif isinstance(content, bytes):
            target = content
            cid, block = file.symlink(content, profile)
            made[cid] = block
            tsize = len(block)
            entry = TreeEntry(below, "symlink", cid, None, tsize, target, 0o777)
        else:
            size = content
            leaves = [(raw(bytes(length)), length) for length in (1 << 20, 1 << 20, 1 << 20, size)]
            whole, rest = divmod(size, 1 << 20)
            dag = file.build(leaves[:whole] + ([(raw(bytes(rest)), rest)] if rest else []), profile)
            made.update(dag.nodes)
            cid, tsize = dag.cid, dag.tsize
            entry = TreeEntry(below, "file", cid, size, tsize, b"", 0o644)
        found[below] = entry
        entries.append(Entry(name, cid, tsize))
    dag = directory.build(entries, profile)
    made.update(dag.nodes)
    return dag.cid, dag.tsize


@given(_TREES, st.sampled_from([V1_2025, ALWAYS_SHARDED]))
@settings(deadline=None)
def test_a_built_tree_is_found_again(tree: Tree, profile: Profile) -> None:
    made: Blocks = {}
    expected: dict[bytes, TreeEntry] = {}
    root, _ = _build(tree, profile, made, b"", expected)
    assert walk_tree(root, made) == expected


def test_a_directory_of_many_shards() -> None:
    entries = [Entry(b"%d" % number, raw(b"%d" % number), len(b"%d" % number)) for number in range(20_000)]
    dag = directory.build(entries)
    assert len(dag.nodes) > 256
    found = walk_tree(dag.cid, dict(dag.nodes))
    assert {(entry.path, entry.cid, entry.size) for entry in found.values()} == {
        (entry.name, entry.cid, entry.tsize) for entry in entries
    }


@pytest.mark.parametrize("fanout", [8, 16, 32, 64, 128, 256, 512, 1024])
def test_shards_of_any_fanout(fanout: int) -> None:
    made: Blocks = {}
    names = [b"%d" % number for number in range(1500)]
    root = _trie(made, fanout, names, 0)
    assert walk_tree(root, made).keys() == set(names)


def _trie(made: Blocks, fanout: int, names: list[bytes], bits: int) -> bytes:
    """Shards over raw files without bytes, by the words of the specification rather than by our own writer."""
    step = fanout.bit_length() - 1
    slots: dict[int, list[bytes]] = {}
    for name in names:
        slot = int.from_bytes(hamt.hash_name(name), "big") >> (64 - bits - step) & (fanout - 1)
        slots.setdefault(slot, []).append(name)
    links = []
    for slot, here in sorted(slots.items()):
        prefix = b"%0*X" % (len(f"{fanout - 1:X}"), slot)
        if len(here) == 1:
            links.append(Link(cids.EMPTY, prefix + here[0], 0))
        else:
            links.append(Link(_trie(made, fanout, here, bits + step), prefix, 1))
    return node(made, links, shard(*slots, fanout=fanout))


def test_what_an_entry_says() -> None:
    """Mode comes from the root's block, size as well; of a raw block the link's tsize is all that there is."""
    made: Blocks = {}
    big = node(made, [Link(raw(b"a"), b"", 7)], Unixfs(Type.FILE, filesize=7, blocksizes=[7]))
    script = node(made, [], Unixfs(Type.FILE, b"#!", 2, metadata=Metadata(mode=0o106755)))
    link = node(made, [], Unixfs(Type.SYMLINK, b"../../x", metadata=Metadata(mode=0o700)))
    inner = node(made, [], Unixfs(Type.DIRECTORY, metadata=Metadata(mode=0o700, mtime=(1, 2))))
    root = directory_node(
        made,
        Link(raw(b"a"), b"a", 5),
        Link(raw(b"a"), b"b", 0),
        Link(cids.EMPTY, b"c", 0),
        Link(big, b"d", 99),
        Link(script, b"e", 0),
        Link(link, b"f", 1),
        Link(inner, b"g", 2),
    )
    assert list(walk_tree(root, made).values()) == [
        TreeEntry(b"a", "file", raw(b"a"), 5, 5, b"", 0o644),
        TreeEntry(b"b", "file", raw(b"a"), None, 0, b"", 0o644),
        TreeEntry(b"c", "file", cids.EMPTY, 0, 0, b"", 0o644),
        TreeEntry(b"g", "directory", inner, None, 2, b"", 0o700),
        TreeEntry(b"f", "symlink", link, None, 1, b"../../x", 0o700),
        TreeEntry(b"e", "file", script, 2, 0, b"", 0o755),
        TreeEntry(b"d", "file", big, 7, 99, b"", 0o644),
    ]


def test_a_file_is_asked_for_once_however_often_it_is_linked() -> None:
    made: Blocks = {}
    big = node(made, [Link(raw(b"a"), b"", 7)], Unixfs(Type.FILE, filesize=7, blocksizes=[7]))
    last = directory_node(made, Link(big, b"again", 3))
    root = directory_node(made, Link(big, b"a", 1), Link(big, b"b", 2), Link(last, b"c", 0))
    walk = TreeWalk(root)
    walk.give(root, made[root])
    assert walk.wanted() == [big, last]
    assert [(entry.path, entry.tsize) for entry in walk.give(big, made[big])] == [(b"a", 1), (b"b", 2)]
    assert [entry.path for entry in walk.give(last, made[last])] == [b"c", b"c/again"]
    assert walk.wanted() == []


def test_blocks_that_are_not_wanted_are_ignored() -> None:
    made: Blocks = {}
    root = directory_node(made)
    walk = TreeWalk(root)
    assert walk.give(raw(b"a"), b"a") == []
    assert walk.give(root, made[root]) == []
    assert walk.give(root, b"anything") == []
    assert walk.wanted() == []


def test_bytes_that_are_not_the_block_change_nothing() -> None:
    made: Blocks = {}
    root = directory_node(made, Link(raw(b"a"), b"a", 1))
    walk = TreeWalk(root)
    other = directory_node(made, Link(raw(b"b"), b"a", 1))
    for wrong in (made[other], b"", made[root] + b"\0", bytes(dagpb.BLOCK_MAX + 1)):
        with pytest.raises(FormatError, match=to_text(root)):
            walk.give(root, wrong)
    assert walk.wanted() == [root]
    assert [entry.path for entry in walk.give(root, made[root])] == [b"a"]


def _nested(made: Blocks, depth: int, name: bytes = b"d", links: int = 1) -> bytes:
    root = directory_node(made)
    for _ in range(depth):
        root = directory_node(
            made, *(Link(root, name + (b"%d" % number if links > 1 else b""), 1) for number in range(links))
        )
    return root


def test_depth_and_length_of_paths() -> None:
    made: Blocks = {}
    assert len(walk_tree(_nested(made, 100), made)) == 100
    with pytest.raises(FormatError, match="a path of 101 names and 201 bytes"):
        walk_tree(_nested(made, 101), made)
    assert len(walk_tree(_nested(made, 16, b"n" * 255), made)) == 16
    with pytest.raises(FormatError, match="a path of 17 names and 4351 bytes"):
        walk_tree(_nested(made, 17, b"n" * 255), made)


def test_ten_thousand_levels() -> None:
    made: Blocks = {}
    walk = TreeWalk(_nested(made, 10_000))
    for _ in range(tree_walk.DEPTH_MAX):
        (cid,) = walk.wanted()
        walk.give(cid, made[cid])
    (cid,) = walk.wanted()
    with pytest.raises(FormatError, match="a path of 101 names"):
        walk.give(cid, made[cid])


def test_one_directory_at_several_places() -> None:
    made: Blocks = {}
    shared = directory_node(made, Link(raw(b"a"), b"a", 1))
    deep = directory_node(made, Link(shared, b"x", 1))
    root = directory_node(made, Link(shared, b"x", 1), Link(shared, b"y", 1), Link(deep, b"z", 1))
    assert walk_tree(root, made).keys() == {b"x", b"x/a", b"y", b"y/a", b"z", b"z/x", b"z/x/a"}


@pytest.mark.parametrize(("depth", "links"), [(3, 1000), (30, 2), (10, 1000)])
def test_a_directory_that_links_itself_over_and_over(depth: int, links: int) -> None:
    made: Blocks = {}
    root = _nested(made, depth, links=links)
    started = time.process_time()
    with pytest.raises(FormatError, match="entries or more; at most 1000000 are read"):
        walk_tree(root, made)
    assert time.process_time() - started < 30


def test_paths_that_take_gigabytes_together() -> None:
    """4,000 bytes each: 16 directories in each other, then the same 200,000 names at the end of each path."""
    made: Blocks = {}
    end = directory_node(made, *(Link(raw(b"a"), b"%0200d" % number, 1) for number in range(5_000)))
    root = directory_node(made, *(Link(end, b"%d" % number, 1) for number in range(40)))
    for _ in range(14):
        root = directory_node(made, Link(root, b"n" * 255, 1))
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match="whose paths have"):
            walk_tree(root, made)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def test_bytes_of_directories(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each place counts: the second directory is read at two depths."""
    made: Blocks = {}
    shared = directory_node(made, Link(raw(b"a"), b"a", 1))
    deep = directory_node(made, Link(shared, b"x", 1))
    root = directory_node(made, Link(shared, b"x", 1), Link(deep, b"z", 1))
    total = sum(map(len, made.values())) + len(made[shared])
    monkeypatch.setattr(tree_walk, "DIRECTORIES_MAX", total)
    assert len(_in_order(root, made)) == 5
    monkeypatch.setattr(tree_walk, "DIRECTORIES_MAX", total - 1)
    with pytest.raises(FormatError, match=f"more than {total - 1} bytes"):
        _in_order(root, made)


def _in_order(root: bytes, made: Blocks) -> list[TreeEntry]:
    walk = TreeWalk(root)
    found = []
    while wanted := walk.wanted():
        found += walk.give(wanted[0], made[wanted[0]])
    return found


def test_a_block_of_links_that_mean_nothing_is_refused_early() -> None:
    """400,000 links of five bytes would take fifty times their block."""
    block = b"\x12\x03\x0a\x01a" * 400_000
    root = dag_pb_cid(sha256(block).digest())
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match="more than 65536 links"):
            TreeWalk(root).give(root, block)
        assert tracemalloc.get_traced_memory()[1] < 24 << 20
    finally:
        tracemalloc.stop()
