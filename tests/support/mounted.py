"""Real mounts for tests: the real command, and what must be true when a test ends."""

from __future__ import annotations

import atexit
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ipfsfs.daemon import mounts
from ipfsfs.daemon.switches import CI_MARKERS, USER_SWITCHES
from tests.support import json_forms
from tests.support.fresh_attributes import ask_for_directories
from tests.support.processes import eventually
from tests.support.trees import differences

TREE = Path(__file__).resolve().parents[2]
PLAIN_AGAIN_S = 2.0
"""How soon after a SIGKILL the path must be the plain directory."""
_LOGGED = re.compile(r"^\S+ (WARNING|ERROR|CRITICAL) (.*)$")


_STATE = tempfile.mkdtemp(prefix="ipfsfs-state-")
atexit.register(shutil.rmtree, _STATE, ignore_errors=True)
UNASKED_END = r"the daemon of .* (was ended by SIGKILL|ended without a word)"
"""What the guardian logs of a daemon that a test kills."""


def environment(**extra: str) -> dict[str, str]:
    """An environment in which mounting is not skipped: CI tests mount all the same. The home is neither read nor
    written."""
    extra = {"XDG_STATE_HOME": _STATE, "XDG_CONFIG_HOME": _STATE, "XDG_CONFIG_DIRS": _STATE, **extra}
    env = {name: value for name, value in os.environ.items() if name not in (*CI_MARKERS, *USER_SWITCHES)}
    return {**env, "PYTHONPATH": str(TREE), **extra}


def ipfsfs(*arguments: str | Path, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command; with `check`, its failing fails the test with all it said."""
    done = subprocess.run(
        [sys.executable, "-m", "ipfsfs", *map(str, arguments)],
        env=options.pop("env", environment()),
        capture_output=True,
        text=True,
        timeout=options.pop("timeout", 120),
        check=False,
        **options,
    )
    if check and done.returncode != 0:
        raise AssertionError(f"ipfsfs {arguments}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
    if done.stdout:  # else it was ended before it could say anything
        json_forms.check([str(one) for one in arguments], done.stdout)
    return done


def alone(with_: list[Path], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ipfsfs where these views are mounted and no others, whoever else uses this machine meanwhile."""
    others = [view.mountpoint for view in mounts.views() if view.mountpoint not in with_]
    script = 'while [ "$1" != -- ]; do umount -l "$1"; shift; done; shift; exec "$@"'
    return subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "sh", *others, "--", sys.executable, "-m", "ipfsfs", *arguments],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@dataclass(slots=True)
class Mounted:
    """A mounted directory. `expect_logged` holds patterns of warnings and errors that this test causes on purpose."""

    path: Path
    arguments: tuple[str, ...] = ()
    expect_logged: list[str] = field(default_factory=list)
    pid: int = 0

    @property
    def store(self) -> Path:
        """The store's directory."""
        if "--store" in self.arguments:
            return Path(self.arguments[self.arguments.index("--store") + 1])
        return self.path.with_name(self.path.name + ".ipfsfs")

    @property
    def mounted(self) -> bool:
        """Whether a view is at the path, by the kernel's word."""
        return mounts.view_at(self.path) is not None

    def mount(self) -> Mounted:
        """Mount, as a user does."""
        ipfsfs("mount", self.path, *self.arguments)
        self.pid = self.status()["pid"]
        return self

    def run(self, *arguments: str | Path, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command of ipfsfs."""
        return ipfsfs(*arguments, check=check, **options)

    def status(self) -> dict[str, Any]:
        """What `status --json` says, whether all is well or not."""
        done = ipfsfs("status", self.path, "--json", check=False)
        assert done.returncode in (0, 1), done.stderr
        found: dict[str, Any]
        (found,) = json.loads(done.stdout)
        assert done.returncode == bool(found["wrong"])
        return found

    def pins(self) -> list[dict[str, Any]]:
        """What `pin ls --json` says."""
        found: list[dict[str, Any]] = json.loads(self.run("pin", "ls", "--view", self.path, "--json").stdout)
        return found

    def seal(self, below: Path | None = None) -> dict[str, Any]:
        """Seal all below a path (default: everything) and wait for it."""
        found: dict[str, Any] = json.loads(ipfsfs("seal", below or self.path, "--json").stdout)
        return found

    def umount(self, *arguments: str) -> None:
        """Unmount, as a user does; the daemon is gone afterwards."""
        ipfsfs("umount", self.path, *arguments)
        assert not self.mounted

    def kill(self) -> float:
        """SIGKILL the daemon; returns how many seconds it took until the path was the plain directory again."""
        self.expect_logged.append(UNASKED_END)
        began = time.monotonic()
        with daemon_of(self.pid) as gone:
            os.kill(self.pid, signal.SIGKILL)
            assert gone.poll(5000), "the daemon outlived SIGKILL"
        while self.mounted:
            assert time.monotonic() - began < PLAIN_AGAIN_S, (
                f"{self.path} is still mounted {PLAIN_AGAIN_S} s after SIGKILL"
            )
            time.sleep(0.005)
        return time.monotonic() - began

    def settle(self) -> None:
        """Where content comes from elsewhere: wait until what is wholly here is in place, for until then names of the
        plain directory still change, and have the kernel ask for the times that this gave to directories."""
        has_origin = any(option in self.arguments for option in ("--kubo", "--gateway", "--hub"))
        if not has_origin and not any((self.store / "blocks").glob("*")):
            return
        if any((self.store / "extents").glob("*")):
            eventually(lambda: self.status()["being_put_in_place"] == 0, "what is here is put in place")
        ask_for_directories(self.path)

    def remount(self) -> Mounted:
        """Unmount if mounted, and mount again."""
        if self.mounted:
            self.umount()
        return self.mount()

    def log(self) -> str:
        """All the daemon has logged."""
        path = self.store / "log" / "daemon.log"
        return path.read_text("utf-8", "backslashreplace") if path.exists() else ""

    def complaints(self) -> list[str]:
        """Warnings and errors in the log that this test did not expect; tracebacks always count."""
        found = []
        for line in self.log().splitlines():
            match = _LOGGED.match(line)
            if "Traceback" in line or (
                match is not None and not any(re.search(pattern, line) for pattern in self.expect_logged)
            ):
                found.append(line)
        return found

    def finish(self) -> None:
        """End as a user would, and check what must be true then: nothing complained, nothing lost, the store sound."""
        if self.mounted:
            self.settle()
            seen = self.path.with_name(self.path.name + ".seen")
            shutil.rmtree(seen, ignore_errors=True)
            subprocess.run(["cp", "-a", f"{self.path}/.", seen], check=True)
            self.umount()
            different = differences(seen, self.path)
            assert not different, "\n".join(["the view and the plain directory beneath differ:", *different])
            shutil.rmtree(seen, ignore_errors=True)
        complaints = self.complaints()
        assert not complaints, "\n".join(["not expected in the log:", *complaints])
        if (self.store / "format").exists():
            ipfsfs("fsck", self.path, "--store", self.store)


@contextmanager
def daemon_of(pid: int) -> Iterator[select.poll]:
    """Something to poll for the end of a process."""
    fd = os.pidfd_open(pid)
    try:
        gone = select.poll()
        gone.register(fd, select.POLLIN)
        yield gone
    finally:
        os.close(fd)


def clear(path: Path) -> None:
    """Whatever happened, leave no mount behind."""
    for _ in range(8):
        if mounts.view_at(path) is None:
            return
        subprocess.run(["umount", "-l", path], check=False, capture_output=True)
