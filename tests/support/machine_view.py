"""The view of a machine of a site, mounted by the real command there."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import CompletedProcess
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from tests.support.machines import Machine

PORT: Final = 4780
_LOGGED: Final = re.compile(r"^\S+ (WARNING|ERROR|CRITICAL) (.*)$")


@dataclass(slots=True)
class MachineView:
    """The view over a machine's cache."""

    machine: Machine = field(repr=False)

    @property
    def store(self) -> Path:
        """The store's directory."""
        return self.machine.home.with_name(self.machine.home.name + ".ipfsfs")

    def run(self, *arguments: str | Path, check: bool = True, **options: Any) -> CompletedProcess[str]:
        """Run a command of ipfsfs there."""
        return self.machine.run(sys.executable, "-m", "ipfsfs", *arguments, check=check, **options)

    def mount(self, *arguments: str | Path, hub: bool = True) -> None:
        """Mount, as a user does; the site's Hub is the mount's too."""
        told = ("--hub", self.machine.site.hub.url) if hub else ()
        self.run("mount", self.machine.home, *told, *arguments)

    def share(self, *arguments: str | Path, token: Path | None = None, peers: str = "") -> None:
        """Mount, serve and share with all machines of the site, or with `peers`."""
        machine = self.machine
        listed = peers or ",".join(f"{other.address}:{PORT}" for other in machine.site.machines)
        trusted = ("--token-file", token) if token is not None else ("--open",)
        self.mount("--serve", f"{machine.address}:{PORT}", "--peers", listed, *trusted, *arguments)

    @property
    def is_mounted(self) -> bool:
        """By the kernel's word."""
        table = Path(f"/proc/{self.machine.computer.pid}/mountinfo").read_text()
        return any(f" {self.machine.home} " in line and " - fuse" in line for line in table.splitlines())

    def umount(self, *arguments: str) -> None:
        """Unmount, as a user does."""
        self.run("umount", self.machine.home, *arguments)

    def status(self) -> dict[str, Any]:
        """What `status --json` says."""
        found: dict[str, Any]
        (found,) = json.loads(self.run("status", self.machine.home, "--json").stdout)
        return found

    def peers(self) -> dict[str, Any]:
        """What `peers --json` says."""
        found: dict[str, Any] = json.loads(self.run("peers", self.machine.home, "--json").stdout)
        return found

    def seal(self) -> None:
        """Seal everything and wait for it."""
        self.run("seal", self.machine.home)

    def log(self) -> str:
        """All the daemon has logged."""
        path = self.store / "log" / "daemon.log"
        return path.read_text("utf-8", "backslashreplace") if path.exists() else ""

    def complaints(self) -> list[str]:
        """Warnings and errors in the log that the test did not expect; tracebacks always count."""
        found = []
        for line in self.log().splitlines():
            match = _LOGGED.match(line)
            expected = any(re.search(pattern, line) for pattern in self.machine.expect_logged)
            if "Traceback" in line or (match is not None and not expected):
                found.append(line)
        return found
