"""Leaves that several files have in common which are not wholly here: each is fetched once."""

from __future__ import annotations

import os
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ipfsfs.unixfs import cid
from ipfsfs.unixfs.reference import parse
from tests.support.block_server import BlockServer, block_server
from tests.support.cars import raw
from tests.support.elsewhere import eventually_resident
from tests.support.mounted import Mounted

LEAF = 1 << 20
ROUNDS = 5
READERS = 8
COMMON = [random.Random(n).randbytes(LEAF) for n in range(3)]
OWN = [random.Random(10 + n).randbytes(LEAF) for n in range(2)]
FILES = [b"".join([*COMMON, own]) for own in OWN]
TEXTS = [cid.to_text(raw(leaf)) for leaf in COMMON]
OWN_TEXTS = [cid.to_text(raw(leaf)) for leaf in OWN]


@pytest.fixture
def server() -> Iterator[BlockServer]:
    with block_server() as found:
        yield found


def _linked(view: Mounted, server: BlockServer) -> list[Path]:
    """A placeholder for each file."""
    paths = [view.path / f"file{number}" for number in range(len(FILES))]
    for path, data in zip(paths, FILES, strict=True):
        path.symlink_to(server.add(data))
    return paths


def test_what_is_asked_for_at_the_same_time_is_fetched_once(
    mounted: Callable[..., Mounted], server: BlockServer
) -> None:
    view = mounted(None, "--gateway", server.url)
    paths = _linked(view, server)
    server.held.update(TEXTS)
    with ThreadPoolExecutor(2) as readers:
        reading = [readers.submit(path.read_bytes) for path in paths]
        while not {*TEXTS, *OWN_TEXTS} <= set(server.asked):  # so that both wait for what they have in common
            os.sched_yield()
        server.held.clear()
        assert [one.result() for one in reading] == FILES
    assert [server.asked.count(text) for text in TEXTS] == [1, 1, 1]
    view.umount()


@pytest.mark.parametrize("by", ["an extent", "a pin"])
def test_what_the_store_holds_for_another_file_is_copied(
    by: str, mounted: Callable[..., Mounted], server: BlockServer
) -> None:
    view = mounted(None, "--gateway", server.url, "--patience", "2")
    first, second = _linked(view, server)
    own = cid.to_text(raw(OWN[0]))
    if by == "an extent":
        del server.blocks[own]
        view.expect_logged.append("file0: ")
        with pytest.raises(OSError, match="Input/output error"):
            first.read_bytes()
    else:
        reference = parse(server.add(FILES[0]).encode())
        assert reference is not None
        view.run("pin", "add", cid.to_text(reference.root), "--view", view.path)
        first.unlink()
    server.asked.clear()
    assert second.read_bytes() == FILES[1]
    assert set(server.asked).isdisjoint(TEXTS)
    view.umount()


def test_of_a_new_version_its_nodes_and_changed_leaves_are_fetched_and_nothing_else(
    mounted: Callable[..., Mounted], server: BlockServer
) -> None:
    view = mounted(None, "--gateway", server.url)
    (view.path / "older").write_bytes(FILES[0])
    view.seal()
    text = server.add(FILES[1])
    (view.path / "newer").symlink_to(text)
    assert (view.path / "newer").read_bytes() == FILES[1]
    reference = parse(text.encode())
    assert reference is not None
    assert set(server.asked) == {cid.to_text(reference.root), cid.to_text(raw(OWN[1]))}
    view.umount()


def test_what_is_read_while_it_is_put_in_place_is_fetched_once(
    mounted: Callable[..., Mounted], server: BlockServer
) -> None:
    """Of a read that spans two leaves the second part lies in a file of the plain directory by then."""
    view = mounted(None, "--gateway", server.url)
    for number in range(ROUNDS):
        data = random.Random(100 + number).randbytes(4 * LEAF)
        path = view.path / f"file{number}"
        path.symlink_to(server.add(data))
        last = cid.to_text(raw(data[-LEAF:]))
        server.held.add(last)
        server.asked.clear()
        over = threading.Event()
        with ThreadPoolExecutor(READERS) as readers, path.open("rb", buffering=0) as file:
            reading = [readers.submit(_read_across_leaves, file.fileno(), data, over) for _ in range(READERS)]
            try:
                while last not in server.asked:
                    os.sched_yield()
                server.held.clear()
                eventually_resident(view, path)
            finally:
                over.set()
            for one in reading:
                one.result()
        assert set(Counter(server.asked).values()) == {1}


def _read_across_leaves(fd: int, data: bytes, over: threading.Event) -> None:
    """Have the daemon asked for what lies around the ends of leaves, again and again."""
    while not over.is_set():
        for end in (LEAF, 2 * LEAF, 3 * LEAF):
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            assert os.pread(fd, 60_000, end - 30_000) == data[end - 30_000 : end + 30_000]
