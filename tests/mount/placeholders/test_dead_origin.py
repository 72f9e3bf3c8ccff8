"""A thousand READs that wait for an origin which does not answer hold up nothing else."""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.block_server import BlockServer, block_server
from tests.support.mounted import Mounted
from tests.support.processes import eventually, processor_s

WAITING = 1_000
TURNS, CALLS = 40, 15
SOON_S = 0.1
"""Within which a call is answered, however much else the machine does; it takes some 0.001."""


@pytest.fixture
def server() -> Iterator[BlockServer]:
    with block_server() as found:
        yield found


def _content(number: int) -> bytes:
    return b"%d" % number * 20


def _calls(view: Mounted) -> tuple[float, float]:
    """Look up, read, make and remove a file that is here. Returns how long that takes (median, s), and how much of a
    processor's time the daemon takes for it (s): the least of many turns, for who shares the machine only adds."""
    took, taken = [], []
    path = view.path
    for number in range(TURNS * CALLS):
        if number % CALLS == 0:
            taken.append(processor_s(view.pid))
        began = time.monotonic()
        assert (path / "local").stat().st_size == 5
        assert (path / "local").read_bytes() == b"local"
        (path / f"new{number}").write_bytes(b"new")
        (path / f"new{number}").unlink()
        took.append(time.monotonic() - began)
    taken.append(processor_s(view.pid))
    return statistics.median(took), min(after - before for before, after in pairwise(taken)) / CALLS


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
    _, before_s = _calls(view)
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
        took_s, waiting_s = _calls(view)
        assert len(os.listdir(view.path / "elsewhere")) == WAITING
    finally:
        server.answers.set()
        for reader in readers:
            reader.join(60)
    assert got == {number: _content(number % WAITING) for number in range(WAITING + 50)}
    assert len(set(server.asked)) == WAITING
    assert waiting_s < 2 * before_s, f"a call takes {waiting_s:.5f} s of the processor, and took {before_s:.5f} s"
    assert took_s < SOON_S
