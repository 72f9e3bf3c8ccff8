"""A daemon that may have no more than 1,024 descriptors (H14), and workers that use more files than that."""

from __future__ import annotations

import errno
import json
import os
import resource
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.support.calls import refuses
from tests.support.mounted import Mounted, clear, ipfsfs
from tests.support.processes import eventually

LIMIT = 1024
FILES = 900
"""In use at a time, beside all the directories."""


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (LIMIT, LIMIT))


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[Mounted]:
    """A view whose daemon may have 1,024 descriptors and not one more; this process may have many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    cache = tmp_path / "cache"
    cache.mkdir()
    view = Mounted(cache)
    try:
        ipfsfs("mount", cache, preexec_fn=_limit)
        view.pid = view.status()["pid"]
        yield view
        view.finish()
    finally:
        clear(cache)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _content(number: int) -> bytes:
    return b"%d " % number * 1000


def _make(view: Mounted, directories: int) -> list[Path]:
    """A file in each of so many directories."""
    files = []
    for number in range(directories):
        folder = view.path / f"{number // 50:03}" / f"{number:05}"
        folder.mkdir(parents=True)
        (folder / "file").write_bytes(_content(number))
        files.append(folder / "file")
    return files


@pytest.mark.parametrize("directories", [1_000, pytest.param(3_000, marks=pytest.mark.campaign)])
@pytest.mark.timeout(900)
def test_h14_more_directories_and_files_than_descriptors(limited: Mounted, directories: int) -> None:
    """Descriptors of directories are a convenience and make room for those of files: nobody gets an error."""
    files = _make(limited, directories)
    with ExitStack() as opened:
        held = [opened.enter_context(path.open("rb")) for path in files[:FILES]]
        for turn in range(2):
            for number, path in enumerate(files):
                assert path.stat().st_size == len(_content(number))
                if turn:
                    assert path.read_bytes() == _content(number)
                    (path.parent / "made").write_bytes(b"new")
                    (path.parent / "made").rename(path.parent / "renamed")
                    (path.parent / "renamed").unlink()
        for number, file in enumerate(held):
            assert file.read() == _content(number)
        sealed = limited.seal()
        status = limited.status()
    assert (status["degraded"], sealed["failed"], status["sealed"]) == ("", 0, directories)
    known = status["files_known_to_the_kernel"]
    print(f"\ndescriptors: {json.dumps({'directories': directories, 'open': FILES, 'known': known})}")


@pytest.mark.timeout(900)
def test_h14_a_worker_that_opens_too_much_is_told_so_and_others_go_on(limited: Mounted) -> None:
    files = _make(limited, 1_100)
    opened: list[tuple[int, int]] = []
    told: list[int] = []
    try:
        for number, path in enumerate(files):
            try:
                opened.append((number, os.open(path, os.O_RDONLY)))
            except OSError as error:
                told.append(error.errno or 0)
        assert len(opened) > FILES
        assert set(told) == {errno.EMFILE}
        for number, fd in opened:
            assert os.read(fd, 100_000) == _content(number)
        for path in files:
            path.stat()
        status = limited.status()  # a command gets through all the same
        assert (status["degraded"], status["open_files"]) == ("", len(opened))
        os.rename(files[0], files[0].with_name("renamed"))
        files[1].unlink()
        files[2].chmod(0o600)
    finally:
        for _, fd in opened:
            with suppress(OSError):
                os.close(fd)
    eventually(lambda: limited.status()["open_files"] == 0, "all are closed")
    for number, path in enumerate(files[2:], start=2):
        assert path.read_bytes() == _content(number)
    assert limited.seal()["failed"] == 0
    print(f"\ndescriptors: {json.dumps({'opened': len(opened), 'told EMFILE': len(told)})}")


@pytest.mark.timeout(900)
def test_h14_a_worker_that_makes_too_many_is_told_so_and_others_go_on(limited: Mounted) -> None:
    """And of what it was refused nothing is there."""
    (limited.path / "file").write_bytes(b"content")
    made: list[int] = []

    def make() -> None:
        made.append(os.open(limited.path / f"made{len(made)}", os.O_WRONLY | os.O_CREAT | os.O_EXCL))

    try:
        with suppress(OSError):
            while len(made) < 2_000:
                make()
        refuses(errno.EMFILE, make)
        assert len(made) > FILES
        assert limited.status()["open_files"] == len(made)
        (limited.path / "file").rename(limited.path / "renamed")
        (limited.path / "made0").unlink()
    finally:
        for fd in made:
            os.close(fd)
    assert len(os.listdir(limited.path)) == len(made)
    assert (limited.path / "renamed").read_bytes() == b"content"
