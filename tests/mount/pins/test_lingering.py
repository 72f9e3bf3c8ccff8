"""Pins of a view, and the daemon of the view before it, which still serves files that are open."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.mounted import Mounted, ipfsfs

CONTENT = random.Random(63).randbytes(3_300_000)


def _again(view: Mounted, path: Path) -> Mounted:
    """Unmount while a file is open, and mount a new view."""
    view.umount("--lazy")
    view.arguments = (*view.arguments, "--force")  # who writes through the view before does not go through this one
    view.mount()
    assert path.exists()
    return view


@pytest.mark.filesystem
def test_what_is_pinned_stays_when_it_is_written_through_the_view_before(mounted: Callable[..., Mounted]) -> None:
    view = mounted()
    path = view.path / "model.bin"
    path.write_bytes(CONTENT)
    root = ipfsfs("pin", "add", path).stdout.strip()
    with path.open("r+b", buffering=0) as file:
        _again(view, path)
        file.write(b"changed")
        os.fsync(file.fileno())
        assert path.read_bytes() == b"changed" + CONTENT[7:]
    path.unlink()
    ipfsfs("attach", root, view.path / "again")
    assert (view.path / "again").read_bytes() == CONTENT
    assert ipfsfs("verify", view.path).returncode == 0
    view.umount()


@pytest.mark.filesystem
def test_what_the_view_before_may_write_is_not_pinned_until_it_is_closed(mounted: Callable[..., Mounted]) -> None:
    view = mounted()
    path = view.path / "model.bin"
    path.write_bytes(CONTENT)
    view.seal()
    with path.open("r+b", buffering=0) as file:
        _again(view, path)
        done = ipfsfs("pin", "add", path, check=False)
        assert done.returncode == 1
        assert "files are being written" in done.stderr
        file.write(b"changed")
    root = ipfsfs("pin", "add", path).stdout.strip()
    path.unlink()
    ipfsfs("attach", root, view.path / "again")
    assert (view.path / "again").read_bytes() == b"changed" + CONTENT[7:]
    view.umount()


@pytest.mark.filesystem
def test_what_the_view_before_reads_is_pinned_written_and_read_on(mounted: Callable[..., Mounted]) -> None:
    view = mounted()
    path = view.path / "model.bin"
    path.write_bytes(CONTENT)
    view.seal()
    with path.open("rb", buffering=0) as file:
        _again(view, path)
        root = ipfsfs("pin", "add", path).stdout.strip()
        assert file.read(1_000_000) == CONTENT[:1_000_000]
        with path.open("r+b") as other:
            other.seek(2_000_000)
            other.write(b"changed")
        assert os.pread(file.fileno(), 7, 2_000_000) in (b"changed", CONTENT[2_000_000:2_000_007])
    ipfsfs("pin", "rm", root, "--view", view.path)
    root = ipfsfs("pin", "add", path).stdout.strip()
    assert [pin["complete"] for pin in view.pins()] == [True]
    path.unlink()
    ipfsfs("attach", root, view.path / "again")
    assert (view.path / "again").read_bytes()[2_000_000:2_000_007] == b"changed"
    view.umount()
