"""The processes of a storm: started together, waited for with a deadline, and told of when they miss it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.mounted import TREE, Mounted, environment
from tests.support.processes import guardians_of, sealers_of
from tests.support.stuck import dump


@dataclass(slots=True)
class Worker:
    """One process, and where what it says goes."""

    name: str
    process: subprocess.Popen[bytes]
    said: Path

    def answer(self) -> dict[str, Any]:
        """The last line it said, as JSON."""
        lines = self.said.read_text("utf-8", "replace").splitlines()
        assert lines, f"{self.name} said nothing"
        found: dict[str, Any] = json.loads(lines[-1])
        return found


@dataclass(slots=True)
class Crew:
    """Workers of a storm. `mounts`: whose daemons are told of too, when somebody is stuck."""

    scratch: Path
    mounts: list[Mounted] = field(default_factory=list)
    workers: list[Worker] = field(default_factory=list)

    def start(self, module: str, *arguments: object, name: str = "") -> Worker:
        """Run a module of `tests.storms` in a process (and session) of its own."""
        name = name or f"{module}-{len(self.workers)}"
        said = self.scratch / f"{name}.said"
        with said.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", f"tests.storms.{module}", *map(str, arguments)],
                stdout=out,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=environment(),
                cwd=TREE,
                start_new_session=True,
            )
        self.workers.append(Worker(name, process, said))
        return self.workers[-1]

    def wait(self, within_s: float, workers: Iterable[Worker] | None = None) -> list[dict[str, Any]]:
        """What each worker answered. A deadline missed, or a worker that failed, fails the test with all it knows."""
        deadline = time.monotonic() + within_s
        waited = list(self.workers if workers is None else workers)
        for worker in waited:
            try:
                code = worker.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                raise AssertionError(f"{worker.name} is not done after {within_s:g} s\n{self.what_waits()}") from None
            assert code == 0, f"{worker.name}: exit {code}\n{worker.said.read_text('utf-8', 'replace')[-4000:]}"
        return [worker.answer() for worker in waited]

    def what_waits(self) -> str:
        """Where each process of the storm, and of the daemons beneath it, waits."""
        pids = [worker.process.pid for worker in self.workers if worker.process.poll() is None]
        for mount in self.mounts:
            pids += [mount.pid, *sealers_of(mount.pid), *guardians_of(mount.pid)]
        return "\n".join(dump(pid) for pid in pids)

    def end(self) -> None:
        """Whatever happened, leave nobody behind."""
        for worker in self.workers:
            if worker.process.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(worker.process.pid, signal.SIGKILL)
        for worker in self.workers:
            with suppress(subprocess.TimeoutExpired):
                worker.process.wait(10)


@contextmanager
def crew_of(scratch: Path, *mounts: Mounted) -> Iterator[Crew]:
    """A crew that is gone when the block ends."""
    scratch.mkdir(exist_ok=True)
    crew = Crew(scratch, list(mounts))
    try:
        yield crew
    finally:
        crew.end()
