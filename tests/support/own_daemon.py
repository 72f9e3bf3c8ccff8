"""A view whose daemon is a program of the tests: the daemon as it is, but for what a test decides."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.mounted import Mounted


@dataclass(slots=True)
class OwnDaemon(Mounted):
    """A view that is mounted for as long as its process is kept."""

    process: subprocess.Popen[str] | None = None

    def start(self, command: Sequence[str | Path], env: Mapping[str, str]) -> None:
        """Start the daemon, which says "ready" once the view answers."""
        self.process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n", self.log()
        self.pid = self.process.pid

    def close(self) -> None:
        """Leave no process behind."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            assert self.process.stdout is not None
            self.process.stdout.close()
