"""Hazards of a disk that does not answer, of inode numbers that come again, and of names changed beneath."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from ipfsfs.daemon import mounts
from tests.support import stalling
from tests.support.calls import plain_directory
from tests.support.mounted import TREE, Mounted, clear, environment, ipfsfs
from tests.support.processes import eventually
from tests.support.rot import Disk, spoilable_disk

READERS: Final = 150
"""More than the kernel's own 12 READs in the background, than pyfuse3's own 99 tasks, and than any limiter of ours."""


def _asked(go: Path) -> Path:
    """A file that is there once the disk that waits for `go` is waited for."""
    return go.with_name("asked")


@pytest.fixture
def stalled(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """A filesystem with a file that answers no READ until the file named second is there. Needs root."""
    at, go = tmp_path / "stalled", tmp_path / "go"
    at.mkdir()
    command: list[str | Path] = [sys.executable, "-m", "tests.support.stalling", at, go, _asked(go)]
    process = subprocess.Popen(command, cwd=TREE, env=environment(), stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    try:
        yield at, go
    finally:
        go.touch()
        subprocess.run(["umount", "-l", at], check=True)
        assert process.wait(20) == 0
        process.stdout.close()


@pytest.mark.root
def test_h02_reads_that_wait_for_one_file_stop_nobody_else(
    stalled: tuple[Path, Path], tmp_path: Path, mounted: Callable[..., Mounted]
) -> None:
    below, go = stalled
    mount = mounted(below, "--store", str(tmp_path / "store"))
    wrong: list[int] = []

    def read(offset: int) -> None:
        fd = os.open(mount.path / "slow", os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
        if os.pread(fd, 4096, offset) != stalling.content(offset, 4096):
            wrong.append(offset)
        os.close(fd)

    readers = [threading.Thread(target=read, args=(at * 135_168,), daemon=True) for at in range(READERS)]
    for reader in readers:
        reader.start()
    time.sleep(1)
    assert all(reader.is_alive() for reader in readers)
    began = time.monotonic()
    with (mount.path / "quick").open("rb", buffering=0) as quick:
        for offset in range(0, stalling.SIZE, 1 << 20):
            assert os.pread(quick.fileno(), 70_000, offset) == stalling.content(offset, 70_000)
    assert sorted(os.listdir(mount.path)) == ["quick", "slow"]
    assert (mount.path / "slow").stat().st_size == stalling.SIZE
    assert not (mount.path / "missing").exists()
    assert mount.status()["open_files"] >= READERS
    assert time.monotonic() - began < 10
    go.touch()
    for reader in readers:
        reader.join(60)
    assert not any(reader.is_alive() for reader in readers)
    assert wrong == []


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with spoilable_disk(tmp_path) as made:
        yield made


@dataclass(slots=True)
class Waited:
    """A view whose daemon waits for a disk: somebody waits for `slow`, while `reader` reads `quick` again and again."""

    daemon: subprocess.Popen[bytes]
    below: Path
    store: Path
    reader: threading.Thread
    go: Path


@contextmanager
def waited(stalled: tuple[Path, Path], store: Path, call: str) -> Iterator[Waited]:
    """One in the foreground."""
    below, go = stalled
    command = [sys.executable, "-m", "ipfsfs", "mount", "--foreground", str(below), "--store", str(store)]
    daemon = subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        assert daemon.stderr is not None
        assert daemon.stderr.readline() == b"serving %s\n" % os.fsencode(below)
        slow, quick = os.open(below / "slow", os.O_RDWR), os.open(below / "quick", os.O_RDONLY)

        def wait() -> None:
            with suppress(OSError):
                os.fsync(slow) if call == "fsync" else os.pread(slow, 4096, 0)

        def read() -> None:
            with suppress(OSError):
                while True:
                    os.posix_fadvise(quick, 0, 0, os.POSIX_FADV_DONTNEED)
                    assert os.pread(quick, 4096, 0) == stalling.content(0, 4096)
                    time.sleep(0.05)

        waiter, reader = threading.Thread(target=wait, daemon=True), threading.Thread(target=read, daemon=True)
        waiter.start()
        reader.start()
        eventually(_asked(go).exists, "the disk is waited for")
        yield Waited(daemon, below, store, reader, go)
    finally:
        go.touch()
        daemon.kill()
        daemon.communicate()
        while mounts.view_at(below) is not None:
            clear(below)


@pytest.mark.root
@pytest.mark.parametrize("call", ["read", "fsync"])
def test_h02_what_waits_for_a_disk_keeps_nobody_else_when_the_view_ends(
    stalled: tuple[Path, Path], tmp_path: Path, call: str
) -> None:
    """Whoever has files open is told that they are lost; and the daemon ends as it should once the disk answers."""
    with waited(stalled, tmp_path / "store", call) as view:
        view.daemon.terminate()
        eventually(lambda: mounts.view_at(view.below) is None, "the path is the plain directory")
        eventually(lambda: not view.reader.is_alive(), "nobody waits for another's disk", 15)
        view.go.touch()
        assert view.daemon.wait(20) == 0


@pytest.mark.root
@pytest.mark.parametrize("call", ["read", "fsync"])
def test_h05_a_daemon_that_is_killed_while_it_waits_for_a_disk_gives_the_path_back(
    stalled: tuple[Path, Path], tmp_path: Path, call: str
) -> None:
    """Not even SIGKILL ends it before the disk answers; what it served has ended all the same."""
    with waited(stalled, tmp_path / "store", call) as view:
        view.daemon.kill()
        eventually(lambda: mounts.view_at(view.below) is None, "the path is the plain directory", 5)
        eventually(lambda: not view.reader.is_alive(), "nobody waits for another's disk", 2)
        assert (view.below / "quick").read_bytes()[:4096] == stalling.content(0, 4096)
        assert view.daemon.poll() is None, "the disk kept nobody: this tests nothing"

        def is_told() -> bool:
            told = ipfsfs("status", str(view.below), "--store", str(view.store), check=False)
            return told.returncode == 1 and "was ended by SIGKILL" in told.stdout

        eventually(is_told, "`status` says how it ended")


@pytest.mark.root
def test_h12_a_number_that_ext4_gives_again_is_another_file_whatever_the_kernel_forgets_late(
    disk: Disk, mounted: Callable[..., Mounted]
) -> None:
    """Files come and go under numbers that come again, some still open; then the kernel forgets all at once."""
    mount, beneath = mounted(disk.cache), disk.plain
    kept: dict[int, bytes] = {}
    numbers = []
    for generation in range(40):
        for name in range(25):
            path = mount.path / f"f{name}"
            path.write_bytes(b"%d %d" % (generation, name))
            numbers.append(path.stat().st_ino)
            if name % 5 == generation % 5:
                kept[os.open(path, os.O_RDONLY)] = path.read_bytes()
            path.unlink()
    assert len(set(numbers)) < len(numbers) / 2, "no number came again: this tests nothing"
    for name in range(25):
        (mount.path / f"f{name}").write_bytes(b"last %d" % name)
    Path("/proc/sys/vm/drop_caches").write_text("2")
    for fd, content in kept.items():
        assert (os.pread(fd, 100, 0), os.fstat(fd).st_nlink) == (content, 0)
        os.fchmod(fd, 0o600)
    shown = {name: (mount.path / f"f{name}").stat().st_ino for name in range(25)}
    for fd in kept:
        os.close(fd)
    Path("/proc/sys/vm/drop_caches").write_text("2")
    for name in range(25):
        path = mount.path / f"f{name}"
        assert path.read_bytes() == b"last %d" % name
        assert path.stat().st_ino == shown[name]
        assert os.stat(path.name, dir_fd=beneath).st_size == len(b"last %d" % name)

    def forgotten() -> bool:
        Path("/proc/sys/vm/drop_caches").write_text("2")
        known: int = mount.status()["files_known_to_the_kernel"]
        return known < 40

    eventually(forgotten, "nothing is kept of files that are gone")


def test_h22_a_file_that_is_open_stays_what_it_was_when_its_name_is_given_to_another(
    tmp_path: Path, mounted: Callable[..., Mounted]
) -> None:
    """Replaced beneath the view: who has the old one open goes on with it, by every call."""
    with plain_directory(tmp_path / "cache") as beneath:
        mount = mounted(tmp_path / "cache")
        for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR):
            path = mount.path / f"file{flags}"
            path.write_bytes(b"old content")
            fd = os.open(path, flags)
            with open(os.open("new", os.O_CREAT | os.O_WRONLY, dir_fd=beneath), "wb") as new:
                new.write(b"new")
            os.rename("new", path.name, src_dir_fd=beneath, dst_dir_fd=beneath)
            time.sleep(1.1)  # what the kernel was told of names is over
            assert path.read_bytes() == b"new"
            os.fchmod(fd, 0o600)
            os.utime(fd, ns=(1, 2))
            os.setxattr(fd, "user.a", b"1")
            assert os.getxattr(fd, "user.a") == b"1"
            assert (os.fstat(fd).st_size, os.fstat(fd).st_mtime_ns) == (11, 2)
            if flags != os.O_RDONLY:
                os.ftruncate(fd, 5)
                os.pwrite(fd, b"OLD", 0)
                assert os.fstat(fd).st_size == 5
            if flags != os.O_WRONLY:
                assert os.pread(fd, 3, 0) == (b"old" if flags == os.O_RDONLY else b"OLD")
            os.close(fd)
            assert path.read_bytes() == b"new"
