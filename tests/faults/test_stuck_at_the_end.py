"""A daemon that was killed and does not end, for it waits for a disk: the path comes back, and only its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from ipfsfs.daemon import mounts
from ipfsfs.daemon.ward import Ward
from ipfsfs.errors import MountError
from ipfsfs.fuse import mountpoint
from tests.support.filesystems import mounted_image, new_ext4_image
from tests.support.mounted import UNASKED_END, Mounted, clear, environment
from tests.support.processes import eventually

WRITE: Final = "import os, sys; os.pwrite(fd := os.open(sys.argv[1], os.O_RDWR), bytes(1 << 20), 0); os.fsync(fd)"
CREATE: Final = "import os, sys; os.open(sys.argv[1] + '.new', os.O_CREAT | os.O_WRONLY)"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with mounted_image(new_ext4_image(tmp_path / "image"), tmp_path / "disk") as at:
        yield at


@contextmanager
def frozen(disk: Path) -> Iterator[None]:
    """A disk that writes nothing while the block runs."""
    subprocess.run(["fsfreeze", "--freeze", disk], check=True)
    try:
        yield
    finally:
        subprocess.run(["fsfreeze", "--unfreeze", disk], check=True)


def waits(pid: int) -> bool:
    """Whether a thread of a process waits as for a disk."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return any(thread.joinpath("stat").read_text().rpartition(")")[2].split()[0] == "D" for thread in threads)


@pytest.mark.root
@pytest.mark.parametrize(
    ("call", "within_s"), [(WRITE, 5.0), (CREATE, 25.0)], ids=["a thread waits", "the event loop waits"]
)
def test_h05_the_path_comes_back_while_the_disk_of_the_store_stands_still(
    disk: Path, mounted: Callable[..., Mounted], call: str, within_s: float
) -> None:
    """The event loop's own waiting is noticed by looking, every 15 s."""
    (disk / "cache").mkdir()
    mount = mounted(disk / "cache")
    (mount.path / "file").write_bytes(bytes(100_000))
    mount.seal()
    mount.expect_logged += [UNASKED_END, "was ended by", "was killed, and does not end"]
    with frozen(disk):
        worker = subprocess.Popen([sys.executable, "-c", call, mount.path / "file"], stderr=subprocess.DEVNULL)
        eventually(lambda: waits(mount.pid), "the daemon waits")
        os.kill(mount.pid, signal.SIGKILL)
        eventually(lambda: not mount.mounted, "the path is the plain directory", within_s)
        assert Path(f"/proc/{mount.pid}").exists(), "the disk kept nobody: this tests nothing"
    worker.wait(20)
    eventually(lambda: mount.status()["ended"] is not None, "`status` says that it ended")
    assert "does not end" in mount.log()


@pytest.mark.root
def test_h04_a_guardian_that_sees_other_processes_in_proc_leaves_its_daemon_alone(tmp_path: Path) -> None:
    """In a namespace of processes of its own, with the /proc of another."""
    at, store = tmp_path / "cache", tmp_path / "store"
    at.mkdir()
    alone = ["unshare", "--pid", "--fork", "--kill-child"]
    command = [*alone, sys.executable, "-m", "ipfsfs", "mount", "--foreground", str(at), "--store", str(store)]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as daemon:
        try:
            assert daemon.stderr is not None
            assert daemon.stderr.readline().startswith(b"serving ")
            time.sleep(2)
            assert mounts.view_at(at) is not None
            assert not (store / "ended").exists()
        finally:
            daemon.kill()
            clear(at)


@pytest.mark.parametrize(
    ("said", "has_it"),
    [(b"", True), (b"failed\n", True), (b"over\n", False), (b"over\nfailed\n", False)],
    ids=["nothing", "failed", "over", "over and failed"],
)
def test_h04_a_daemon_that_gave_its_path_back_may_have_a_successor(said: bytes, has_it: bool) -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        ward = Ward(process.pid, "{}", -1)
        ward.hear(said)
        daemon = os.pidfd_open(process.pid)
        try:
            assert ward.has_store(daemon) == has_it
            process.kill()
            eventually(lambda: not ward.has_store(daemon), "what has ended has nothing")
        finally:
            os.close(daemon)


@pytest.mark.root
def test_who_unmounts_a_view_that_is_gone_meanwhile_takes_nothing_else_away(tmp_path: Path) -> None:
    """As two do that saw the same dead view."""
    at = tmp_path / "cache"
    at.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "under", at], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "view", at], check=True)
    try:
        view = mounts.at(at)
        assert view is not None
        mountpoint.unmount(at, lazy=True, mount_id=view.mount_id)
        with pytest.raises(MountError, match="is gone"):
            mountpoint.unmount(at, lazy=True, mount_id=view.mount_id)
        beneath = mounts.at(at)
        assert beneath is not None
        assert beneath.source == "under"
    finally:
        while mounts.at(at) is not None:
            subprocess.run(["umount", "-l", at], check=True)
