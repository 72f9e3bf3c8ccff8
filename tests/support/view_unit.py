"""The unit of one view in a machine that systemd has booted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.support.booted import DATA, Booted
from tests.support.processes import eventually

CONTENT: Final = "content\n"


@dataclass(slots=True)
class ViewUnit:
    """A directory with one file, and the unit that mounts a view over it."""

    machine: Booted
    path: Path
    """Of the directory, in the machine."""
    name: str
    """Of the unit."""

    @classmethod
    def make(cls, machine: Booted, directory: str) -> ViewUnit:
        """Make the directory. The unit is not started."""
        path = DATA / directory
        (machine.data / directory).mkdir()
        (machine.data / directory / "file").write_text(CONTENT)
        escaped = machine.shell(f"systemd-escape --path '{path}'").strip()
        return cls(machine, path, f"ipfsfs@{escaped}.service")

    @property
    def plain(self) -> Path:
        """The directory beneath the view, as seen from outside of the machine."""
        return self.machine.data / self.path.name

    def add(self, **settings: str) -> None:
        """Have other settings in its section [Service], as an administrator would."""
        lines = "\n".join(f"{name}={value}" for name, value in settings.items())
        below = f"/run/systemd/system/{self.name}.d"
        self.machine.shell(f"mkdir -p '{below}'; printf '%s' '[Service]\n{lines}\n' >'{below}/test.conf'")
        self.machine.run("systemctl", "daemon-reload")

    def do(self, verb: str, *arguments: str, check: bool = True) -> str:
        """What `systemctl` says to a verb, on stderr."""
        return self.machine.run("systemctl", verb, *arguments, "--", self.name, check=check).stderr

    def show(self, name: str) -> str:
        """A property of the unit."""
        return self.machine.run("systemctl", "show", f"--property={name}", "--value", "--", self.name).stdout.strip()

    @property
    def state(self) -> tuple[str, str]:
        """What it does: `active`, `inactive` or `failed`; and what came of the last time: `success`, or why not."""
        return self.show("ActiveState"), self.show("Result")

    @property
    def pid(self) -> int:
        """Its main process, in the machine's numbers."""
        return int(self.show("MainPID"))

    @property
    def mounted(self) -> bool:
        """Whether the view is at the path."""
        return self.machine.mounted(self.path)

    def journal(self, *arguments: str) -> list[dict[str, Any]]:
        """The entries of its processes and those that systemd wrote about it."""
        return self.machine.journal(self.name, *arguments)

    def said(self, *arguments: str) -> str:
        """The words of these entries, a line each."""
        return "\n".join(str(entry["MESSAGE"]) for entry in self.journal(*arguments))

    def reads(self) -> bool:
        """Whether the file at the path is read, by whatever is there."""
        done = self.machine.run("cat", self.path / "file", check=False)
        return done.returncode == 0 and done.stdout == CONTENT

    def start_user(self, name: str, *, after: str, saves_s: float) -> Path:
        """Start a service that has a file in the view open, and writes to it once it is told to stop: after a while, as
        one that saves. Returns the file, as seen beneath the view."""
        script = f'exec 3>"$$0"; trap "sleep {saves_s}; echo saved >&3; exit" TERM; while :; do sleep 0.05; done'
        service = (
            f"[Unit]\nAfter={after}\n[Service]\nKillMode=mixed\nExecStart=/bin/bash -c '{script}' {self.path}/{name}\n"
        )
        (self.machine.root / "etc/systemd/system" / f"{name}.service").write_text(service)
        self.machine.shell(f"systemctl daemon-reload; systemctl start {name}")
        eventually((self.plain / name).exists, f"{name} has its file open")
        return self.plain / name

    def end(self) -> None:
        """Stop it, and forget that it was there."""
        self.do("stop", check=False)
        self.do("reset-failed", check=False)
        self.machine.shell(f"rm -rf '/run/systemd/system/{self.name}.d'; systemctl daemon-reload", check=False)
