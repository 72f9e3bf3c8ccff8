"""Locks and mappings through the view behave as on plain disk."""

from __future__ import annotations

import fcntl
import itertools
import mmap
import os
import signal
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.twins import Twins, outcome

pytestmark = pytest.mark.filesystem


def test_flock_excludes_other_processes_without_waiting(twins: Twins) -> None:
    """filelock polls with LOCK_NB; ENOSYS would make it go on without any lock."""
    script = (
        "import fcntl,os,sys\nfd=os.open(sys.argv[1],os.O_RDWR|os.O_CREAT|os.O_TRUNC)\n"
        "try: fcntl.flock(fd,int(sys.argv[2])|fcntl.LOCK_NB); print('had')\nexcept OSError as e: print(e.errno)"
    )

    def other(path: Path, kind: int) -> str:
        done = subprocess.run(
            [sys.executable, "-c", script, path, str(kind)], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    def work(root: Path) -> Any:
        path = root / "x.lock"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        identity = os.fstat(fd).st_dev, os.fstat(fd).st_ino
        found = []
        for ours, theirs in itertools.product(
            (fcntl.LOCK_EX, fcntl.LOCK_SH, fcntl.LOCK_UN), (fcntl.LOCK_EX, fcntl.LOCK_SH)
        ):
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
    script = (
        "import fcntl,os,sys,time\nfd=os.open(sys.argv[1],os.O_RDWR|os.O_CREAT)\n"
        "fcntl.flock(fd,fcntl.LOCK_EX)\nprint('had',flush=True)\ntime.sleep(60)"
    )

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
    script = (
        "import mmap,os,sys\nfd=os.open(sys.argv[1],os.O_RDWR)\nm=mmap.mmap(fd,20000)\n"
        "os.truncate(sys.argv[1],100)\nm[12000]"
    )

    def work(root: Path) -> Any:
        (root / "file").write_bytes(bytes(20_000))
        return subprocess.run([sys.executable, "-c", script, root / "file"], check=False).returncode

    assert twins.same(work) == -signal.SIGBUS
