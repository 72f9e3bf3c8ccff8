"""A thousand READs that wait for an origin which does not answer hold up nothing else."""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.block_server import BlockServer, block_server
from tests.support.mounted import Mounted
from tests.support.processes import eventually

WAITING = 1_000
CALLS = 150


@pytest.fixture
def server() -> Iterator[BlockServer]:
    with block_server() as found:
        yield found


def _content(number: int) -> bytes:
    return b"%d" % number * 20


def _times(path: Path) -> list[float]:
    """How long it takes to look up, read, make and remove a file that is here (s), a number of times."""
    found = []
    for number in range(CALLS):
        began = time.monotonic()
        assert (path / "local").stat().st_size == 5
        assert (path / "local").read_bytes() == b"local"
        (path / f"new{number}").write_bytes(b"new")
        (path / f"new{number}").unlink()
        found.append(time.monotonic() - began)
    return found


def test_h44_a_thousand_waiting_reads_slow_nothing_else(
    tmp_path: Path, server: BlockServer, mounted: Callable[..., Mounted]
) -> None:
    """They get their bytes when it answers again."""
    cache = tmp_path / "cache"
    (cache / "elsewhere").mkdir(parents=True)
    for number in range(WAITING):
        os.symlink(server.add(_content(number)), cache / "elsewhere" / f"{number}")
    (cache / "local").write_bytes(b"local")
    view = mounted(cache, "--gateway", server.url, "--patience", "120")
    before = _times(view.path)
    server.answers.clear()
    got: dict[int, bytes] = {}

    def read(number: int) -> None:
        got[number] = (view.path / "elsewhere" / f"{number % WAITING}").read_bytes()

    readers = [threading.Thread(target=read, args=(number,)) for number in range(WAITING + 50)]
    for reader in readers:
        reader.start()
    try:
        eventually(lambda: view.status()["open_files"] == len(readers), "all of them wait")
        assert not got
        while_waiting = _times(view.path)
        assert len(os.listdir(view.path / "elsewhere")) == WAITING
    finally:
        server.answers.set()
        for reader in readers:
            reader.join(60)
    assert got == {number: _content(number % WAITING) for number in range(WAITING + 50)}
    assert len(set(server.asked)) == WAITING
    slower = statistics.median(while_waiting) / statistics.median(before)
    assert slower < 2, f"calls took {slower:.1f} times as long: {statistics.median(while_waiting):.5f} s"
    assert max(while_waiting) < 1
    view.umount()
