"""Targets: content of others, and its names."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from typing import Final

from ipfsfs.errors import FormatError, IpfsfsError, UsageError
from ipfsfs.exchange import naming
from ipfsfs.exchange.reading_out import links as links_of
from ipfsfs.unixfs import car as cars
from ipfsfs.unixfs import chunk, dagpb, reading, reference
from ipfsfs.unixfs import cid as cids
from ipfsfs.unixfs.dagpb import Type, Unixfs
from ipfsfs.unixfs.file_walk import FileWalk
from ipfsfs.unixfs.tree_walk import TreeWalk
from ipfsfs.workers.fetcher import table

READ_MOST: Final = 66 << 20
"""What the reader of a header may read of a file, in bytes (the bound that tests/unit/test_tensor.py holds)."""
_NODES_MOST: Final = 24


def _is_for_people(error: IpfsfsError) -> None:
    assert str(error).isprintable(), str(error)
    assert len(str(error)) < 1_000, str(error)


def tensor(data: bytes) -> None:
    """Where a file is cut: always into pieces that make the whole, whatever its header says."""
    taken = 0

    def read_at(offset: int, length: int) -> bytes:
        nonlocal taken
        found = data[offset : offset + length]
        taken += len(found)
        return found

    lengths = list(chunk.plan(read_at, len(data), "auto"))
    assert sum(lengths) == len(data)
    assert all(0 < length <= chunk.LEAF_MAX for length in lengths)
    assert taken <= READ_MOST


def dag(data: bytes) -> None:
    """A block that somebody sent."""
    try:
        links, message = dagpb.decode_node(data)
    except FormatError:
        pass
    else:
        assert sum(len(link.cid) + len(link.name) for link in links) <= len(data)
        if message is not None:
            _unixfs(message)
    _unixfs(data)
    for cid in (cids.raw_cid(sha256(data).digest()), cids.dag_pb_cid(sha256(data).digest())):
        try:
            links_of(reading.read(cid, data))
            reading.content(cid, data)
        except FormatError as error:
            _is_for_people(error)


def _unixfs(data: bytes) -> None:
    try:
        message = dagpb.decode_unixfs(data)
    except FormatError:
        return
    if message.hash_type is None and not message.metadata:
        again = dagpb.decode_unixfs(dagpb.encode_unixfs(message))
        assert again == message


def tree(data: bytes) -> None:
    """Nodes that link each other as the bytes say: blocks of random bytes would never have the hash that a link has."""
    blocks: dict[bytes, bytes] = {}
    made = [cids.raw_cid(sha256(b"a").digest()), cids.EMPTY, b"\x01\x55\x00\x01a"]
    blocks |= {made[0]: b"a", cids.EMPTY: b""}
    taken = iter(data)
    for _ in range(_NODES_MOST):
        block = _node(taken, made)
        if block is None:
            break
        made.append(cids.dag_pb_cid(sha256(block).digest()))
        blocks[made[-1]] = block
    _walked(made[-1], blocks)
    for size in (None, 1, 2, 3, 1 << 20):
        _leaves_of(made[-1], size, blocks)


def _node(taken: Iterator[int], made: list[bytes]) -> bytes | None:
    kind = next(taken, None)
    if kind is None:
        return None
    links = []
    for _ in range(next(taken, 0) % 8):
        target = made[-1 - next(taken, 0) % len(made)]
        length = next(taken, 0) % 16
        name = bytes(byte for byte, _ in zip(taken, range(length), strict=False))
        links.append(dagpb.encode_link(target, name, next(taken, 0) << next(taken, 0) % 64))
    length = next(taken, 0) % 36
    message = Unixfs(
        type=Type(kind % 6),
        data=bytes(byte for byte, _ in zip(taken, range(length), strict=False)) if kind & 0x40 else None,
        filesize=next(taken, 0) << next(taken, 0) % 64 if kind & 0x80 else None,
        blocksizes=[next(taken, 0) << (next(taken, 0) % 56) for _ in range(next(taken, 0) % 8)],
        hash_type=0x22 if kind & 0x20 else None,
        fanout=1 << next(taken, 0) % 12 if kind & 0x20 else None,
    )
    return dagpb.encode_node(links, dagpb.encode_unixfs(message))


def _walked(root: bytes, blocks: dict[bytes, bytes]) -> None:
    paths: list[bytes] = []
    try:
        walk = TreeWalk(root)
        while wanted := walk.wanted():
            for cid in wanted:
                paths += [entry.path for entry in walk.give(cid, blocks[cid])]
    except FormatError:
        pass
    assert len(set(paths)) == len(paths)
    for path in paths:
        assert not {b"", b".", b".."} & set(path.split(b"/"))
        assert b"\0" not in path


def _leaves_of(root: bytes, size: int | None, blocks: dict[bytes, bytes]) -> None:
    try:
        walk = FileWalk(root, size)
        while wanted := walk.wanted():
            for cid in wanted:
                walk.give(cid, blocks[cid])
    except FormatError:
        return
    if walk.leaf_count < 10_000:
        at = 0
        for leaf in walk.leaves():
            assert (leaf.offset, leaf.length > 0) == (at, True)
            at += leaf.length
        assert at == walk.size


def car(data: bytes) -> None:
    """A CAR, in pieces of a length that its first byte says."""
    piece = data[0] + 1 if data else 1
    reader, size = cars.Reader(), 0
    try:
        for at in range(0, len(data), piece):
            for cid, block in reader.feed(data[at : at + piece]):
                size += len(block)
                cids.check(cid, block)
        reader.finish()
    except FormatError as error:
        _is_for_people(error)
    assert size <= len(data)
    assert len(reader._pending) <= cars.FRAME_MAX + (64 << 10)


def placeholder(data: bytes) -> None:
    """The text of a symlink."""
    found = reference.parse(data)
    assert found is None or reference.text(found) == data


def name(data: bytes) -> None:
    """What is typed where content is meant, and the text and bytes of a CID."""
    text = data.decode("utf-8", "surrogateescape")
    for parse in (naming.parse, naming.parse_content):
        try:
            found = parse(text)
        except UsageError as error:
            _is_for_people(error)
        else:
            assert found is None or found.shown.isprintable()
            assert found is None or not {"", ".."} & set(found.below.split("/")) or ".." in text or not found.below
    try:
        cids.to_text(cids.from_text(text))
    except FormatError as error:
        _is_for_people(error)
    for read in (cids.leading, cids.digest, cids.unixfs_codec):
        try:
            read(data)
        except FormatError as error:
            _is_for_people(error)


def leaves(data: bytes) -> None:
    """A table of leaves, which lies in the store."""
    try:
        found = table.LeafTable(data)
    except FormatError:
        return
    at = 0
    for leaf in found:
        assert leaf.offset == at
        at += leaf.length
    assert (at, len(list(found))) == (found.size, len(found))
    assert all(found[found.index_at(leaf.offset)] == leaf for leaf in found)
