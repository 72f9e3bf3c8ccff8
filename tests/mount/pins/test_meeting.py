"""Pins where they meet what else is done to a file: its seal lapses, it is healed, it is given back."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.mounted import Mounted, ipfsfs

CONTENT = os.urandom(3_300_000)


def _write(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"changed")


CHANGES: dict[str, Callable[[Path], object]] = {
    "written": _write,
    "emptied by an open": lambda path: path.write_bytes(b"changed"),
    "cut": lambda path: os.truncate(path, 1_000_000),
}


@pytest.mark.filesystem
@pytest.mark.parametrize("how", CHANGES)
def test_a_pin_keeps_its_bytes_when_a_file_is_changed_whose_seal_holds_no_longer(
    how: str, mounted: Callable[..., Mounted]
) -> None:
    view = mounted()
    path = view.path / "model.bin"
    path.write_bytes(CONTENT)
    root = ipfsfs("pin", "add", path).stdout.strip()
    os.utime(path, (1, 1))
    CHANGES[how](path)
    assert path.stat().st_nlink == 1
    path.unlink()
    ipfsfs("attach", root, view.path / "again.bin")
    assert (view.path / "again.bin").read_bytes() == CONTENT
    view.umount()


def test_a_pin_keeps_its_bytes_when_the_daemon_was_killed_and_its_index_is_lost(
    mounted: Callable[..., Mounted],
) -> None:
    view = mounted()
    path = view.path / "model.bin"
    path.write_bytes(CONTENT)
    root = ipfsfs("pin", "add", path).stdout.strip()
    view.kill()
    for name in view.store.glob("index*"):
        name.unlink()
    view.mount()
    _write(path)
    path.unlink()
    ipfsfs("attach", root, view.path / "again.bin")
    assert (view.path / "again.bin").read_bytes() == CONTENT
    view.umount()
