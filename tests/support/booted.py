"""A machine that a real systemd boots, from an overlay of this one's own root: systemd-nspawn(1). Only root can.

It has no network, a journal in memory, no units but its own, this checkout read-only, and a directory of the test's for
its data, which is seen from here beneath every view. It ends with the process that made it.

    python -m tests.support.booted      # boots one and ends it; says why where that cannot be done
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from tests.support.checkouts import clone
from tests.support.own_mounts import own_mounts
from tests.support.processes import eventually

CHECKOUT: Final = Path("/opt/ipfsfs")
"""Where the machine has this checkout."""
DATA: Final = Path("/srv")
"""Where it has the directory of the test."""
_BOOT_S: Final = 30.0
_END_S: Final = 60.0
_OWN_PROCESSES: Final = "unshare --pid --fork --kill-child --mount-proc --"
"""Else nspawn's end would leave the machine running: so all of it ends with unshare, and that with who made it."""
_CLEAN: Final = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C",
    "SYSTEMD_COLORS": "0",
    "SYSTEMD_PAGER": "",
}
_FUSE: Final = """
[Unit]
DefaultDependencies=no
Before=sysinit.target

[Service]
Type=oneshot
ExecStart=/bin/mknod -m 666 /dev/fuse c 10 229
"""


def unable() -> str:
    """Why there can be no such machine here; empty where there can be one, as far as it shows before booting."""
    if os.geteuid() != 0:
        return "only root can boot a machine"
    if shutil.which("systemd-nspawn") is None:
        return "systemd-nspawn is not installed (Debian: systemd-container)"
    return "" if _cgroups() else "no hierarchy of control groups is mounted that systemd could use"


@dataclass(slots=True)
class Booted:
    """The machine. `place`: a directory for all that it is made of. Its files stay over a `poweroff` and a `boot`."""

    place: Path
    _nspawn: subprocess.Popen[bytes] | None = field(default=None, init=False, repr=False)
    _pid: int = field(default=0, init=False)

    @property
    def data(self) -> Path:
        """What the machine has at `DATA`, without any view."""
        return self.place / "data"

    @property
    def root(self) -> Path:
        """Its root directory."""
        return self.place / "machine" / "root"

    @classmethod
    def make(cls, place: Path) -> Booted:
        """Make one, which is off. Raises CalledProcessError."""
        made = cls(place)
        over = place / "machine"
        over.mkdir()
        made.data.mkdir()
        clone(place / "checkout")
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", over], check=True)
        for part in ("upper", "work", "root"):
            (over / part).mkdir()
        layers = f"lowerdir=/,upperdir={over / 'upper'},workdir={over / 'work'}"
        subprocess.run(["mount", "-t", "overlay", "-o", layers, "overlay", made.root], check=True)
        etc = made.root / "etc"
        for old in (etc / "systemd" / "system", etc / "xdg" / "ipfsfs", etc / "ipfsfs", made.root / "var/lib/ipfsfs"):
            shutil.rmtree(old, ignore_errors=True)
        (etc / "machine-id").write_text(uuid.uuid4().hex + "\n")
        (etc / "fstab").write_text("")
        wants = etc / "systemd" / "system" / "sysinit.target.wants"
        wants.mkdir(parents=True)
        (wants.parent / "dev-fuse.service").write_text(_FUSE)
        (wants / "dev-fuse.service").symlink_to("../dev-fuse.service")
        for name in ("dbus.socket", "dbus.service", "systemd-logind.service"):  # not all machines have them: none has
            (wants.parent / name).symlink_to("/dev/null")
        return made

    def boot(self) -> None:
        """Start it; returns when all that is to be started is. Raises AssertionError where it does not boot."""
        for group in self._groups():
            group.mkdir(exist_ok=True)
        enter = "".join(f"echo $$ >'{group}/cgroup.procs' && " for group in self._groups())
        command: list[str | Path] = [
            "systemd-nspawn", "--boot", "--quiet", "--directory", self.root, "--machine", self._name,
            "--keep-unit", "--register=no", "--capability=all", "--private-network", "--console=pipe",
            "--bind", f"{self.data}:{DATA}", "--bind-ro", f"{self.place / 'checkout'}:{CHECKOUT}",
            *(["--bind=/dev/autofs"] if os.path.exists("/dev/autofs") else []),
        ]  # fmt: skip
        with (self.place / "console").open("wb") as console:
            self._nspawn = subprocess.Popen(
                ["sh", "-c", f'{enter} exec setpriv --pdeathsig KILL -- {_OWN_PROCESSES} "$@"', "sh", *command],
                env={**_CLEAN, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
            )
        eventually(self._is_up, "systemd is up", _BOOT_S)
        self.run("systemctl", "is-system-running", "--wait", check=False)

    def _is_up(self) -> bool:
        assert self._nspawn is not None
        if self._nspawn.poll() is not None:
            raise AssertionError((self.place / "console").read_text(errors="replace"))
        try:
            pid = _child(_child(self._nspawn.pid))  # unshare starts nspawn, which starts systemd
            if Path(f"/proc/{pid}/comm").read_text() != "systemd\n":
                return False
        except (OSError, IndexError):
            return False
        self._pid = pid
        return self.run("systemctl", "show", "--property=Version", check=False).returncode == 0

    def poweroff(self) -> None:
        """Shut it down as a user would, and wait for its end."""
        assert self._nspawn is not None
        self.run("systemctl", "poweroff", check=False)
        self._nspawn.wait(_END_S)
        self._nspawn = None

    def close(self) -> None:
        """End it at once, and leave nothing of it."""
        if self._nspawn is not None:
            self._nspawn.kill()
            self._nspawn.wait(_END_S)
        for path in (self.root, self.place / "machine"):
            subprocess.run(["umount", "--lazy", path], check=False)
        for group in self._groups():
            for below, _, _ in os.walk(group, topdown=False):
                eventually(partial(_removed, below), f"{below} is empty")
        with suppress(OSError):
            os.rmdir(f"/run/systemd/nspawn/propagate/{self._name}")

    @property
    def _name(self) -> str:
        return f"ipfsfs-{os.getpid()}"

    def _groups(self) -> list[Path]:
        """Its own control groups: two machines that are started from one would share those that they make."""
        return [group / f"{self._name}-machine" for group in _cgroups()]

    def run(
        self, *command: str | Path, check: bool = True, network: bool = False, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in it as root, with `network` in the network of this machine."""
        kinds = ["--mount", "--uts", "--ipc", "--pid", "--cgroup", *([] if network else ["--net"])]
        done = subprocess.run(
            ["nsenter", "--target", str(self._pid), *kinds, "--", *command],
            env={**_CLEAN, **environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert not check or done.returncode == 0, f"{command}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def shell(self, script: str, *, check: bool = True) -> str:
        """What a script of the shell prints, in the machine."""
        return self.run("sh", "-ec", script, check=check).stdout

    def install_units(self, *arguments: str | Path, checkout: Path = CHECKOUT) -> subprocess.CompletedProcess[str]:
        """Run `install-units --system`, with the packages that this machine has already been brought."""
        path = ":".join([*found_uv(), _CLEAN["PATH"]])
        command = checkout / "mount_scripts" / "install-units"
        return self.run(
            command, "--system", *arguments, check=False, network=True, PATH=path, HOME=os.path.expanduser("~"),
            UV_LINK_MODE="copy", **of_the_network(),
        )  # fmt: skip

    def mounted(self, path: Path) -> bool:
        """Whether a view is at the path, as its mount table says."""
        return any(
            line.split()[4] == str(path).replace(" ", "\\040") and " fuse.ipfsfs " in line
            for line in Path(f"/proc/{self._pid}/mountinfo").read_text().splitlines()
        )

    def journal(self, unit: str, *arguments: str) -> list[dict[str, Any]]:
        """The entries of a unit and those that systemd wrote about it, oldest first."""
        self.run("journalctl", "--sync", check=False)
        said = self.run("journalctl", "--output=json", "--all", "--unit", unit, *arguments, check=False).stdout
        return [json.loads(line) for line in said.splitlines()]


def found_uv() -> list[str]:
    """The directories where uv is that this checkout's environment was made with."""
    found = [str(path.parent) for path in Path(sys.prefix).parent.glob("*.uv/bin/uv")]
    return found + ([os.path.dirname(other)] if (other := shutil.which("uv")) else [])


def of_the_network() -> dict[str, str]:
    """The variables that say how packages are had here."""
    return {
        name: value
        for name, value in os.environ.items()
        if name.startswith(("UV_", "PIP_", "SSL_")) or "proxy" in name.lower()
    }


def _cgroups() -> list[Path]:
    """Our control groups in the hierarchies that systemd uses: the unified one, and where that is not the only one, its
    own."""
    ours = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        ours[controllers] = path.lstrip("/")
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        kind, *_, options = fields[fields.index("-") + 1 :]
        for name, matches in (("", kind == "cgroup2"), ("name=systemd", "name=systemd" in options.split(","))):
            if matches and name in ours:
                found.append(Path(fields[4]) / ours[name])
    return found


def _child(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def _removed(group: str) -> bool:
    try:
        os.rmdir(group)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


@contextmanager
def booted(place: Path) -> Iterator[Booted]:
    """A machine that is up."""
    machine = Booted.make(place)
    try:
        machine.boot()
        yield machine
    finally:
        machine.close()


def main() -> int:
    """Say whether a machine can be booted here."""
    reason = unable()
    if not reason:
        own_mounts()
        with tempfile.TemporaryDirectory(prefix="ipfsfs-machine-") as place:
            try:
                began = time.monotonic()
                with booted(Path(place)):
                    print(f"booted in {time.monotonic() - began:.1f} s")
            except (AssertionError, OSError, subprocess.SubprocessError) as error:
                reason = f"no machine boots in systemd-nspawn: {error}"
    if reason:
        print(reason, file=sys.stderr)
    return 1 if reason else 0


if __name__ == "__main__":
    sys.exit(main())
