"""A daemon that dies, hangs, or has a successor: the path comes back, and nobody takes it from whoever has it now."""

from __future__ import annotations

import mmap
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from ipfsfs.daemon.client import ask
from ipfsfs.daemon.questions import seal, verify
from tests.support.mounted import UNASKED_END, Mounted, ipfsfs
from tests.support.processes import descriptors, eventually, guardians_of, sealers_of, stopped
from tests.support.sealers import slow

CONTENT: Final = random.Random(1).randbytes(3_000_000)


def filled(mount: Mounted) -> Mounted:
    (mount.path / "model").write_bytes(CONTENT)
    ask(mount.store, seal.Question())
    return mount


def holds_fuse(pid: int) -> bool:
    return "/dev/fuse" in descriptors(pid).values()


def test_h03_no_other_process_holds_the_connection_and_helpers_go_with_the_daemon(
    mounted: Callable[..., Mounted],
) -> None:
    """With a copy of the connection in a helper, those who wait for the daemon would wait for ever."""
    mount = filled(mounted())
    mount.run("verify", mount.path)
    helpers = sealers_of(mount.pid)
    assert len(helpers) == 2
    assert holds_fuse(mount.pid)
    for pid in (*helpers, *guardians_of(mount.pid)):
        assert not holds_fuse(pid)
    with stopped(helpers):  # they cannot even notice
        mount.kill()
        with pytest.raises(FileNotFoundError):
            os.stat(mount.path / "nothing")
        assert (mount.path / "model").read_bytes() == CONTENT
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in helpers), "helpers go with their daemon")


def test_h04_a_guardian_leaves_a_successor_alone(mounted: Callable[..., Mounted], tmp_path: Path) -> None:
    """It wakes late, and finds a view at its path: of the same store, which is locked, or of another."""
    mount = filled(mounted())
    mount.expect_logged.append(UNASKED_END)
    for store in (mount.store, tmp_path / "other.ipfsfs"):
        guardians = guardians_of(mount.pid)
        with stopped(guardians):
            os.kill(mount.pid, signal.SIGKILL)
            eventually(lambda: not Path(f"/proc/{mount.pid}").exists(), "the daemon is gone")
            ipfsfs("mount", mount.path, "--store", store)
            mount.arguments = ("--store", str(store))
            mount.pid = mount.status()["pid"]
        time.sleep(1)
        assert mount.mounted
        assert (mount.path / "model").read_bytes() == CONTENT


def test_h04_the_path_comes_back_under_another_name_too(mounted: Callable[..., Mounted], tmp_path: Path) -> None:
    """Somebody renames a directory above the mount point, and then the daemon dies."""
    above, renamed = tmp_path / "above", tmp_path / "renamed"
    above.mkdir()
    mount = filled(mounted(above / "cache"))
    above.rename(renamed)
    mount.path = renamed / "cache"
    assert (mount.path / "model").read_bytes() == CONTENT
    mount.kill()
    assert (mount.path / "model").read_bytes() == CONTENT


def test_h04_without_a_guardian_umount_and_mount_clear_what_is_left(mounted: Callable[..., Mounted]) -> None:
    """As when the whole control group is killed: by hand, or by the next mount, which says so."""
    mount = filled(mounted())
    for command in ("umount", "mount"):
        with stopped([mount.pid]):  # it cannot start another
            for pid in (*guardians_of(mount.pid), mount.pid):
                os.kill(pid, signal.SIGKILL)
        eventually(lambda: _is_dead(mount.path), "the view is dead")
        said = ipfsfs(command, mount.path).stdout
        assert "died" in said
        if command == "umount":
            assert not mount.mounted
            mount.mount()
        assert (mount.path / "model").read_bytes() == CONTENT
        mount.pid = mount.status()["pid"]


def test_h04_a_guardian_that_is_ended_is_replaced(mounted: Callable[..., Mounted]) -> None:
    mount = filled(mounted())
    mount.expect_logged += ["the guardian was ended"]
    for _ in range(2):
        ended = guardians_of(mount.pid)
        os.kill(ended[0], signal.SIGKILL)
        eventually(partial(_is_replaced, mount, ended), "there is another")
    mount.kill()
    assert (mount.path / "model").read_bytes() == CONTENT


def _is_replaced(mount: Mounted, ended: list[int]) -> bool:
    return guardians_of(mount.pid) not in ([], ended)


def test_h05_commands_do_not_hang_with_the_daemon(mounted: Callable[..., Mounted]) -> None:
    """Each says what is the matter and what to do, and `umount --lazy` gives the path back."""
    mount = filled(mounted())
    time.sleep(1.1)  # what the kernel has cached of the root
    with stopped([mount.pid]):
        said = ipfsfs("status", mount.path, check=False, timeout=40).stdout
        assert "does not answer" in said
        assert "umount --lazy" in said
        for command in ("mount", "umount"):
            done = ipfsfs(command, mount.path, check=False, timeout=40)
            assert done.returncode == 5, (command, done.stdout)
            assert "does not answer" in done.stderr
            assert "umount --lazy" in done.stderr
        assert ipfsfs("umount", "--lazy", mount.path, timeout=40).returncode == 0
        assert not mount.mounted
        assert (mount.path / "model").read_bytes() == CONTENT
    eventually(lambda: not Path(f"/proc/{mount.pid}").exists(), "the daemon goes when it can")
    filled(mount.mount())


def test_h06_hashing_is_no_work_of_the_daemon(mounted: Callable[..., Mounted]) -> None:
    """It would hold the interpreter's lock while others wait for their lookups."""
    mount = mounted()
    slow(mount.path / "large", 1 << 30)
    before = _processor_s(mount.pid), _processor_s(*sealers_of(mount.pid))
    ask(mount.store, seal.Question())
    ask(mount.store, verify.Question())
    daemon = _processor_s(mount.pid) - before[0]
    sealers = _processor_s(*sealers_of(mount.pid)) - before[1]
    assert sealers > 0.4
    assert daemon < sealers / 4
    (mount.path / "large").unlink()


def test_h09_a_read_of_what_is_partly_cached_is_not_cut_short(mounted: Callable[..., Mounted], tmp_path: Path) -> None:
    """A short answer is the end of the file, in its data and in its size."""
    directory = tmp_path / "cache"
    directory.mkdir()
    plain = os.open(directory, os.O_RDONLY)
    mount = mounted(directory)
    for name in ("sealed", "unsealed"):
        (mount.path / name).write_bytes(CONTENT)
    mount.seal(mount.path / "sealed")
    for name in ("sealed", "unsealed"):
        beneath = os.open(name, os.O_RDONLY, dir_fd=plain)
        os.fsync(beneath)
        for cut in (0, 4096, 70_000, 131_072, 1_000_001):
            os.posix_fadvise(beneath, 0, 0, os.POSIX_FADV_WILLNEED)
            os.pread(beneath, len(CONTENT), 0)
            os.posix_fadvise(beneath, cut, 0, os.POSIX_FADV_DONTNEED)
            with _uncached(mount.path / name) as fd:
                assert os.pread(fd, len(CONTENT) + 1, 0) == CONTENT
                assert os.fstat(fd).st_size == len(CONTENT)
        os.close(beneath)
    os.close(plain)


def test_h15_what_workers_hold_dies_with_the_daemon_and_what_they_open_next_is_there(
    mounted: Callable[..., Mounted],
) -> None:
    mount = filled(mounted())
    held = os.open(mount.path / "model", os.O_RDONLY)
    touch = (
        "import mmap, os, sys; f = open(sys.argv[1], 'rb'); m = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)\n"
        "print(m[0], flush=True); sys.stdin.readline()\n"
        "os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED); print(sum(m[::4096]))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", touch, mount.path / "model"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as mapped:
        assert mapped.stdout is not None
        assert mapped.stdout.readline().strip() == str(CONTENT[0]).encode()
        with _uncached(mount.path / "model"):
            pass
        mount.kill()
        mapped.communicate(b"\n", timeout=20)
        mapped.stdout.close()
        assert mapped.returncode in (0, -signal.SIGBUS), "SIGBUS, or what the kernel still had"
    with pytest.raises(OSError, match=r"not connected|aborted"):
        os.fsync(held)
    os.close(held)
    with (mount.path / "model").open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as again:
        assert again[:] == CONTENT


@contextmanager
def _uncached(path: Path) -> Iterator[int]:
    """A descriptor of a file of which the view's own cache holds nothing."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        yield fd
    finally:
        os.close(fd)


def _is_dead(path: Path) -> bool:
    try:
        os.statvfs(path)
    except OSError:
        return True
    return False


def _processor_s(*pids: int) -> float:
    """Processor time that processes have used."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")
