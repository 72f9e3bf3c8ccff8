"""Hazards of the kernel's side (H1 to H22): rules of docs/semantics.md that no other test holds, by real mounts."""

from __future__ import annotations

import errno
import mmap
import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest

from ipfsfs.daemon import mounts
from ipfsfs.store.seal import UNIT
from tests.support.calls import cid_of, plain_directory, refuses
from tests.support.guardians import impatient_guardian
from tests.support.mounted import TREE, UNASKED_END, Mounted, clear, environment
from tests.support.native import CHECKED
from tests.support.processes import eventually

FAULTY: Final = """
import os, sys
from ipfsfs.cli.main import main
from ipfsfs.fuse.operations import Operations

armed = sys.argv.pop(1)

def view(self):
    if os.path.exists(armed):
        raise ZeroDivisionError("made for a test")
    return self.__dict__["view"]

Operations.view = property(view, lambda self, value: self.__dict__.update(view=value))
main()
"""


def test_h01_a_bug_in_any_handler_costs_one_request_and_not_the_view(tmp_path: Path) -> None:
    cache, armed = tmp_path / "cache", tmp_path / "armed"
    cache.mkdir()
    with (tmp_path / "log").open("w") as log:
        daemon = subprocess.Popen(
            [sys.executable, "-c", FAULTY, armed, "mount", "--foreground", cache], env=environment(), stderr=log
        )
    try:
        eventually(lambda: mounts.view_at(cache) and mounts.answers(mounts.view_at(cache)), "mounted")  # type: ignore[arg-type]
        for name in ("file", "other", "third"):
            (cache / name).write_bytes(b"content")
        (cache / "folder").mkdir()
        (cache / "link").symlink_to("file")
        fd = os.open(cache / "file", os.O_RDWR)
        folder = os.open(cache / "folder", os.O_RDONLY)
        calls: list[Callable[[], object]] = [
            lambda: os.stat(cache / "new"),
            lambda: os.open(cache / "other", os.O_RDONLY),
            lambda: os.open(cache / "made", os.O_CREAT | os.O_WRONLY, 0o600),
            lambda: os.mkdir(cache / "directory"),
            lambda: os.mkfifo(cache / "fifo"),
            lambda: os.symlink("file", cache / "linked"),
            lambda: os.link(cache / "file", cache / "hard"),
            lambda: os.unlink(cache / "third"),
            lambda: os.rmdir(cache / "folder"),
            lambda: os.rename(cache / "other", cache / "renamed"),
            lambda: os.chmod(cache / "file", 0o600),
            lambda: os.pread(fd, 100, 0),
            lambda: os.pwrite(fd, b"x", 0),
            lambda: os.fsync(fd),
            lambda: os.fsync(folder),
            lambda: os.listdir(folder),
            lambda: os.statvfs(cache),
            lambda: os.getxattr(cache / "file", "user.a"),
            lambda: os.setxattr(cache / "file", "user.a", b"1"),
            lambda: os.listxattr(cache / "file"),
            lambda: os.removexattr(cache / "file", "user.a"),
        ]
        armed.touch()
        for call in calls:
            refuses(errno.EIO, call)
        os.close(fd)
        os.close(folder)
        armed.unlink()
        assert (cache / "other").read_bytes() == b"content"
        assert sorted(os.listdir(cache)) == ["file", "folder", "link", "other", "third"]
    finally:
        daemon.terminate()
        daemon.wait(30)
        clear(cache)
    assert daemon.returncode == 0
    said = (tmp_path / "log").read_text()
    assert said.count("ZeroDivisionError: made for a test") >= len(calls), "each with its traceback"


@pytest.mark.root
def test_h02_the_kernel_may_have_thousands_of_reads_in_flight(mounted: Callable[..., Mounted], tmp_path: Path) -> None:
    mount = mounted()
    view = mounts.view_at(mount.path)
    assert view is not None
    control = tmp_path / "fusectl"
    control.mkdir()
    subprocess.run(["mount", "-t", "fusectl", "fusectl", control], check=True)
    try:
        connection = control / str(os.minor(view.device))
        assert int((connection / "max_background").read_text()) >= 1024
        assert int((connection / "congestion_threshold").read_text()) >= 1024
    finally:
        subprocess.run(["umount", control], check=True)


def test_h05_a_daemon_that_answers_nothing_is_ended_and_the_path_falls_back(mounted: Callable[..., Mounted]) -> None:
    """With a guardian that waits for one second, not for minutes."""
    mount = mounted()
    (mount.path / "file").write_bytes(b"content")
    mount.expect_logged.append(UNASKED_END)
    with impatient_guardian(mount) as guardian:
        os.kill(mount.pid, signal.SIGSTOP)
        said = guardian.communicate(timeout=60)[1]
    assert "has not answered" in said
    assert not mount.mounted
    assert (mount.path / "file").read_bytes() == b"content"
    mount.mount()
    assert (mount.path / "file").read_bytes() == b"content"


def test_h07_what_the_daemon_needs_cannot_be_covered(tmp_path: Path, mounted: Callable[..., Mounted]) -> None:
    mount = mounted()
    needed = tmp_path / "needed"
    needed.mkdir()
    try:
        done = mount.run("mount", needed, "--store", needed / "store", check=False)
        assert done.returncode == 5
        assert "the store lies in it" in done.stderr
        assert mounts.view_at(needed) is None
    finally:
        clear(needed)
    (mount.path / "folder").mkdir()
    listed = subprocess.run(["ls", "-a", mount.path / "folder"], capture_output=True, timeout=20, check=True)
    assert listed.stdout == b".\n..\n", "`..` of a directory right below the root is the mount point itself"


@pytest.mark.root
@pytest.mark.parametrize("kernels", ["/proc", "/sys", "/dev", "/proc/1", "/sys/kernel"])
def test_h07_what_is_the_kernels_cannot_be_covered(tmp_path: Path, kernels: str) -> None:
    """Without /proc not even the way back would be found."""
    done = subprocess.run(  # in a namespace of its own, for a mount that succeeded would be hard to get rid of
        ["unshare", "-m", sys.executable, "-m", "ipfsfs", "mount", "--force", kernels, "--store", tmp_path / "store"],
        env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 5, done.stderr
    assert f"cannot mount over {kernels}: " in done.stderr


def test_h08_the_kernel_is_never_notified() -> None:
    sources = "".join(path.read_text() for path in (TREE / "ipfsfs").rglob("*.py"))
    assert not re.search(r"pyfuse3\.(invalidate_\w+|notify_\w+|trio_token)|invalidate_(inode|entry)", sources)


@pytest.mark.root
def test_h10_a_full_disk_is_said_by_the_write_that_finds_it_full(
    volume: Path, mounted: Callable[..., Mounted], tmp_path: Path
) -> None:
    """With a writeback cache writes would succeed, and close would fail, if anybody looked."""
    mount = mounted(volume, "--store", str(tmp_path / "store"))
    with (mount.path / "file").open("wb", buffering=0) as file:
        written = 0
        with suppress(OSError):
            while True:
                written += file.write(bytes(1 << 20))
                assert written <= 8 << 20
        assert (mount.path / "file").stat().st_size == written
    (mount.path / "file").unlink()


@pytest.mark.filesystem
def test_h10_h15_what_was_written_is_in_the_plain_file_at_once(tmp_path: Path, mounted: Callable[..., Mounted]) -> None:
    with plain_directory(tmp_path / "cache") as beneath:
        mount = mounted(tmp_path / "cache")
        writer = os.open(mount.path / "file", os.O_WRONLY | os.O_CREAT)
        for step in range(50):
            os.write(writer, b"%06d" % step)
            fd = os.open("file", os.O_RDONLY, dir_fd=beneath)
            assert os.pread(fd, 6, 6 * step) == b"%06d" % step
            os.close(fd)
        mount.kill()
        refuses(errno.ENOTCONN, lambda: os.close(writer))
        assert (mount.path / "file").read_bytes()[-6:] == b"000049", "also when the daemon dies with the file open"


@pytest.mark.filesystem
def test_h11_a_mapped_page_of_a_file_open_for_appending_goes_where_it_belongs(
    mounted: Callable[..., Mounted],
) -> None:
    path = mounted().path / "file"
    path.write_bytes(bytes(10_000))
    fd = os.open(path, os.O_RDWR | os.O_APPEND)
    with mmap.mmap(fd, 10_000) as mapped:
        mapped[5_000:5_003] = b"new"
        mapped.flush()
    os.write(fd, b"end")
    os.close(fd)
    assert path.read_bytes() == bytes(5_000) + b"new" + bytes(4_997) + b"end"


@pytest.mark.filesystem
def test_h11_so_it_does_in_a_file_that_was_made_for_appending(tmp_path: Path, mounted: Callable[..., Mounted]) -> None:
    with plain_directory(tmp_path / "cache") as beneath:
        path = mounted(tmp_path / "cache").path / "file"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        os.write(fd, bytes(4096))
        with mmap.mmap(fd, 4096) as mapped:
            mapped[:3] = b"new"
            mapped.flush()
        os.write(fd, b"end")
        os.close(fd)
        plain = os.open("file", os.O_RDONLY, dir_fd=beneath)
        assert os.read(plain, 10_000) == b"new" + bytes(4093) + b"end"
        os.close(plain)


@pytest.mark.filesystem
def test_h11_a_new_file_may_be_written_past_the_page_cache(mounted: Callable[..., Mounted]) -> None:
    """As by `dd oflag=direct`: our buffers are not aligned as such a descriptor of the plain file would need them."""
    path = mounted().path / "file"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_DIRECT)
    with mmap.mmap(-1, 4096) as aligned:
        aligned[:] = b"d" * 4096
        assert os.write(fd, aligned) == 4096
    os.close(fd)
    assert path.read_bytes() == b"d" * 4096


@pytest.mark.filesystem
def test_h12_inode_numbers_are_the_files_own_and_outlive_names_and_mounts(
    tmp_path: Path, mounted: Callable[..., Mounted]
) -> None:
    with plain_directory(tmp_path / "cache") as beneath:
        mount = mounted(tmp_path / "cache")
        path = mount.path / "file"
        path.write_bytes(b"content")
        os.link(path, mount.path / "second")
        number = path.stat().st_ino
        assert number == os.stat("file", dir_fd=beneath).st_ino < 1 << 53
        path.rename(mount.path / "renamed")
        assert {(mount.path / name).stat().st_ino for name in ("renamed", "second")} == {number}
        fd = os.open(mount.path / "renamed", os.O_RDONLY)
        for name in ("renamed", "second"):
            (mount.path / name).unlink()
        for made in range(20):  # ext4 gives the number of a file that is gone to the next one
            (mount.path / f"made{made}").write_bytes(b"other")
        assert (os.fstat(fd).st_ino, os.fstat(fd).st_nlink, os.pread(fd, 10, 0)) == (number, 0, b"content")
        os.fchmod(fd, 0o400)
        assert os.fstat(fd).st_mode & 0o777 == 0o400
        os.close(fd)
        kept = (mount.path / "made7").stat().st_ino
        mount.remount()
        assert (mount.path / "made7").stat().st_ino == kept


def test_h14_few_descriptors_are_enough_for_many_readers(mounted: Callable[..., Mounted], tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
    try:
        mount = mounted()  # the daemon inherits the limit, and raises it
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    (mount.path / "shared").write_bytes(b"content")
    before = len(os.listdir(f"/proc/{mount.pid}/fd"))
    opened = [os.open(mount.path / "shared", os.O_RDONLY) for _ in range(100)]
    assert len(os.listdir(f"/proc/{mount.pid}/fd")) <= before + 10, "one descriptor serves all readers of a file"
    for number in range(300):
        (mount.path / f"file{number}").write_bytes(b"%d" % number)
        opened.append(os.open(mount.path / f"file{number}", os.O_RDONLY))
    assert os.pread(opened[-1], 10, 0) == b"299"
    for fd in opened:
        os.close(fd)


@pytest.mark.filesystem
def test_h19_reads_that_fit_no_unit_cost_little_more_than_the_file(mounted: Callable[..., Mounted]) -> None:
    """Whole units are checked as they come; what was checked and is still cached is not read again."""
    mount = mounted(None, *CHECKED)
    path = mount.path / "model.bin"
    size = 32 * UNIT + 5000
    path.write_bytes(random.Random(1).randbytes(size))
    mount.seal()
    mount.remount()

    def read() -> int:
        return int(Path(f"/proc/{mount.pid}/io").read_text().split()[1])

    def cost(offsets: Iterable[int], length: int) -> float:
        """How often the daemon reads the file while a worker reads at these offsets."""
        before = read()
        with path.open("rb", buffering=0) as file:
            for offset in offsets:
                os.pread(file.fileno(), length, offset)
        return (read() - before) / size

    unaligned = range(12_345, size, 100_001)
    shuffled = random.Random(2).sample(range(0, size, mmap.PAGESIZE), k=500)
    assert 0.9 < cost(unaligned, 100_001) < 1.5
    assert cost(unaligned, 100_001) < 0.1
    assert cost(shuffled, mmap.PAGESIZE) < 0.1


@pytest.mark.filesystem
def test_h20_a_file_takes_the_blocks_it_takes_on_disk(tmp_path: Path, mounted: Callable[..., Mounted]) -> None:
    """By them `tar -S` tells holes from data: a sealed file must not look as if it were one hole."""
    names = ("data", "sparse")
    with plain_directory(tmp_path / "cache") as plain:
        mount = mounted(tmp_path / "cache")
        (mount.path / "data").write_bytes(random.Random(1).randbytes(300_001))
        with (mount.path / "sparse").open("wb") as file:
            file.seek(10 * 1024 * 1024)
            file.write(b"end")
        mount.seal()
        mount.remount()
        for name in names:
            assert (mount.path / name).stat().st_blocks == os.stat(name, dir_fd=plain).st_blocks > 0
    archive, out = tmp_path / "archive.tar", tmp_path / "out"
    out.mkdir()
    subprocess.run(["tar", "-C", mount.path, "-Scf", archive, *names], check=True)
    subprocess.run(["tar", "-C", out, "-xf", archive], check=True)
    for name in names:
        assert (out / name).read_bytes() == (mount.path / name).read_bytes()


@pytest.mark.filesystem
@pytest.mark.parametrize("in_blobs", [False, True])
def test_h22_what_was_appended_beneath_is_read_by_the_next_open(
    tmp_path: Path, mounted: Callable[..., Mounted], in_blobs: bool
) -> None:
    """The kernel knows the size from a look before, and reads no further than that."""
    name = f"models--a--b/blobs/{'c' * 40}" if in_blobs else "file"
    with plain_directory(tmp_path / "cache") as beneath:
        mount = mounted(tmp_path / "cache")
        path = mount.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        for size, look in (
            (4000, path.stat),
            (5000, lambda: path.chmod(0o600)),
            (6000, lambda: os.listdir(path.parent)),
        ):
            path.write_bytes(bytes(size))
            look()
            path.stat()
            plain = os.open(name, os.O_WRONLY | os.O_APPEND, dir_fd=beneath)
            os.write(plain, b"appended")
            os.close(plain)
            assert path.read_bytes() == bytes(size) + b"appended"


@pytest.mark.filesystem
def test_h22_an_open_that_may_make_a_file_drops_old_pages(tmp_path: Path, mounted: Callable[..., Mounted]) -> None:
    """The kernel knows a file by another name and has pages of it; the new name it takes to be free."""
    with plain_directory(tmp_path / "cache") as beneath:
        path = mounted(tmp_path / "cache").path / "file"
        path.write_bytes(b"old")
        time.sleep(0.2)  # what the kernel reads of a file that has just changed is not kept
        assert path.read_bytes() == path.read_bytes() == b"old"
        before = path.stat().st_mtime_ns
        plain = os.open("file", os.O_WRONLY, dir_fd=beneath)
        os.write(plain, b"new")
        os.utime(plain, ns=(before, before))
        os.close(plain)
        time.sleep(0.2)
        assert not path.with_name("other").exists()
        os.link("file", "other", src_dir_fd=beneath, dst_dir_fd=beneath)
        with open(os.open(path.with_name("other"), os.O_RDONLY | os.O_CREAT), "rb") as opened:
            assert opened.read() == b"new"


@pytest.mark.filesystem
def test_h21_an_open_through_the_view_counts_as_access(mounted: Callable[..., Mounted]) -> None:
    """Whether or not a READ follows, for the kernel may have every byte; and sealing does not."""
    mount = mounted()
    path = mount.path / "model"
    path.write_bytes(b"content")
    path.read_bytes()
    long_ago = time.time_ns() - 10 * 86_400 * 1_000_000_000
    os.utime(path, ns=(long_ago, long_ago))
    mount.seal()
    assert cid_of(path)
    assert path.stat().st_atime_ns == long_ago
    os.close(os.open(path, os.O_RDONLY))
    eventually(lambda: path.stat().st_atime_ns > long_ago, "the access time follows")
