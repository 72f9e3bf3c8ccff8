"""Large READs, which threads answer: right bytes whatever goes on beside them, and an end when the view ends."""

from __future__ import annotations

import os
import random
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from tests.support.filesystems import mounted_tmpfs
from tests.support.mounted import Mounted, clear, environment, ipfsfs
from tests.support.native import CHECKED
from tests.support.processes import eventually

PAGE: Final = 4096
LARGE: Final = 1 << 20
PAGES: Final = 4096
"""Of a file: 16 MiB."""
_WORD: Final = struct.Struct("<II")


def _pages(version: int, first: int, count: int) -> bytes:
    """Each word of a page says which page it is, and which version of it."""
    return b"".join(_WORD.pack(version, page) * (PAGE // _WORD.size) for page in range(first, first + count))


def _is_right(data: bytes, offset: int, versions: int) -> bool:
    """Whether every word is of its page, in one of the versions there are, or of a hole."""
    for at in range(0, len(data), PAGE):
        page = (offset + at) // PAGE
        words = set(memoryview(data[at : at + PAGE]).cast("Q"))
        if any(word and (word >> 32 != page or not 0 < word & 0xFFFFFFFF <= versions) for word in words):
            return False
    return True


class Readers:
    """Threads that read a file in large READs, past the kernel's cache, by one handle and each at places of its own."""

    def __init__(self, path: Path, versions: list[int], count: int = 4) -> None:
        self.wrong: list[str] = []
        self.rounds = [0] * count
        self._over = threading.Event()
        self._fd = os.open(path, os.O_RDONLY)
        self._versions = versions
        self._threads = [threading.Thread(target=self._read, args=(number,), daemon=True) for number in range(count)]
        for thread in self._threads:
            thread.start()

    def _read(self, number: int) -> None:
        chosen = random.Random(number)
        while not self._over.is_set():
            offset = chosen.randrange(PAGES * PAGE // LARGE) * LARGE
            os.posix_fadvise(self._fd, offset, LARGE, os.POSIX_FADV_DONTNEED)
            try:
                data = os.pread(self._fd, LARGE, offset)
            except OSError as error:
                self.wrong.append(str(error))
                return
            if not _is_right(data, offset, self._versions[-1]):
                self.wrong.append(f"at {offset}")
            self.rounds[number] += 1

    def join(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(30)
        assert not any(thread.is_alive() for thread in self._threads)
        os.close(self._fd)


@contextmanager
def _reading(path: Path, versions: list[int], count: int = 4) -> Iterator[Readers]:
    readers = Readers(path, versions, count)
    try:
        yield readers
    finally:
        readers.join()
    assert readers.wrong == []
    assert all(readers.rounds)


def _is_gone(pid: int) -> bool:
    return not os.path.exists(f"/proc/{pid}")


def _all_have_read(readers: Readers) -> bool:
    return min(readers.rounds) >= 3


def _counted(view: Mounted, name: str) -> int:
    lines = ipfsfs("metrics", view.path).stdout.splitlines()
    return next(int(float(line.split()[1])) for line in lines if line.startswith(f"ipfsfs_{name}_total "))


def test_overwrites_and_truncations_race_with_large_reads(mounted: Callable[..., Mounted]) -> None:
    """What is read while it is written is old or new, never another place's bytes, and never an error."""
    view = mounted()
    path = view.path / "file"
    versions = [1]
    path.write_bytes(_pages(1, 0, PAGES))
    view.seal()
    chosen = random.Random(14)
    with _reading(path, versions):
        for version in range(2, 40):
            versions.append(version)
            with path.open("r+b", buffering=0) as file:
                if version % 3 == 0:
                    first = chosen.randrange(PAGES)
                    file.truncate(first * PAGE)
                    file.seek(first * PAGE)
                    rest = _pages(version, first, PAGES - first)
                    while rest:
                        rest = rest[file.write(rest) :]
                else:
                    first = chosen.randrange(PAGES - 256)
                    file.seek(first * PAGE)
                    file.write(_pages(version, first, 256))
            if version % 5 == 0:
                view.seal()
    assert path.stat().st_size == PAGES * PAGE
    view.seal()
    assert view.status()["rot"] == []
    assert view.run("verify", view.path).returncode == 0


def test_a_handle_that_is_shared_is_read_at_several_places_at_once(mounted: Callable[..., Mounted]) -> None:
    view = mounted(None, *CHECKED)
    path = view.path / "file"
    path.write_bytes(_pages(1, 0, PAGES))
    view.seal()
    reads, size = _counted(view, "reads"), _counted(view, "read_bytes")
    began = time.monotonic()
    with _reading(path, [1]) as readers:
        eventually(lambda: min(readers.rounds) >= 30, "each has read much")
    assert time.monotonic() - began < 30
    assert _counted(view, "failed_reads") == 0
    assert _counted(view, "reads") > reads
    assert _counted(view, "read_bytes") - size >= LARGE * 30


def test_reads_go_on_after_a_lazy_unmount_and_end_with_the_last_handle(mounted: Callable[..., Mounted]) -> None:
    view = mounted()
    path = view.path / "file"
    path.write_bytes(_pages(1, 0, PAGES))
    view.seal()
    daemon = view.pid
    with _reading(path, [1]) as readers:
        eventually(lambda: min(readers.rounds) >= 3, "all read")
        view.umount("--lazy")
        before = list(readers.rounds)
        eventually(
            lambda: all(now > then + 3 for now, then in zip(readers.rounds, before, strict=True)), "all go on reading"
        )
    eventually(lambda: _is_gone(daemon), "the daemon has ended", 20)


def test_a_daemon_that_is_killed_while_it_reads_leaves_the_plain_directory(mounted: Callable[..., Mounted]) -> None:
    view = mounted()
    path = view.path / "file"
    path.write_bytes(_pages(1, 0, PAGES))
    readers = Readers(path, [1])
    eventually(lambda: min(readers.rounds) >= 3, "all read")
    view.kill()
    readers.join()
    assert {wrong.partition("]")[0] for wrong in readers.wrong} <= {"[Errno 103", "[Errno 107"}
    assert path.read_bytes() == _pages(1, 0, PAGES)
    view.mount()
    assert path.read_bytes() == _pages(1, 0, PAGES)


@pytest.mark.root
def test_a_daemon_whose_connection_is_aborted_while_it_reads_ends(mounted: Callable[..., Mounted]) -> None:
    """As `umount --force` aborts it: the thread that reads the requests is the one that is told."""
    view = mounted()
    path = view.path / "file"
    path.write_bytes(_pages(1, 0, PAGES))
    for _ in range(3):
        daemon = view.pid
        readers = Readers(path, [1])
        eventually(partial(_all_have_read, readers), "all read")
        subprocess.run(["umount", "--force", view.path], check=False, capture_output=True)
        readers.join()
        assert {wrong.partition("]")[0] for wrong in readers.wrong} <= {"[Errno 103", "[Errno 107"}
        eventually(partial(_is_gone, daemon), "the daemon has ended", 10)
        assert path.read_bytes() == _pages(1, 0, PAGES)
        view.mount()


def test_where_threads_cannot_be_had_nothing_is_mounted(tmp_path: Path) -> None:
    """Whoever goes on after a mount that failed has the plain directory, at once."""
    path = tmp_path / "cache"
    path.mkdir()
    (path / "file").write_bytes(b"content")
    limits = ["prlimit", f"--stack={16 << 30}", f"--as={160 << 30}"]  # room for nine threads
    command = [*limits, sys.executable, "-m", "ipfsfs", "mount", str(path)]
    try:
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
        assert done.returncode != 0
        assert "threads that read files cannot be started" in done.stderr
        assert (path / "file").read_bytes() == b"content"
    finally:
        clear(path)


def test_other_requests_are_answered_between_reads(mounted: Callable[..., Mounted]) -> None:
    """Those that come while a thread reads requests itself, and large ones among them: none is lost, none mixed up."""
    view = mounted()
    path = view.path / "file"
    path.write_bytes(_pages(1, 0, PAGES))
    view.seal()
    longest = 0.0
    with _reading(path, [1], count=2), path.open("rb", buffering=0) as source:
        for number in range(30):
            began = time.monotonic()
            os.posix_fadvise(source.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            directory = view.path / f"{number}"
            directory.mkdir()
            with (directory / "copy").open("w+b", buffering=0) as copy:
                for offset in range(0, 4 * LARGE, LARGE):
                    assert copy.write(os.pread(source.fileno(), LARGE, offset)) == LARGE
                os.fsync(copy.fileno())
            (directory / "copy").rename(directory / "renamed")
            os.setxattr(directory / "renamed", "user.number", str(number).encode())
            assert os.listdir(directory) == ["renamed"]
            assert os.getxattr(directory / "renamed", "user.number") == str(number).encode()
            assert not (directory / "copy").exists()
            assert (directory / "renamed").read_bytes() == _pages(1, 0, PAGES // 4)
            longest = max(longest, time.monotonic() - began)
    assert longest < 10


def test_a_view_is_unmounted_at_once_after_reads(mounted: Callable[..., Mounted]) -> None:
    view = mounted()
    path = view.path / "file"
    path.write_bytes(_pages(1, 0, PAGES))
    for _ in range(5):
        daemon = view.pid
        with _reading(path, [1]) as readers:
            eventually(lambda: min(readers.rounds) >= 3, "all read")
        view.umount()
        eventually(partial(_is_gone, daemon), "the daemon has ended", 5)
        view.mount()


@pytest.mark.root
def test_the_largest_file_there_can_be_costs_no_thread(tmp_path: Path, mounted: Callable[..., Mounted]) -> None:
    """No offset lies behind its end, where what comes next is read ahead."""
    with mounted_tmpfs(tmp_path, "size=200m") as at:
        view = mounted(at)
        (view.path / "other").write_bytes(bytes(LARGE))
        with (view.path / "largest").open("xb") as file:
            file.truncate((1 << 63) - 1)
        end = (1 << 63) - LARGE
        for _ in range(20):
            fd = os.open(view.path / "largest", os.O_RDONLY)
            try:
                for offset in range(end - 12 * LARGE, end + 1, LARGE // 8):
                    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                    assert not any(os.pread(fd, LARGE // 8, offset))
            finally:
                os.close(fd)
        read = ["dd", f"if={view.path / 'other'}", "of=/dev/null", "bs=1M", "iflag=direct"]
        subprocess.run(read, check=True, capture_output=True, timeout=60)
        (view.path / "largest").unlink()
        view.umount()
