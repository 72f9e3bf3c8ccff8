"""Copies and moves of files: all of it or an error."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ipfsfs.plain import moving


@contextmanager
def both(source: Path, target: Path) -> Iterator[tuple[int, int]]:
    fds = os.open(source, os.O_RDONLY), os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        yield fds
    finally:
        for fd in fds:
            os.close(fd)


@pytest.mark.parametrize("copy", [moving.copy, moving.copy_at_once])
def test_a_copy_is_the_same_with_holes_where_there_were_holes(tmp_path: Path, copy: Callable[[int, int], None]) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    with source.open("wb") as file:
        for at in (0, 3 << 20, 9 << 20):
            file.seek(at)
            file.write(os.urandom(70_000))
        file.truncate(20 << 20)
    with both(source, target) as fds:
        copy(*fds)
    assert target.read_bytes() == source.read_bytes()
    assert target.stat().st_blocks * 512 < 4 << 20


def test_an_empty_file_is_copied(tmp_path: Path) -> None:
    (tmp_path / "source").touch()
    with both(tmp_path / "source", tmp_path / "target") as fds:
        moving.copy(*fds)
    assert (tmp_path / "target").read_bytes() == b""


def test_a_copy_to_where_there_is_no_room_is_an_error() -> None:
    with open("/proc/self/exe", "rb") as source, open("/dev/full", "wb") as full, pytest.raises(OSError):  # noqa: PT011
        moving.copy(source.fileno(), full.fileno())


def test_nothing_is_moved_over_another_file(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).write_text(name)
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(FileExistsError):
            moving.move(fd, b"one", fd, b"other")
        moving.move(fd, b"one", fd, b"new")
    finally:
        os.close(fd)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"new": "one", "other": "other"}
