"""What is read ahead is in memory afterwards, and nothing was copied for it."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ipfsfs.plain.ahead import ReadAhead
from ipfsfs.plain.syscalls import resident_pages

SIZE = 8 << 20
PAGE = os.sysconf("SC_PAGE_SIZE")


@contextmanager
def cold(path: Path) -> Iterator[int]:
    """A file of which nothing is in memory, open to be read here and there: the kernel reads nothing ahead of it."""
    path.write_bytes(os.urandom(SIZE))
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
        assert not sum(resident_pages(fd, 0, SIZE))
        yield fd
    finally:
        os.close(fd)


@pytest.mark.filesystem
def test_the_part_is_in_memory_and_no_other(tmp_path: Path) -> None:
    with cold(tmp_path / "file") as fd, ReadAhead() as means:
        means.bring(fd, 2 << 20, 3 << 20)
        pages = resident_pages(fd, 0, SIZE)
    first, last = (2 << 20) // PAGE, (5 << 20) // PAGE
    assert sum(pages[first:last]) == last - first
    assert not sum(pages[: first - 512])
    assert not sum(pages[last + 512 :])


def test_it_ends_with_the_file_and_can_be_done_again(tmp_path: Path) -> None:
    with cold(tmp_path / "file") as fd, ReadAhead() as means:
        means.bring(fd, SIZE - PAGE, 1 << 20)
        means.bring(fd, SIZE, 1 << 20)
        means.bring(fd, 0, 1 << 20)
        assert sum(resident_pages(fd, 0, 1 << 20)) == (1 << 20) // PAGE


def test_every_descriptor_is_given_back(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with cold(tmp_path / "file") as fd, ReadAhead() as means:
        means.bring(fd, 0, SIZE)
    assert len(os.listdir("/proc/self/fd")) == before


def test_who_has_no_descriptor_left_is_told_and_loses_none(tmp_path: Path) -> None:
    with cold(tmp_path / "file") as fd:
        before = os.listdir("/proc/self/fd")
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        free = os.dup(fd)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free + 2, hard))  # room for /dev/null and one more
        try:
            with ReadAhead() as means, pytest.raises(OSError, match="Too many open files"):
                means.bring(fd, 0, SIZE)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert len(os.listdir("/proc/self/fd")) == len(before)
