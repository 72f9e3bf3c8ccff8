"""open(2) through the view behaves as on plain disk, with every flag on every kind of name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.twins import Twins, outcome, shown

pytestmark = pytest.mark.filesystem

ACCESS = {"r": os.O_RDONLY, "w": os.O_WRONLY, "rw": os.O_RDWR}
FLAGS = {
    "trunc": os.O_TRUNC,
    "append": os.O_APPEND,
    "nofollow": os.O_NOFOLLOW,
    "creat": os.O_CREAT,
    "creat-excl": os.O_CREAT | os.O_EXCL,
    "creat-excl-nofollow-nonblock": os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_NONBLOCK,
    "directory": os.O_DIRECTORY,
    "trunc-append": os.O_TRUNC | os.O_APPEND,
    "sync": os.O_SYNC,
    "dsync": os.O_DSYNC,
    "noatime": os.O_NOATIME,
    "path": os.O_PATH,
    "nothing": 0,
}
WHAT = ["file", "empty", "link", "dangling", "loop", "folder", "missing", "file/below", "missing/below"]


@pytest.mark.parametrize("flags", FLAGS)
@pytest.mark.parametrize("access", ACCESS)
def test_open_flags(twins: Twins, access: str, flags: str) -> None:
    """On every kind of name, with what is read and written then, and the times that change."""

    def work(root: Path) -> Any:
        came: list[object] = []
        for what in WHAT:
            here = root / what.replace("/", "-")
            here.mkdir()
            (here / "file").write_bytes(b"0123456789")
            (here / "empty").touch()
            (here / "link").symlink_to("file")
            (here / "dangling").symlink_to("made-through")
            (here / "loop").symlink_to("loop")
            (here / "folder").mkdir()
            before = {name: (here / name).lstat() for name in os.listdir(here)}
            came.append((what, outcome(lambda at=here / what: use(at))))  # type: ignore[misc]
            came.append(
                sorted((name, (here / name).lstat().st_mtime_ns != st.st_mtime_ns) for name, st in before.items())
            )
        return came

    def use(path: Path) -> Any:
        fd = os.open(path, ACCESS[access] | FLAGS[flags], 0o640)
        try:
            return [
                shown(os.fstat(fd)),
                outcome(lambda: os.write(fd, b"abc")),
                outcome(lambda: os.lseek(fd, 0, os.SEEK_CUR)),
                outcome(lambda: os.pread(fd, 100, 0)),
                outcome(lambda: os.ftruncate(fd, 5)),
            ]
        finally:
            os.close(fd)

    twins.same(work)


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_RDWR])
@pytest.mark.parametrize("reader", [False, True])
def test_truncating_by_open_with_and_without_another_reader(twins: Twins, flags: int, reader: bool) -> None:
    """`open(O_RDONLY | O_TRUNC)` truncates as well."""

    def work(root: Path) -> Any:
        (root / "file").write_bytes(b"content")
        others = [os.open(root / "file", os.O_RDONLY)] if reader else []
        fd = os.open(root / "file", flags | os.O_TRUNC)
        found = [os.fstat(fd).st_size, os.pread(fd, 10, 0), *(os.pread(other, 10, 0) for other in others)]
        for each in (fd, *others):
            os.close(each)
        return found

    assert twins.same(work)[:2] == [0, b""]
