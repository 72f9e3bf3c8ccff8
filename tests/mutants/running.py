"""Runs tests of this tree against a copy of the program that may be mutated."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ipfsfs.daemon import mounts
from tests.support.checkouts import clone
from tests.support.mounted import clear, environment

_TEST_S = 120
_RUN_S = 900


@dataclass(frozen=True, slots=True)
class Outcome:
    """What pytest said. `noticed`: tests that ran and failed, by themselves or when they were cleaned up."""

    passed: list[str]
    noticed: list[str]
    said: str


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy of the program and its tests, below a directory that is the copy's alone."""

    directory: Path

    @classmethod
    def make(cls, directory: Path) -> Copy:
        clone(directory / "tree")
        return cls(directory)

    @property
    def tree(self) -> Path:
        return self.directory / "tree"

    def works(self) -> None:
        """See that the program mounts and serves: without that every test would fail, and tell nothing of a promise."""
        view = self.directory / "view"
        view.mkdir()
        (view / "file").write_bytes(b"content")
        try:
            self._command("mount", view)
            assert (view / "file").read_bytes() == b"content"
            self._command("umount", view)
        finally:
            clear(view)
            shutil.rmtree(f"{view}.ipfsfs", ignore_errors=True)

    def _command(self, *arguments: str | Path) -> None:
        command = [sys.executable, "-m", "ipfsfs", *arguments]
        done = subprocess.run(
            command, cwd=self.tree, env=self._environment(), capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr

    def test(self, tests: Sequence[str]) -> Outcome:
        """Run tests; the first that fails ends it. Fails where one cannot be collected, set up, or is skipped."""
        report = self.directory / "report.xml"
        options = ["-q", "-x", "-p", "no:cacheprovider", f"--timeout={_TEST_S}", f"--junitxml={report}"]
        running = subprocess.Popen(
            [sys.executable, "-m", "pytest", *options, f"--basetemp={self.directory / 't'}", *tests],
            cwd=self.tree,
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            said, _ = running.communicate(timeout=_RUN_S)
        finally:
            self._end(running)
        assert running.returncode in (0, 1), said
        return _outcome(report, said)

    def _environment(self) -> dict[str, str]:
        return environment(PYTHONPATH=str(self.tree))

    def _end(self, running: subprocess.Popen[str]) -> None:
        """Leave no process and no mount behind."""
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
            running.communicate()
        below = os.fsencode(f"{self.directory}/")
        for process in Path("/proc").glob("[0-9]*"):  # daemons of tests that failed: some of them stand still
            with suppress(OSError):
                if below in (process / "cmdline").read_bytes():
                    os.kill(int(process.name), signal.SIGKILL)
        for mount in mounts.all_mounts():
            if mount.mountpoint.is_relative_to(self.directory):
                subprocess.run(["umount", "-l", mount.mountpoint], check=False, capture_output=True)


def _outcome(report: Path, said: str) -> Outcome:
    passed: list[str] = []
    noticed: list[str] = []
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        problems = [*case.iter("failure"), *case.iter("error")]
        before_it = [problem for problem in problems if problem.get("message", "").startswith("failed on setup")]
        assert not before_it, f"{name} could not be set up\n{said}"
        assert case.find("skipped") is None, f"{name} was skipped\n{said}"
        (noticed if problems else passed).append(name)
    return Outcome(passed, noticed, said)
