"""Files through the view behave as on plain disk: reading, writing, copying, times."""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.twins import Twins, outcome, shown

pytestmark = pytest.mark.filesystem


def test_two_handles_on_one_file_that_is_written_through_either(twins: Twins) -> None:
    """With Xet, Python holds the temporary file open while Rust truncates, writes and closes it (trap 1)."""

    def work(root: Path) -> Any:
        first = os.open(root / "file", os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
        second = os.open(root / "file", os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
        os.write(second, b"all of it" * 50_000)
        os.close(second)
        size = os.fstat(first).st_size
        os.close(first)
        time.sleep(0.8)  # what is due is sealed meanwhile
        return size, (root / "file").read_bytes() == b"all of it" * 50_000

    assert twins.same(work) == (450_000, True)


def test_writes_at_odd_offsets_read_back(twins: Twins) -> None:
    def work(root: Path) -> Any:
        edges = [0, 1, 4_095, 4_096, 131_071, 131_072, 131_073, 1_048_575, 1_048_577]
        fd = os.open(root / "file", os.O_CREAT | os.O_RDWR)
        for at, length in itertools.product(edges, (1, 4_097, 200_000)):
            os.pwrite(fd, bytes([at % 251 + 1]) * length, at)
        os.ftruncate(fd, 1_200_000)
        read: list[bytes | int] = [
            os.pread(fd, length, at) for at, length in itertools.product(edges, (1, 4_097, 3_000_000))
        ]
        os.lseek(fd, 100, os.SEEK_SET)
        buffers = [bytearray(10), bytearray(131_072), bytearray(2_000_000)]
        read.append(os.preadv(fd, buffers, 131_070))
        os.close(fd)
        return read, [bytes(buffer) for buffer in buffers], os.stat(root / "file").st_size

    twins.same(work)


def test_cutting_a_file_to_the_size_it_has(twins: Twins) -> None:
    """XFS and Btrfs change no time then, but for a descriptor's sake and O_TRUNC they do; ext4 changes them always."""

    def work(root: Path) -> list[bool]:
        path = root / "file"
        path.write_bytes(b"")

        def changes(cut: Callable[[], object]) -> bool:
            os.utime(path, ns=(1, 1))
            cut()
            return path.stat().st_mtime_ns != 1

        def cut_open() -> None:
            with path.open("r+b") as file:
                os.ftruncate(file.fileno(), 0)

        return [changes(lambda: os.truncate(path, 0)), changes(cut_open), changes(lambda: path.open("wb").close())]

    assert twins.same(work)[1:] == [True, True]


def test_a_file_with_a_hole_and_one_that_grows_by_truncation(twins: Twins) -> None:
    def work(root: Path) -> Any:
        fd = os.open(root / "file", os.O_CREAT | os.O_RDWR)
        os.pwrite(fd, b"end", 5_000_000)
        os.ftruncate(fd, 10_000_000)
        found = os.pread(fd, 10, 4_999_998), os.pread(fd, 100, 9_999_990), os.fstat(fd).st_size
        os.ftruncate(fd, 3)
        os.ftruncate(fd, 5_000_010)
        again = os.pread(fd, 20, 4_999_998)
        os.close(fd)
        return found, again

    assert twins.same(work)[1] == bytes(12)


def test_appending_by_two_processes_loses_nothing(twins: Twins) -> None:
    script = (
        "import os,sys\nfd=os.open(sys.argv[1],os.O_WRONLY|os.O_APPEND|os.O_CREAT)\n"
        "for i in range(500): os.write(fd,b'%c%04d\\n'%(int(sys.argv[2]),i))"
    )

    def work(root: Path) -> Any:
        writers = [subprocess.Popen([sys.executable, "-c", script, root / "log", str(65 + n)]) for n in range(3)]
        assert [writer.wait(60) for writer in writers] == [0, 0, 0]
        lines = (root / "log").read_bytes().splitlines()
        os.unlink(root / "log")
        return sorted(lines)

    assert len(twins.same(work)) == 1500


def test_a_file_is_used_after_it_was_unlinked(twins: Twins) -> None:
    def work(root: Path) -> Any:
        (root / "file").write_bytes(b"0123456789")
        fd = os.open(root / "file", os.O_RDWR)
        os.unlink(root / "file")
        os.pwrite(fd, b"new", 20)
        os.fchmod(fd, 0o600)
        os.fchown(fd, 1, 2)
        os.utime(fd, ns=(5, 7))
        os.setxattr(fd, "user.a", b"value")
        found = shown(os.fstat(fd)), os.fstat(fd).st_mtime_ns, os.getxattr(fd, "user.a"), os.pread(fd, 100, 0)
        os.ftruncate(fd, 2)
        again = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY)
        relink = outcome(lambda: os.link(f"/proc/self/fd/{fd}", root / "back", src_dir_fd=fd))
        read = os.read(again, 10)
        os.close(again)
        os.close(fd)
        return found, relink, read

    assert twins.same(work)[1:] == ("ENOENT", b"01")


def test_sendfile_reads_and_writes(twins: Twins) -> None:
    def work(root: Path) -> Any:
        (root / "from").write_bytes(bytes(range(256)) * 4096)
        source, target = os.open(root / "from", os.O_RDONLY), os.open(root / "to", os.O_CREAT | os.O_WRONLY)
        sent = 0
        while count := os.sendfile(target, source, sent, 300_000):
            sent += count
        ours, theirs = socket.socketpair()
        with ours, theirs:
            through = os.sendfile(ours.fileno(), source, 1000, 50_000)
            received = theirs.recv(60_000, socket.MSG_WAITALL | socket.MSG_DONTWAIT)
        os.close(source)
        os.close(target)
        return sent, through == len(received), received[:100]

    assert twins.same(work)[0] == 1 << 20


def test_copy_file_range_within_the_view_and_out_of_it(twins: Twins, tmp_path: Path) -> None:
    def copy(source_path: Path, target: Path) -> Any:
        source, out = os.open(source_path, os.O_RDONLY), os.open(target, os.O_CREAT | os.O_RDWR)
        try:
            return os.copy_file_range(source, out, 200_000, 3, 5)
        finally:
            os.close(source)
            os.close(out)

    def work(root: Path) -> Any:
        (root / "from").write_bytes(bytes(range(256)) * 1000)
        return outcome(lambda: copy(root / "from", root / "to"))

    assert twins.same(work) == 200_000
    source = next(twins.mount.path.glob("w*/from"))
    assert outcome(lambda: copy(source, tmp_path / "outside")) == "EXDEV", "so that callers read and write instead"


def test_concurrent_reads_through_one_handle(twins: Twins) -> None:
    """Page faults come from many threads at once (trap 2)."""
    data = os.urandom(8 << 20)

    def work(root: Path) -> Any:
        (root / "file").write_bytes(data)
        fd = os.open(root / "file", os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        wrong: list[int] = []

        def read(start: int) -> None:
            offsets = range(start * 4_097, len(data), 1_000_003)
            wrong.extend(at for at in offsets if os.pread(fd, 70_000, at) != data[at : at + 70_000])

        threads = [threading.Thread(target=read, args=(start,)) for start in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        os.close(fd)
        return wrong

    assert twins.same(work) == []


def test_fsync_of_files_and_directories(twins: Twins) -> None:
    def work(root: Path) -> Any:
        fd = os.open(root / "file", os.O_CREAT | os.O_RDWR)
        os.write(fd, b"x" * 100_000)
        folder = os.open(root, os.O_RDONLY)
        came = [outcome(lambda call=call, on=on: call(on)) for call in (os.fsync, os.fdatasync) for on in (fd, folder)]  # type: ignore[misc]
        os.close(fd)
        os.close(folder)
        return came

    assert twins.same(work) == [None] * 4


def test_times_are_kept_to_the_nanosecond_and_over_a_remount(twins: Twins) -> None:
    """`datasets` hashes mtimes into its fingerprints."""
    kept = []

    def work(root: Path) -> Any:
        (root / "file").write_bytes(b"content")
        (root / "folder").mkdir()
        (root / "link").symlink_to("file")
        for at, name in enumerate(("file", "folder", "link")):
            os.utime(root / name, ns=(1_111_111_111_222_222_222 + at, 999_999_999 + at), follow_symlinks=False)
        (root / "written").write_bytes(b"x" * 200_000)
        kept.append({name: (root / name).lstat().st_mtime_ns for name in ("file", "folder", "link", "written")})
        return [
            (st.st_atime_ns, st.st_mtime_ns) for st in ((root / name).lstat() for name in ("file", "folder", "link"))
        ]

    twins.same(work)
    place = next(root for root in sorted(twins.mount.path.iterdir()) if (root / "written").exists())
    twins.mount.seal()
    for step in (twins.mount.umount, twins.mount.mount):
        step()
        assert {name: (place / name).lstat().st_mtime_ns for name in kept[0]} == kept[0]


def test_all_permission_bits_are_set_and_shown(twins: Twins) -> None:
    def work(root: Path) -> Any:
        (root / "file").write_bytes(b"content")
        (root / "folder").mkdir()
        shown = []
        for name in ("file", "folder"):
            for mode in (0o4755, 0o2755, 0o6711, 0o1777, 0o7777, 0o000, 0o640):
                (root / name).chmod(mode)
                shown.append((name, (root / name).stat().st_mode))
            (root / name).chmod(0o6755)
        os.chown(root / "file", -1, os.getgid())  # which takes both bits from a file
        with (root / "file").open("ab") as file:
            file.write(b"more")
        return [*shown, *((root / name).stat().st_mode for name in ("file", "folder"))]

    twins.same(work)


def test_opening_counts_as_access_as_relatime_has_it(twins: Twins) -> None:
    """`hf cache ls -f accessed>7d` (H21); the kernel answers most reads from its cache."""
    week = 7 * 86_400 * 10**9

    def work(root: Path) -> Any:
        found = []
        for name, atime_ns, mtime_ns in (
            ("long ago", time.time_ns() - week, time.time_ns() - 2 * week),
            ("an hour ago", time.time_ns() - 3_600 * 10**9, time.time_ns() - week),
        ):
            (root / name).write_bytes(b"content")
            os.utime(root / name, ns=(atime_ns, mtime_ns))
            time.sleep(0.01)
            before = (root / name).stat()
            (root / name).read_bytes()
            time.sleep(1.1)  # the kernel asks for attributes again
            after = (root / name).stat()
            found.append((after.st_atime_ns != before.st_atime_ns, after.st_ctime_ns == before.st_ctime_ns))
        return found

    twins.same(work)


def test_statvfs_is_that_of_the_disk_below(twins: Twins) -> None:
    view, plain = os.statvfs(twins.mount.path), os.statvfs(twins.plain)
    for name in ("f_bsize", "f_frsize", "f_blocks", "f_files", "f_namemax"):
        assert getattr(view, name) == getattr(plain, name), name
    assert abs(view.f_bavail - plain.f_bavail) * view.f_frsize < 1 << 30
