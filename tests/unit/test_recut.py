"""Cutting a file again until the CID comes out that names it."""

from __future__ import annotations

import random
from hashlib import sha256

import pytest

from ipfsfs.unixfs import chunk, cid, file, recut
from ipfsfs.unixfs.chunk import CHUNKERS, Chunker
from ipfsfs.unixfs.profile import V0_2015, V1_2025, Profile
from tests.support.weights import gguf, safetensors

SOME = random.Random(11)
TENSORS = {name: SOME.randbytes(1_400_000) for name in ("a", "b")}
CONTENTS = {
    "small": b"a few bytes",
    "plain": SOME.randbytes(2_500_000),
    "safetensors": safetensors(TENSORS),
    "gguf": gguf(TENSORS),
}


def cut(data: bytes, lengths: list[int], profile: Profile) -> tuple[bytes, list[recut.Leaf]]:
    """The root over leaves of these lengths, as a link has it, and the leaves."""
    leaves, at = [], 0
    for length in lengths:
        leaves.append((file.leaf(data[at : at + length], profile)[0], length))
        at += length
    root = file.build(leaves, profile).cid
    return (root if cid.codec(root) == cid.RAW else cid.dag_pb_cid(cid.digest(root))), leaves


@pytest.mark.parametrize("name", CONTENTS)
@pytest.mark.parametrize("way", [*CHUNKERS, "before 2025"])
def test_each_way_that_is_known_comes_out(name: str, way: Chunker) -> None:
    data = CONTENTS[name]

    def read_at(offset: int, length: int) -> bytes:
        return data[offset : offset + length]

    if way in CHUNKERS:
        root, leaves = cut(data, list(chunk.plan(read_at, len(data), way)), V1_2025)
    else:
        root, leaves = cut(data, list(chunk.fixed(len(data), V0_2015.chunk)), V0_2015)
    found = recut.leaves(read_at, len(data), root)
    assert found == leaves
    at = 0
    for leaf, length in leaves:
        assert sha256(recut.leaf_block(leaf, data[at : at + length])).digest() == cid.digest(leaf)
        at += length
    wrong = bytearray(root)
    wrong[-1] ^= 1
    assert recut.leaves(read_at, len(data), bytes(wrong)) is None
    assert recut.leaves(read_at, len(data) - 1, root) is None
