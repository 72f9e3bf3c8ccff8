"""What was brought is in memory, and no descriptor is lost for it, whatever goes wrong."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from ipfsfs.plain.into_memory import IntoMemory
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


@contextmanager
def into_memory() -> Iterator[IntoMemory]:
    made = IntoMemory()
    try:
        yield made
    finally:
        made.close()


@pytest.mark.filesystem
def test_the_part_is_in_memory_and_no_other(tmp_path: Path) -> None:
    with cold(tmp_path / "file") as fd, into_memory() as memory:
        memory.bring(fd, 2 << 20, 3 << 20)
        pages = resident_pages(fd, 0, SIZE)
    first, last = (2 << 20) // PAGE, (5 << 20) // PAGE
    assert sum(pages[first:last]) == last - first
    assert not sum(pages[: first - 512])
    assert not sum(pages[last + 512 :])


def test_it_ends_with_the_file_and_can_be_done_again(tmp_path: Path) -> None:
    with cold(tmp_path / "file") as fd, into_memory() as memory:
        memory.bring(fd, SIZE - PAGE, 1 << 20)
        memory.bring(fd, SIZE, 1 << 20)
        memory.bring(fd, (1 << 63) - PAGE, 1 << 20)
        memory.bring(fd, (1 << 63) + PAGE, 1 << 20)
        memory.bring(fd, 0, 1 << 20)
        assert sum(resident_pages(fd, 0, 1 << 20)) == (1 << 20) // PAGE


def test_threads_share_it_and_few_pipes_are_kept(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with cold(tmp_path / "file") as fd, into_memory() as memory:
        with ThreadPoolExecutor(16) as threads:
            for done in [threads.submit(memory.bring, fd, at << 19, 1 << 19) for at in range(16)]:
                done.result()
        assert sum(resident_pages(fd, 0, SIZE)) == SIZE // PAGE
        assert len(os.listdir("/proc/self/fd")) <= before + 1 + 4 * 3
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_file_that_cannot_be_read_costs_no_descriptor_and_nothing_after_it(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    unreadable = os.open(tmp_path, os.O_RDONLY)
    with cold(tmp_path / "file") as fd, into_memory() as memory:
        for _ in range(100):
            with pytest.raises(OSError, match=r"directory|Invalid argument"):
                memory.bring(unreadable, 0, SIZE)
        memory.bring(fd, 0, SIZE)
        assert sum(resident_pages(fd, 0, SIZE)) == SIZE // PAGE
    os.close(unreadable)
    assert len(os.listdir("/proc/self/fd")) == before


def test_who_has_no_descriptor_left_is_told_and_loses_none(tmp_path: Path) -> None:
    with cold(tmp_path / "file") as fd, into_memory() as memory:
        before = len(os.listdir("/proc/self/fd"))
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        free = os.dup(fd)
        os.close(free)
        for more in (1, 2):
            resource.setrlimit(resource.RLIMIT_NOFILE, (free + more, hard))  # room for /dev/null and not for a pipe
            try:
                with pytest.raises(OSError, match="Too many open files"):
                    memory.bring(fd, 0, SIZE)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert len(os.listdir("/proc/self/fd")) == before
