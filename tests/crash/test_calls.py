"""SIGKILL at each system call of a kind inside what the daemon does: strace injects it, the daemon knows nothing of it.

Where `test_steps` draws the moment, this goes through all of them, one by one.
"""

from __future__ import annotations

import hashlib
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import pytest

from ipfsfs.daemon.client import ask
from ipfsfs.daemon.questions import heal, seal
from ipfsfs.errors import IpfsfsError
from tests.support.mounted import PLAIN_AGAIN_S, UNASKED_END, Mounted, environment, ipfsfs
from tests.support.processes import eventually

pytestmark = [pytest.mark.root, pytest.mark.campaign, pytest.mark.timeout(14_400)]

RIGHT: Final = random.Random(7).randbytes(300_000)
NAME: Final = hashlib.sha256(RIGHT).hexdigest()
WRONG: Final = RIGHT[:100_000] + bytes([RIGHT[100_000] ^ 1]) + RIGHT[100_001:]
CALLS: Final = ("openat", "write", "pwrite64", "fdatasync", "fsync", "rename", "renameat2", "unlink", "sendto")
MOST: Final = 60
"""Calls of a kind, at most, before it is taken for one that comes for ever."""


class Step:
    """Something the daemon does: made ready, done (and perhaps cut off by a kill), and looked at afterwards."""

    def __init__(self, mount: Mounted) -> None:
        self.mount = mount
        self.blobs = mount.path / "models--org--name" / "blobs"

    def ready(self) -> None:
        """Before the view is mounted."""

    def prepare(self) -> None:
        """In the view, before the kill is armed."""

    def do(self) -> None:
        """May fail when the daemon dies."""

    def look(self) -> None:
        """On plain disk, after the kill or the end."""


class Promise(Step):
    """A download gets the name that it keeps."""

    def ready(self) -> None:
        self.blobs.mkdir(parents=True, exist_ok=True)
        (self.blobs / NAME).unlink(missing_ok=True)
        (self.blobs / "x.incomplete").write_bytes(self.content())

    def content(self) -> bytes:
        """What was downloaded."""
        return RIGHT

    def prepare(self) -> None:
        (self.blobs / "y.incomplete").write_bytes(b"")
        (self.blobs / "y.incomplete").rename(self.blobs / hashlib.sha256().hexdigest())  # has the hasher started
        self.directory = os.open(self.blobs, os.O_RDONLY | os.O_DIRECTORY)

    def do(self) -> None:
        # Not by path: a rename that comes after the daemon's end must not succeed on plain disk.
        try:
            os.rename("x.incomplete", NAME, src_dir_fd=self.directory, dst_dir_fd=self.directory)
        finally:
            os.close(self.directory)

    def look(self) -> None:
        found = [path for path in (self.blobs / NAME, self.blobs / "x.incomplete") if path.exists()]
        assert [path.read_bytes() for path in found] == [RIGHT]


class Quarantine(Promise):
    """A download does not keep what the name it is to get promises."""

    def content(self) -> bytes:
        """Other wrong bytes each time: the same ones would be taken for right the second time (H24)."""
        return WRONG + os.urandom(8)

    def look(self) -> None:
        assert not (self.blobs / NAME).exists(), "wrong bytes never get the name"
        kept = [path for path in (self.mount.store / "quarantine").iterdir() if path.suffix != ".json"]
        found = [path for path in (self.blobs / "x.incomplete", *kept) if path.exists()]
        assert any(path.read_bytes()[:-8] == WRONG for path in found), "they are somewhere"
        for path in kept:
            path.unlink()
            path.with_name(path.name + ".json").unlink()


class Overwrite(Step):
    """A promised blob that was sealed is written in place: its seal is broken first, and the old content kept."""

    def ready(self) -> None:
        self.blobs.mkdir(parents=True, exist_ok=True)
        (self.blobs / NAME).write_bytes(RIGHT)

    def prepare(self) -> None:
        ask(self.mount.store, seal.Question())

    def do(self) -> None:
        with (self.blobs / NAME).open("r+b", buffering=0) as file:
            file.write(b"other")

    def look(self) -> None:
        assert (self.blobs / NAME).read_bytes() in (RIGHT, b"other" + RIGHT[5:])


class Seal(Step):
    """Files are sealed."""

    def ready(self) -> None:
        for number in range(5):
            (self.mount.path / f"{number}").write_bytes(RIGHT + os.urandom(8))

    def do(self) -> None:
        ask(self.mount.store, seal.Question(), patience_s=30)

    def look(self) -> None:
        assert all((self.mount.path / f"{number}").read_bytes()[:-8] == RIGHT for number in range(5))


class Heal(Step):
    """A promised blob that was written in place is put back."""

    def ready(self) -> None:
        self.blobs.mkdir(parents=True, exist_ok=True)
        for path in (*self.blobs.iterdir(), *(self.mount.store / "quarantine").iterdir()):
            path.unlink()
        (self.blobs / NAME).write_bytes(RIGHT)

    def prepare(self) -> None:
        ask(self.mount.store, seal.Question())
        with (self.blobs / NAME).open("r+b", buffering=0) as file:
            file.write(b"other")
        ask(self.mount.store, seal.Question())

    def do(self) -> None:
        answer = ask(self.mount.store, heal.Question((b"models--org--name",)), patience_s=30)
        assert [one.kept for one in answer.healed] != [""]

    def look(self) -> None:
        kept = [path.read_bytes() for path in (self.mount.store / "quarantine").iterdir()]
        found = (self.blobs / NAME).read_bytes()
        for content in (RIGHT, b"other" + RIGHT[5:]):
            assert content in (found, *kept)
        assert [path for path in self.blobs.iterdir() if not path.name.startswith(".")] == [self.blobs / NAME]


class Unmount(Seal):
    """The view is taken away, after something was written in it."""

    def do(self) -> None:
        (self.mount.path / "0").write_bytes(RIGHT + bytes(8))
        ipfsfs("umount", self.mount.path, check=False, timeout=60)

    def look(self) -> None:
        assert all((self.mount.path / f"{number}").read_bytes()[:-8] == RIGHT for number in range(1, 5))


@pytest.fixture
def swept(mounted: Callable[..., Mounted]) -> Mounted:
    mount = mounted()
    mount.expect_logged += [
        "not what the name promises", "broken promise", "the sealer was ended by SIGKILL", UNASKED_END,
    ]  # fmt: skip
    mount.umount()
    return mount


@pytest.mark.parametrize("kind", [Promise, Quarantine, Overwrite, Seal, Heal, Unmount])
def test_a_kill_at_each_call(swept: Mounted, tmp_path: Path, kind: type[Step]) -> None:
    kills = 0
    for call in CALLS:
        for number in range(1, MOST):
            step = kind(swept)
            step.ready()
            swept.mount()
            step.prepare()
            with _armed(swept.pid, call, number, tmp_path / "trace"):
                with suppress(OSError, IpfsfsError):
                    step.do()
                time.sleep(0.5)  # what goes on behind the answer
            killed = _was_killed(swept.pid, tmp_path / "trace")
            if killed:
                kills += 1
                eventually(lambda: not swept.mounted, "the path is plain again", PLAIN_AGAIN_S)
            elif swept.mounted:
                swept.umount()
            step.look()
            if not killed:
                break
    print(f"{kind.__name__}: {kills} kills, each at another system call")
    assert kills > 2
    swept.mount()


def test_a_kill_at_each_call_of_a_healing_by_copies(mounted: Callable[..., Mounted], tmp_path: Path) -> None:
    """Where the store is on another filesystem."""
    store = Path("/dev/shm") / f"ipfsfs-calls-{os.getpid()}-{tmp_path.name}"
    mount = mounted(None, "--store", str(store))
    mount.expect_logged += ["broken promise", "the sealer was ended by SIGKILL", UNASKED_END]
    mount.umount()
    test_a_kill_at_each_call(mount, tmp_path, Heal)


def test_a_kill_at_each_call_of_a_mount(swept: Mounted) -> None:
    """In the foreground, as systemd starts it: the whole of it in one process."""
    step, kills = Seal(swept), 0
    for call in ("mount", "dup2", "socketpair", "flock", "clone3", "vfork", "fsync", "fdatasync", "rename", "pwrite64"):
        for number in range(1, MOST):
            step.ready()
            inject = ["strace", "-qq", "-o", "/dev/null", "-e", f"inject={call}:signal=SIGKILL:when={number}"]
            command = [sys.executable, "-m", "ipfsfs", "mount", "--foreground", str(swept.path)]
            with subprocess.Popen(
                [*inject, *command], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            ) as mounting:
                assert mounting.stdout is not None
                said = ""
                while "serving" not in said and (line := mounting.stdout.readline()):
                    said += line
                serving = "serving" in said
                if serving:
                    swept.umount()
                mounting.wait(60)
            assert "Traceback" not in said, said
            kills += not serving
            eventually(lambda: not swept.mounted, "the path is plain again", PLAIN_AGAIN_S)
            step.look()
            if serving:
                break
    print(f"mount: {kills} kills, each at another system call")
    assert kills > 3
    swept.mount()


@contextmanager
def _armed(pid: int, call: str, number: int, trace: Path) -> Iterator[None]:
    """A process is killed at its n-th system call of a kind while the block runs."""
    inject = f"inject={call}:signal=SIGKILL:when={number}"
    with subprocess.Popen(
        ["strace", "-f", "-o", trace, "-e", inject, "-p", str(pid)], stderr=subprocess.PIPE, text=True
    ) as strace:
        try:
            assert strace.stderr is not None
            assert "attached" in strace.stderr.readline()
            yield
        finally:
            strace.send_signal(signal.SIGINT)
            try:
                strace.wait(5)
            except subprocess.TimeoutExpired:
                strace.kill()


def _was_killed(pid: int, trace: Path) -> bool:
    return re.search(rf"^{pid} +\+\+\+ killed by SIGKILL", trace.read_text(), re.MULTILINE) is not None
