"""What users name content by, and the way from there to what they mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from ipfsfs.errors import FormatError, NotHeld, UsageError
from ipfsfs.exchange import naming, reading_out
from ipfsfs.origins import dag
from ipfsfs.unixfs import directory, file
from ipfsfs.unixfs.cid import raw_cid, to_text
from ipfsfs.unixfs.dagpb import Link
from tests.support.dags import ALWAYS_SHARDED, NAMES, directory_node, raw, walk_tree

CID = to_text(raw_cid(sha256(b"").digest()))


@dataclass(slots=True, eq=False)
class InMemory:
    """An origin that has what a dict has. `asked`: how often it was."""

    blocks: Mapping[bytes, bytes]
    asked: int = 0
    name: str = "a dict"

    async def block(self, cid: bytes) -> bytes:
        self.asked += 1
        if cid not in self.blocks:
            raise NotHeld(f"no {to_text(cid)}")
        return self.blocks[cid]

    async def has(self, cid: bytes) -> bool:
        return cid in self.blocks

    async def aclose(self) -> None:
        pass


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (CID, f"/ipfs/{CID}"),
        (f"ipfs://{CID}", f"/ipfs/{CID}"),
        (f"ipfs://{CID}/", f"/ipfs/{CID}"),
        (f"/ipfs/{CID}/a//b/", f"/ipfs/{CID}/a/b"),
        ("/ipns/k51name", "/ipns/k51name"),
        ("ipns://docs.example.org/a", "/ipns/docs.example.org/a"),
    ],
)
def test_addresses_are_understood(text: str, shown: str) -> None:
    found = naming.parse(text)
    assert found is not None
    assert found.shown == shown


def test_what_begins_with_a_cid_is_an_address_where_no_path_may_be() -> None:
    assert naming.parse(f"{CID}/a/b") is None
    assert naming.parse_content(f"{CID}/a//b").shown == f"/ipfs/{CID}/a/b"


@pytest.mark.parametrize("text", ["model.safetensors", f"./{CID}", "bafy", "x" * 60, "-", ""])
def test_what_is_no_address_may_be_a_path(text: str) -> None:
    assert naming.parse(text) is None
    with pytest.raises(UsageError):
        naming.parse_content(text)


@pytest.mark.parametrize(
    "text", ["ipfs://", "ipfs://../x", "/ipfs/no", "/ipns/", "/ipns/../x", "ipns://a b", "/ipns/?x"]
)
def test_an_address_of_nothing_is_wrong_usage(text: str) -> None:
    with pytest.raises(UsageError):
        naming.parse(text)


def tree(names: list[bytes], sharded: bool) -> tuple[bytes, dict[bytes, bytes]]:
    """A directory of small files, in which each is its own name."""
    made = {raw(name): name for name in names}
    entries = [directory.Entry(name, raw(name), len(name)) for name in names]
    dag_ = directory.build(entries, ALWAYS_SHARDED) if sharded else directory.build(entries)
    return dag_.cid, {**made, **dict(dag_.nodes)}


@pytest.mark.parametrize("sharded", [False, True])
def test_a_name_is_found_in_a_directory_without_reading_all_of_it(sharded: bool) -> None:
    names = [f"name{number}".encode() for number in range(2000)]
    root, blocks = tree(names, sharded)
    origin = InMemory(blocks)
    assert trio.run(dag.below, origin, root, b"name1234") == raw(b"name1234")
    assert origin.asked <= 4
    with pytest.raises(UsageError, match="has no nothing"):
        trio.run(dag.below, origin, root, b"nothing")
    with pytest.raises(UsageError):
        trio.run(dag.below, origin, root, b"name1234/deeper")


def test_a_listing_enters_no_directory_below() -> None:
    inner, blocks = tree([b"a", b"b"], sharded=False)
    made = dict(blocks)
    root = directory_node(made, Link(inner, b"inner", 10), Link(raw(b"a"), b"leaf", 1))
    del made[raw(b"a")], made[raw(b"b")]
    found = trio.run(_listed, InMemory(made), root)
    assert found == {b"": "directory", b"inner": "directory", b"leaf": "file"}
    assert set(walk_tree(root, made)) == {b"inner", b"inner/a", b"inner/b", b"leaf"}, "as without a limit"


def test_h37_a_tree_that_is_too_deep_is_refused_and_not_cut_short() -> None:
    """To be pinned or attached in part, as if that were all, would be worse than not at all."""
    made: dict[bytes, bytes] = {}
    root = directory_node(made)
    for _ in range(1_000):
        root = directory_node(made, Link(root, b"d", 1))

    async def walk() -> int:
        return sum([len(entries) async for entries in dag.tree(InMemory(made), root)])

    with pytest.raises(FormatError, match="a path of 101 names"):
        trio.run(walk)


async def _listed(origin: InMemory, root: bytes) -> dict[bytes, str]:
    return {entry.path: entry.kind async for batch in dag.tree(origin, root, 1) for entry in batch}


async def _learnt(roots: object) -> None:
    del roots


async def _read_out(origin: InMemory, root: bytes) -> list[bytes]:
    return [cid async for cid, _ in reading_out.blocks(origin, root, _learnt)]


@given(st.lists(NAMES, unique=True, max_size=40), st.booleans())
def test_all_blocks_of_a_tree_are_read_out_once_parents_first(names: list[bytes], sharded: bool) -> None:
    root, blocks = tree(names, sharded)
    found = trio.run(_read_out, InMemory(blocks), root)
    assert sorted(found) == sorted(blocks)
    assert found == trio.run(_read_out, InMemory(dict(reversed(blocks.items()))), root), "the root alone decides"
    assert found[0] == root


async def _bytes(origin: InMemory, root: bytes, offset: int, length: int | None) -> bytes:
    return b"".join([bytes(part) async for part in reading_out.file(origin, root, offset, length)])


@given(st.integers(0, 60), st.one_of(st.none(), st.integers(0, 60)))
def test_any_part_of_a_file_is_read_out(offset: int, length: int | None) -> None:
    parts = [bytes([number]) * 7 for number in range(1, 7)]
    dag_ = file.build([(raw(part), len(part)) for part in parts])
    origin = InMemory({**{raw(part): part for part in parts}, **dict(dag_.nodes)})
    whole = b"".join(parts)
    wanted = whole[offset:] if length is None else whole[offset : offset + length]
    assert trio.run(_bytes, origin, dag_.cid, offset, length) == wanted


def test_h37_a_leaf_that_is_another_length_than_its_file_says_ends_the_reading() -> None:
    parts = [b"one", b"two", b"three"]
    dag_ = file.build([(raw(part), len(part) + (part == b"two")) for part in parts])
    origin = InMemory({**{raw(part): part for part in parts}, **dict(dag_.nodes)})
    with pytest.raises(FormatError):
        trio.run(_bytes, origin, dag_.cid, 0, None)
