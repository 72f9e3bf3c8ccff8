"""Blocks of the store: what is read is what the name says, whatever the file holds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from ipfsfs.errors import FormatError, StoreBusy
from ipfsfs.store.blocks import Blocks
from ipfsfs.unixfs.cid import dag_pb_cid, dag_pb_cid_v0, raw_cid, to_text

BLOCK = b"a block"
DIGEST = sha256(BLOCK).digest()


@pytest.fixture
def blocks(tmp_path: Path) -> Iterator[Blocks]:
    """An empty directory of blocks."""
    with Blocks.of(tmp_path) as found:
        yield found


def test_a_block_is_kept_once_and_read_by_either_version_of_its_cid(blocks: Blocks) -> None:
    assert blocks.read(dag_pb_cid(DIGEST)) is None
    assert blocks.put(dag_pb_cid_v0(DIGEST), BLOCK)
    assert not blocks.put(dag_pb_cid(DIGEST), BLOCK)
    assert blocks.read(dag_pb_cid(DIGEST)) == blocks.read(dag_pb_cid_v0(DIGEST)) == BLOCK
    assert blocks.read(raw_cid(DIGEST)) is None, "another codec is another name"
    assert [(one.cid, one.name) for one in blocks.each()] == [(dag_pb_cid(DIGEST), to_text(dag_pb_cid(DIGEST)))]


@pytest.mark.parametrize("damaged", [b"", BLOCK[:-1], BLOCK + b"!", b"x" * (3 << 20)])
def test_a_damaged_file_is_no_block_and_is_written_again(blocks: Blocks, tmp_path: Path, damaged: bytes) -> None:
    blocks.put(raw_cid(DIGEST), BLOCK)
    (tmp_path / "blocks" / to_text(raw_cid(DIGEST))).write_bytes(damaged)
    assert blocks.read(raw_cid(DIGEST)) is None
    assert blocks.put(raw_cid(DIGEST), BLOCK)
    assert blocks.read(raw_cid(DIGEST)) == BLOCK


def test_h35_a_link_in_the_place_of_a_block_is_not_followed(blocks: Blocks, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(BLOCK)
    (tmp_path / "blocks" / to_text(raw_cid(DIGEST))).symlink_to(tmp_path / "elsewhere")
    assert blocks.read(raw_cid(DIGEST)) is None
    assert blocks.put(raw_cid(DIGEST), BLOCK)
    assert blocks.read(raw_cid(DIGEST)) == BLOCK
    assert (tmp_path / "elsewhere").read_bytes() == BLOCK


def test_what_is_no_cid_of_unixfs_has_no_name(blocks: Blocks) -> None:
    for cid in (b"", b"\x01\x55\x00\x03abc", b"../../etc/passwd", b"\x01\x71\x12\x20" + DIGEST):
        assert blocks.read(cid) is None
        assert not blocks.has(cid)
        with pytest.raises(FormatError):
            blocks.put(cid, BLOCK)
    assert os.listdir(blocks.fd) == []


def test_one_command_changes_blocks_at_a_time(blocks: Blocks, tmp_path: Path) -> None:
    with blocks.changing(), Blocks.of(tmp_path) as others, pytest.raises(StoreBusy), others.changing():
        pass
    with Blocks.of(tmp_path) as others, others.changing():
        pass
