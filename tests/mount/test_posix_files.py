"""Files through the view behave as on plain disk: opening, reading, writing, mapping, locking."""

from __future__ import annotations

import ctypes
import fcntl
import itertools
import mmap
import os
import select
import signal
import socket
import stat
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.twins import Twins, outcome, shown

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
        came = []
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
                sorted(
                    (name, (here / name).lstat().st_mtime_ns != st.st_mtime_ns)
                    for name, st in before.items()
                )
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


def test_two_handles_on_one_file_that_is_written_through_either(twins: Twins) -> None:
    """With Xet, Python holds the temporary file open while Rust truncates, writes and closes it (workload.md, trap 1)."""

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
        read = [os.pread(fd, length, at) for at, length in itertools.product(edges, (1, 4_097, 3_000_000))]
        os.lseek(fd, 100, os.SEEK_SET)
        buffers = [bytearray(10), bytearray(131_072), bytearray(2_000_000)]
        read.append(os.preadv(fd, buffers, 131_070))
        os.close(fd)
        return read, [bytes(buffer) for buffer in buffers], os.stat(root / "file").st_size

    twins.same(work)


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
    script = "import os,sys\nfd=os.open(sys.argv[1],os.O_WRONLY|os.O_APPEND|os.O_CREAT)\nfor i in range(500): os.write(fd,b'%c%04d\\n'%(int(sys.argv[2]),i))"

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
        relink = outcome(lambda: os.link(f"/proc/self/fd/{fd}", root / "back", follow_symlinks=True))
        read = os.read(again, 10)
        os.close(again)
        os.close(fd)
        return found, relink, read

    assert twins.same(work)[1:] == ("ENOENT", b"01")


def test_a_mapped_model_stays_whole_when_it_is_deleted_or_replaced(twins: Twins) -> None:
    data = os.urandom(3_000_000)

    def work(root: Path) -> Any:
        for name in ("deleted", "replaced"):
            (root / name).write_bytes(data)
        maps = []
        for name in ("deleted", "replaced"):
            fd = os.open(root / name, os.O_RDONLY)
            maps.append(mmap.mmap(fd, 0, mmap.MAP_PRIVATE, mmap.PROT_READ))
            os.close(fd)
        os.unlink(root / "deleted")
        (root / "new").write_bytes(b"other")
        os.rename(root / "new", root / "replaced")
        whole = [mapped[:] == data for mapped in maps]
        for mapped in maps:
            mapped.close()
        return whole

    assert twins.same(work) == [True, True]


@pytest.mark.parametrize("flags", [mmap.MAP_SHARED, mmap.MAP_PRIVATE, mmap.MAP_SHARED | mmap.MAP_POPULATE])
def test_mappings(twins: Twins, flags: int) -> None:
    def work(root: Path) -> Any:
        (root / "file").write_bytes(b"a" * 200_000)
        fd = os.open(root / "file", os.O_RDWR)
        mapped = mmap.mmap(fd, 200_000, flags, mmap.PROT_READ | mmap.PROT_WRITE)
        mapped[131_070:131_080] = b"0123456789"
        os.pwrite(fd, b"written", 0)
        seen = bytes(mapped[:10])
        mapped.flush()
        read = os.pread(fd, 20, 131_065)
        mapped.close()
        os.close(fd)
        return seen, read

    twins.same(work)


def test_behind_the_end_of_a_mapped_file_there_is_a_signal_as_on_disk(twins: Twins) -> None:
    script = "import mmap,os,sys\nfd=os.open(sys.argv[1],os.O_RDWR)\nm=mmap.mmap(fd,20000)\nos.truncate(sys.argv[1],100)\nm[12000]"

    def work(root: Path) -> Any:
        (root / "file").write_bytes(bytes(20_000))
        return subprocess.run([sys.executable, "-c", script, root / "file"], check=False).returncode

    assert twins.same(work) == -signal.SIGBUS


def test_sendfile_reads_and_writes(twins: Twins) -> None:
    def work(root: Path) -> Any:
        (root / "from").write_bytes(os.urandom(1 << 20) if False else bytes(range(256)) * 4096)
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


def test_copy_file_range_within_and_out_of_the_view(twins: Twins, tmp_path: Path) -> None:
    def work(root: Path) -> Any:
        (root / "from").write_bytes(bytes(range(256)) * 1000)
        outside = tmp_path / "outside"
        found = []
        for target in (root / "to", outside):
            source, out = os.open(root / "from", os.O_RDONLY), os.open(target, os.O_CREAT | os.O_RDWR | os.O_TRUNC)
            found.append(outcome(lambda source=source, out=out: os.copy_file_range(source, out, 200_000, 3, 5)))
            found.append(os.pread(out, 300_000, 0))
            os.close(source)
            os.close(out)
        return found

    twins.same(work)


def test_flock_excludes_other_processes_without_waiting(twins: Twins) -> None:
    """filelock polls with LOCK_NB; ENOSYS would make it go on without any lock."""
    script = (
        "import fcntl,os,sys\nfd=os.open(sys.argv[1],os.O_RDWR|os.O_CREAT|os.O_TRUNC)\n"
        "try: fcntl.flock(fd,int(sys.argv[2])|fcntl.LOCK_NB); print('had')\nexcept OSError as e: print(e.errno)"
    )

    def other(path: Path, kind: int) -> str:
        done = subprocess.run([sys.executable, "-c", script, path, str(kind)], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def work(root: Path) -> Any:
        path = root / "x.lock"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        identity = os.fstat(fd).st_dev, os.fstat(fd).st_ino
        found = []
        for ours, theirs in itertools.product((fcntl.LOCK_EX, fcntl.LOCK_SH, fcntl.LOCK_UN), (fcntl.LOCK_EX, fcntl.LOCK_SH)):
            fcntl.flock(fd, ours)
            found.append(other(path, theirs))
        st = os.stat(path)
        assert (st.st_dev, st.st_ino) == identity, "filelock compares the lock file with the one it has open"
        assert st.st_nlink == 1
        os.close(fd)
        return found

    assert twins.same(work) == ["11", "11", "11", "had", "had", "had"]


def test_record_locks_of_both_kinds(twins: Twins) -> None:
    lock = struct.Struct("hhqqi4x")
    script = (
        "import fcntl,os,struct,sys\nfd=os.open(sys.argv[1],os.O_RDWR)\n"
        "try: fcntl.fcntl(fd,int(sys.argv[2]),struct.pack('hhqqi4x',fcntl.F_WRLCK,0,5,5,0)); print('had')\n"
        "except OSError as e: print(e.errno)"
    )

    def work(root: Path) -> Any:
        (root / "file").write_bytes(bytes(100))
        found = []
        for command in (fcntl.F_SETLK, 37):
            fd = os.open(root / "file", os.O_RDWR)
            for kind in (fcntl.F_WRLCK, fcntl.F_RDLCK, fcntl.F_UNLCK):
                fcntl.fcntl(fd, command, lock.pack(kind, 0, 0, 6, 0))
                done = subprocess.run(
                    [sys.executable, "-c", script, root / "file", str(command)],
                    capture_output=True, text=True, check=True,
                )  # fmt: skip
                found.append(done.stdout.strip())
            os.close(fd)
        return found

    assert twins.same(work) == ["11", "11", "had"] * 2


def test_a_lock_goes_with_the_process_that_dies(twins: Twins) -> None:
    script = "import fcntl,os,sys,time\nfd=os.open(sys.argv[1],os.O_RDWR|os.O_CREAT)\nfcntl.flock(fd,fcntl.LOCK_EX)\nprint('had',flush=True)\ntime.sleep(60)"

    def work(root: Path) -> Any:
        with subprocess.Popen([sys.executable, "-c", script, root / "lock"], stdout=subprocess.PIPE) as holder:
            assert holder.stdout is not None
            holder.stdout.readline()
            fd = os.open(root / "lock", os.O_RDWR)
            refused = outcome(lambda: fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB))
            holder.kill()
            holder.wait()
        had = outcome(lambda: fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB))
        os.close(fd)
        return refused, had

    assert twins.same(work) == ("EAGAIN", None)


def test_concurrent_reads_through_one_handle(twins: Twins) -> None:
    """Page faults come from many threads at once (workload.md, trap 2)."""
    data = os.urandom(8 << 20)

    def work(root: Path) -> Any:
        (root / "file").write_bytes(data)
        fd = os.open(root / "file", os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        wrong = []

        def read(start: int) -> None:
            for at in range(start * 4_097, len(data), 1_000_003):
                if os.pread(fd, 70_000, at) != data[at : at + 70_000]:
                    wrong.append(at)

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
        return [(st.st_atime_ns, st.st_mtime_ns) for st in ((root / name).lstat() for name in ("file", "folder", "link"))]

    twins.same(work)
    place = next(root for root in sorted(twins.mount.path.iterdir()) if (root / "written").exists())
    twins.mount.seal()
    for step in (twins.mount.umount, twins.mount.mount):
        step()
        assert {name: (place / name).lstat().st_mtime_ns for name in kept[0]} == kept[0]


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


def test_a_fifo_joins_two_processes(twins: Twins) -> None:
    def work(root: Path) -> Any:
        os.mkfifo(root / "fifo", 0o600)
        reader = os.open(root / "fifo", os.O_RDONLY | os.O_NONBLOCK)
        writer = os.open(root / "fifo", os.O_WRONLY)
        os.write(writer, b"through")
        found = os.read(reader, 10)
        os.close(writer)
        os.close(reader)
        return found, stat.S_ISFIFO((root / "fifo").stat().st_mode)

    assert twins.same(work) == (b"through", True)


def test_a_socket_by_name(twins: Twins) -> None:
    def work(root: Path) -> Any:
        with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as calling:
            os.chdir(root)
            try:
                listening.bind("sock")
                listening.listen()
                calling.connect("sock")
            finally:
                os.chdir("/")
        return stat.S_ISSOCK((root / "sock").stat().st_mode)

    assert twins.same(work)


def test_changes_are_announced(twins: Twins) -> None:
    """inotify through the view."""
    libc = ctypes.CDLL(None, use_errno=True)

    def work(root: Path) -> Any:
        fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        assert libc.inotify_add_watch(fd, os.fsencode(root), 0xFFF) >= 0
        (root / "a").write_bytes(b"x")
        os.rename(root / "a", root / "b")
        os.unlink(root / "b")
        select.select([fd], [], [], 5)
        data, masks, at = os.read(fd, 65_536), [], 0
        while at < len(data):
            _, mask, _, length = struct.unpack_from("iIII", data, at)
            masks.append(mask)
            at += 16 + length
        os.close(fd)
        return masks

    twins.same(work)


def test_statvfs_is_that_of_the_disk_below(twins: Twins) -> None:
    view, plain = os.statvfs(twins.mount.path), os.statvfs(twins.plain)
    for name in ("f_bsize", "f_frsize", "f_blocks", "f_files", "f_namemax"):
        assert getattr(view, name) == getattr(plain, name), name
    assert abs(view.f_bavail - plain.f_bavail) * view.f_frsize < 1 << 30


REFUSED: dict[str, tuple[str, Callable[[Path, int], Any]]] = {
    "a file without a name": ("EOPNOTSUPP", lambda root, fd: os.open(root, os.O_TMPFILE | os.O_RDWR)),
    "a device": ("EACCES", lambda root, fd: os.mknod(root / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3)) or os.open(root / "null", os.O_RDWR)),
    "shared blocks": ("EOPNOTSUPP", lambda root, fd: fcntl.ioctl(fd, 0x40049409, fd)),
    "a CID of one's own": ("EPERM", lambda root, fd: os.setxattr(fd, "ipfs.cid", b"bafy")),
    "a hole": ("EOPNOTSUPP", lambda root, fd: _fallocate(fd, 3, 0, 4096)),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_the_view_refuses_it_refuses_with_what_callers_fall_back_from(twins: Twins, what: str) -> None:
    root = twins.mount.path / f"refused {what}"
    root.mkdir()
    fd = os.open(root / "file", os.O_CREAT | os.O_RDWR)
    try:
        code, call = REFUSED[what]
        came = outcome(lambda: call(root, fd))
        assert came in (code, {"EOPNOTSUPP": "ENOTTY"}.get(code, code)) or came == "ENOTSUP", came
    finally:
        os.close(fd)
        (root / "null").unlink(missing_ok=True)


def _fallocate(fd: int, mode: int, offset: int, length: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.fallocate64(fd, mode, ctypes.c_long(offset), ctypes.c_long(length)) != 0:
        raise OSError(ctypes.get_errno(), "fallocate")


def test_room_can_be_made_for_a_file_all_the_same(twins: Twins) -> None:
    """glibc writes where the kernel does not allocate."""

    def work(root: Path) -> Any:
        fd = os.open(root / "file", os.O_CREAT | os.O_RDWR)
        os.posix_fallocate(fd, 0, 100_000)
        size = os.fstat(fd).st_size
        os.close(fd)
        return size

    assert twins.same(work) == 100_000
