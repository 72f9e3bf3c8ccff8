"""The memory of a daemon."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(slots=True, frozen=True)
class Memory:
    """What the kernel counts as resident of a process."""

    pid: int

    def now_mib(self) -> float:
        """Now, in MiB."""
        return self._counted("VmRSS:")

    def peak_mib(self) -> float:
        """The most at any moment so far, in MiB."""
        return self._counted("VmHWM:")

    def _counted(self, what: str) -> float:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(what):
                return round(int(line.split()[1]) / 1024, 1)
        raise AssertionError(f"process {self.pid} is gone")
