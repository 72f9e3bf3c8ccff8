"""The view and a plain directory side by side, on one filesystem, and the processes that call into both."""

from __future__ import annotations

import ast
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ipfsfs.daemon.client import ask
from ipfsfs.daemon.questions.question import AnswerT, Asked, ProgressT
from tests.support.mounted import TREE, Mounted, environment
from tests.support.native import counted
from tests.support.stuck import dump

DEADLINE_S: Final = 30.0
"""No call takes this long, whatever else the machine does."""


@dataclass(slots=True)
class Actor:
    """A running `tests.stateful.actor`. Each call is made in the view and on plain disk and must come to the same."""

    daemon: Mounted
    process: subprocess.Popen[bytes] = field(init=False)
    _answers: select.poll = field(init=False)

    def __post_init__(self) -> None:
        self._start()

    def start_if_gone(self) -> None:
        """A failed example may have ended the process, or left it stuck."""
        if self.process.poll() is not None:
            self.process.communicate()
            self._start()

    def _start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.stateful.actor"],
            cwd=TREE,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._answers = select.poll()
        self._answers.register(self.process.stdout, select.POLLIN)  # type: ignore[arg-type]

    def both(self, operation: str, *arguments: Any) -> tuple[tuple[str, Any], tuple[str, Any]]:
        """What came of an operation in the view, and on plain disk. Raises AssertionError where it hangs."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(repr((operation, arguments)).encode() + b"\n")
        self.process.stdin.flush()
        if not self._answers.poll(DEADLINE_S * 1000):
            waiting = dump(self.process.pid)
            self.process.kill()
            raise AssertionError(
                f"{operation}{arguments} hangs\n{waiting}\n{dump(self.daemon.pid)}\n{self.daemon.log()}"
            )
        line = self.process.stdout.readline()
        assert line, f"{operation}{arguments} ended the process that called it"
        view, plain = ast.literal_eval(line.decode())
        return view, plain

    def same(self, operation: str, *arguments: Any) -> tuple[str, Any]:
        """What came of an operation, the same on both sides."""
        view, plain = self.both(operation, *arguments)
        assert view == plain, f"{operation}{arguments}: the view answers {view}, plain disk {plain}"
        return view

    def stop(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.communicate()


@dataclass(slots=True)
class Pair:
    """A mounted directory, a plain one beside it, and two processes that work in both; lasts for many examples."""

    view: Mounted
    plain: Path
    beneath: int
    """A descriptor of the directory beneath the view, from before the mount."""
    actors: list[Actor] = field(default_factory=list)
    examples: int = 0
    _native_opens: int = 0
    """Those that earlier daemons counted."""

    @classmethod
    def make(cls, root: Path, *arguments: str) -> Pair:
        """Mount a new directory below `root`, with arguments."""
        path = root / "cache"
        path.mkdir()
        (root / "plain").mkdir()
        beneath = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        pair = cls(Mounted(path, arguments), root / "plain", beneath)
        pair.view.mount()
        pair.actors = [Actor(pair.view), Actor(pair.view)]
        return pair

    def beneath_path(self, relative: bytes) -> bytes:
        """A path that leads into the directory beneath the view."""
        return b"/proc/%d/fd/%d/" % (os.getpid(), self.beneath) + relative

    def ask(self, question: Asked[AnswerT, ProgressT]) -> AnswerT:
        """Put a question to the daemon."""
        return ask(self.view.store, question, patience_s=DEADLINE_S)

    def native_opens(self) -> int:
        """How many opens were native so far, by all daemons of the view."""
        return self._native_opens + int(counted(self.view, "ipfsfs_native_opens_total"))

    def before_end_of_daemon(self) -> None:
        """The daemon is about to end, and what it counted with it."""
        self._native_opens = self.native_opens()

    def next_example(self) -> str:
        """A new pair of empty directories, of the same name in both."""
        self.examples += 1
        for actor in self.actors:
            actor.start_if_gone()
        name = f"models--o--e{self.examples}"
        for root in (self.view.path, self.plain):
            (root / name).mkdir()
        return name

    def close(self) -> None:
        """End everything. What is left is the test's to look at."""
        for actor in self.actors:
            actor.stop()
        os.close(self.beneath)


def eventually(agree: Callable[[], None], within_s: float) -> None:
    """Call `agree` until it raises no AssertionError, or for the last time when the time is over."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        with suppress(AssertionError):
            agree()
            return
        time.sleep(0.05)
    agree()
