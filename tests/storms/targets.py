"""What takes bytes from outside, as targets for a fuzzer: atheris (`fuzz`) or hypothesis.

A target must return: an error of ours is an answer, anything else is a find.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Final

import trio
import trio.testing

from ipfsfs.daemon import control, mounts
from ipfsfs.daemon.questions.registry import QUESTIONS
from ipfsfs.errors import FormatError, UsageError
from ipfsfs.unixfs import chunk, dagpb
from ipfsfs.workers import wire

READ_MOST: Final = 66 << 20
"""What the reader of a header may read of a file, in bytes (the bound that tests/unit/test_tensor.py holds)."""
SLOW_S: Final = 5.0


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


def _unixfs(data: bytes) -> None:
    try:
        message = dagpb.decode_unixfs(data)
    except FormatError:
        return
    if message.hash_type is None and not message.metadata:
        again = dagpb.decode_unixfs(dagpb.encode_unixfs(message))
        assert again == message


def pipe(data: bytes) -> None:
    """What comes through the pipe from a sealer."""
    decoder = wire.Decoder()
    try:
        for header, blob in decoder.feed(data):
            assert isinstance(header, dict)
            assert len(blob) <= len(data)
    except FormatError:
        pass


def question(data: bytes) -> None:
    """What is said to the control socket."""

    async def ask() -> None:
        theirs, ours = trio.testing.memory_stream_pair()
        await theirs.send_all(data)
        await theirs.aclose()
        try:
            found = control._parse(await control._read_line(ours))  # type: ignore[arg-type]
        except UsageError:
            return
        assert type(found) in QUESTIONS.values()

    trio.run(ask)


def mountinfo(data: bytes) -> None:
    """A line of the mount table. The kernel writes it, but with names that others choose."""
    path = b"/" + data.replace(b"\0", b"").replace(b"/", b"")
    shown = b"".join(b"\\%03o" % byte if byte in b" \t\n\\#" else bytes([byte]) for byte in path)
    found = mounts.parse(b"36 35 98:0 / " + shown + b" rw,noatime shared:1 - fuse.ipfsfs " + shown + b" rw\n")
    assert os.fsencode(found.mountpoint).strip(b"/.") == path.strip(b"/.")
    assert os.fsencode(found.source) == path


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    "tensor": tensor,
    "dag": dag,
    "pipe": pipe,
    "question": question,
    "mountinfo": mountinfo,
}


def timed(target: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """A target that must not take long either (s of processor time)."""

    def once(data: bytes) -> None:
        began = time.process_time()
        target(data)
        assert time.process_time() - began < SLOW_S, "too slow"

    return once
