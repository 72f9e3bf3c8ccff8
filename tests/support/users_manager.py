"""A user of a machine that systemd has booted, whose own manager runs: `systemctl --user`."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.booted import CHECKOUT, Booted, found_uv, of_the_network
from tests.support.processes import eventually

_UID: Final = 1500
_NAME: Final = "worker"
_RUNTIME: Final = Path(f"/run/user/{_UID}")
_RUNTIME_DIR: Final = """[Service]
ExecStart=
ExecStart=/bin/install -d -o %i -m 700 /run/user/%i
ExecStop=
"""
"""What systemd-logind is asked for otherwise, which the machine does not have."""


@dataclass(slots=True, frozen=True)
class UsersManager:
    """The manager of a user who has a cache with one file in the home directory."""

    machine: Booted

    @classmethod
    def start(cls, machine: Booted) -> UsersManager:
        """Make the user, and start the manager as a login would."""
        machine.shell(f"useradd --create-home --uid {_UID} {_NAME}")
        below = machine.root / "etc/systemd/system/user-runtime-dir@.service.d"
        below.mkdir()
        (below / "test.conf").write_text(_RUNTIME_DIR)
        machine.shell(f"systemctl daemon-reload && systemctl start user@{_UID}.service")
        made = cls(machine)
        made.run("sh", "-c", f"mkdir -p '{made.cache}' && echo content >'{made.cache}/file'")
        return made

    @property
    def cache(self) -> Path:
        """Where the user's cache is, in the machine."""
        return Path("/home") / _NAME / ".cache/huggingface"

    def run(self, *command: str | Path, check: bool = True, network: bool = False) -> subprocess.CompletedProcess[str]:
        """Run a command as the user, who has logged in."""
        environ = {
            "HOME": f"/home/{_NAME}",
            "USER": _NAME,
            "PATH": ":".join([*found_uv(), "/usr/bin", "/bin"]),
            "LC_ALL": "C",
            "SYSTEMD_PAGER": "",
            "XDG_RUNTIME_DIR": str(_RUNTIME),
            **of_the_network(),
        }
        become = ["setpriv", f"--reuid={_UID}", f"--regid={_UID}", "--init-groups", "env", "--ignore-environment"]
        words = [f"{name}={value}" for name, value in environ.items()]
        return self.machine.run(*become, *words, *command, check=check, network=network)

    def install_units(self, *arguments: str) -> str:
        """What `install-units` says, on stderr."""
        return self.run(CHECKOUT / "mount_scripts/install-units", *arguments, network=True).stderr

    def do(self, *words: str, check: bool = True) -> str:
        """What `systemctl --user` prints."""
        return self.run("systemctl", "--user", *words, check=check).stdout.strip()

    def pid(self, unit: str) -> int:
        """The main process of a unit."""
        return int(self.do("show", "--property=MainPID", "--value", unit))

    def reads(self) -> bool:
        """Whether the file of the cache is read, by whatever is there."""
        done = self.run("cat", self.cache / "file", check=False)
        return done.returncode == 0 and done.stdout == "content\n"

    def end(self) -> None:
        """Stop the manager, and remove the user."""
        self.machine.shell(f"systemctl stop user@{_UID}.service", check=False)
        eventually(lambda: not self.machine.mounted(self.cache), "the view ends with the manager")
        self.machine.shell(f"userdel --remove --force {_NAME}", check=False)
        (self.machine.root / "etc/systemd/system/user-runtime-dir@.service.d/test.conf").unlink()
