"""A fetcher that runs and answers nothing: it is noticed, and nothing waits for it longer than for an origin."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.block_server import BlockServer, block_server
from tests.support.mounted import Mounted
from tests.support.processes import beside, eventually, parent, stopped

LARGE, SMALL = os.urandom(3_000_000), os.urandom(1_000)
FIRST = os.urandom(500)


@pytest.fixture
def server() -> Iterator[BlockServer]:
    with block_server() as found:
        yield found


@pytest.fixture
def cache(server: BlockServer, tmp_path: Path) -> Path:
    """A directory with files that only the server has: one of several leaves, and one that is a leaf itself."""
    path = tmp_path / "cache"
    path.mkdir()
    for name, content in (("first", FIRST), ("large", LARGE), ("small", SMALL)):
        (path / name).symlink_to(server.add(content))
    (path / "local").write_bytes(b"local")
    return path


def _fetcher(view: Mounted) -> int:
    """The fetcher of a view, which has just fetched something."""
    assert (view.path / "first").read_bytes() == FIRST
    view.settle()
    (found,) = [pid for pid in beside("workers.fetcher.program") if parent(pid) == view.pid]
    return found


def test_h48_reads_that_a_stopped_fetcher_owes_end_in_eio_and_no_other_waits(
    cache: Path, server: BlockServer, mounted: Callable[..., Mounted]
) -> None:
    """The table of one file is not known, the leaf of the other is."""
    view = mounted(cache, "--gateway", server.url, "--patience", "3")
    failed: list[float] = []

    def read(name: str) -> None:
        began = time.monotonic()
        with pytest.raises(OSError, match="Input/output error"):
            (view.path / name).read_bytes()
        failed.append(time.monotonic() - began)

    with stopped([_fetcher(view)]):
        view.expect_logged += [r"(large|small): .* nothing came"]
        readers = [threading.Thread(target=read, args=(name,)) for name in ("large", "small")]
        for reader in readers:
            reader.start()
        while any(reader.is_alive() for reader in readers):
            began = time.monotonic()
            assert (view.path / "local").read_bytes() == b"local"
            assert len(os.listdir(view.path)) == 4
            assert time.monotonic() - began < 1
            time.sleep(0.1)
    assert len(failed) == 2
    assert all(2.5 < seconds < 11 for seconds in failed), "the kernel asks up to four times"
    for name, content in (("large", LARGE), ("small", SMALL)):
        eventually(lambda name=name, content=content: _is_read(view.path / name, content), "it goes on")  # type: ignore[misc]


def test_h48_a_fetcher_that_hangs_is_replaced_and_who_waits_gets_the_bytes(
    cache: Path, server: BlockServer, mounted: Callable[..., Mounted]
) -> None:
    view = mounted(cache, "--gateway", server.url, "--patience", "60")
    hanging = _fetcher(view)
    view.expect_logged += ["the fetcher hangs; it is started again"]
    with stopped([hanging]):
        assert (view.path / "large").read_bytes() == LARGE
        assert (view.path / "small").read_bytes() == SMALL
        assert not Path(f"/proc/{hanging}").exists()
    assert "the fetcher hangs" in view.log()
    assert _fetcher(view) != hanging


def _is_read(path: Path, content: bytes) -> bool:
    try:
        return path.read_bytes() == content
    except OSError:
        return False
