"""Machines that share: computers of their own on one wire, each with its cache and its clients, and one Hub for all.

Everything is on this computer, in namespaces (`tests.support.namespaces`): the wire is a bridge in a network of its own
that leads nowhere else, so that several sites may be there at once, with the same addresses.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.support.clients import ROOT, Clients
from tests.support.hub import LocalHub
from tests.support.machine_view import MachineView
from tests.support.namespaces import Computer, ip
from tests.support.processes import eventually, parent

_HUB: Final = "10.77.0.1"
_FIRST_MACHINE: Final = 10
_BURST: Final = 256 * 1024
"""Bytes that a link which is limited carries at once: more than what the kernel sends as one (64 KiB)."""


@dataclass(slots=True)
class Wire:
    """What joins the computers of a site: a bridge in a network of its own, and a link from it to each of them."""

    computer: Computer
    _ended: ExitStack
    _relays: dict[str, subprocess.Popen[str]] = field(default_factory=dict)

    @classmethod
    def make(cls, ended: ExitStack) -> Wire:
        """`ended`: what it needs ends with that."""
        computer = Computer.start("wire")
        ended.callback(computer.end)
        ip(computer.pid, "link", "add", "wire", "type", "bridge")
        ip(computer.pid, "link", "set", "wire", "up")
        return cls(computer, ended)

    def join(self, computer: Computer, address: str) -> None:
        """Give a computer a link, `eth0` on its side, that is as quick as this machine."""
        name = f"to-{computer.name}"
        ip(self.computer.pid, "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", computer.pid)
        self._up(computer, address)

    def rejoin_badly(
        self, computer: Computer, address: str, *, delay_s: float = 0.0, loss: float = 0.0, rate: int = 0
    ) -> None:
        """Put a link in the place of a computer's that delays each frame, loses some of them, and carries so many bytes
        a second, either way."""
        self._cut(computer)
        name = f"to-{computer.name}"
        relay = subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.support.bad_link", str(self.computer.pid), name),
                *(str(computer.pid), "eth0", str(delay_s), str(loss), str(rate)),
            ],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._relays[computer.name] = relay
        self._ended.callback(self._stop, relay)
        assert relay.stdout is not None
        assert relay.stdout.readline(), "no link was made"
        self._up(computer, address)

    def limit(self, computer: Computer, rate: int) -> None:
        """Have a computer's link carry so many bytes a second, either way; 0 for as many as it can."""
        name = f"to-{computer.name}"
        for pid, device in ((self.computer.pid, name), (computer.pid, "eth0")):
            if rate:
                words = ("root", "tbf", "rate", f"{rate * 8}bit", "burst", _BURST, "latency", "50ms")
                ip(pid, "qdisc", "replace", "dev", device, *words, kind=("tc",))
            else:
                ip(pid, "qdisc", "del", "dev", device, "root", kind=("tc",))

    def cut_off(self, computer: Computer) -> None:
        """Have a computer reach no other, which none is told: what they send each other is lost."""
        ip(self.computer.pid, "link", "set", f"to-{computer.name}", "nomaster")

    def connect(self, computer: Computer) -> None:
        """Mend what `cut_off` did."""
        ip(self.computer.pid, "link", "set", f"to-{computer.name}", "master", "wire")

    def _up(self, computer: Computer, address: str) -> None:
        name = f"to-{computer.name}"
        ip(self.computer.pid, "link", "set", name, "master", "wire", "up")
        ip(computer.pid, "address", "add", f"{address}/24", "dev", "eth0")
        ip(computer.pid, "link", "set", "eth0", "up")

    def _cut(self, computer: Computer) -> None:
        relay = self._relays.pop(computer.name, None)
        if relay is None:
            ip(self.computer.pid, "link", "del", f"to-{computer.name}")
        else:
            self._stop(relay)

    @staticmethod
    def _stop(relay: subprocess.Popen[str]) -> None:
        for stream in (relay.stdin, relay.stdout):
            assert stream is not None
            stream.close()
        relay.wait(timeout=10)


@dataclass(slots=True)
class Machine:
    """A machine of a site. `home`: its `HF_HOME`, where a view is mounted if one is; `address`: where others reach it.

    `expect_logged`: patterns of warnings and errors of its daemon that a test causes on purpose."""

    site: Site = field(repr=False)
    computer: Computer
    address: str
    directory: Path
    expect_logged: list[str] = field(default_factory=list)
    is_off: bool = False

    @property
    def home(self) -> Path:
        """Where its cache is."""
        return self.directory / "huggingface"

    @property
    def clients(self) -> Clients:
        """Real clients that run there, with the site's Hub."""
        return Clients(self.home, self.site.hub.url, self.directory, enter=self._enter)

    @property
    def view(self) -> MachineView:
        """The view over its cache, mounted or not."""
        return MachineView(self)

    def _enter(self, directory: Path) -> list[str]:
        return self.computer.entered(directory=directory)

    def seen(self, path: Path) -> Path:
        """The path by which this process sees what is at a path there: what is mounted there is not mounted here."""
        return Path(f"/proc/{self.computer.pid}/root") / path.relative_to("/")

    def environment(self, **extra: str) -> dict[str, str]:
        """What its programs have in their environment: nothing of its state lies where that of other machines does."""
        state = str(self.directory / "state")
        own = {"XDG_STATE_HOME": state, "XDG_CONFIG_HOME": state, "XDG_CONFIG_DIRS": state, "XDG_RUNTIME_DIR": state}
        return self.clients.environment(**own, **extra)

    def popen(self, *command: str | Path, **options: Any) -> subprocess.Popen[str]:
        """Start a program there, in a group of processes of its own, which takes signals (`interrupt`)."""
        options.setdefault("env", self.environment())
        return subprocess.Popen(
            self.computer.entered(*command, directory=self.directory),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            **options,
        )

    def run(
        self, *command: str | Path, check: bool = True, timeout: float = 120, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a program there to its end; with `check`, its failing fails the test with all it said."""
        with self.popen(*command, **options) as process:
            try:
                out, err = process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                kill(process)
                out, err = process.communicate()
                raise AssertionError(f"{command} on {self.computer.name}: not in {timeout} s\n{out}\n{err}") from None
        if check and process.returncode != 0:
            raise AssertionError(f"{command} on {self.computer.name}: exit {process.returncode}\n{out}\n{err}")
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def pause(self) -> None:
        """Stop all that runs there, as a computer that was put to sleep."""
        for pid in self.computer.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Mend what `pause` did."""
        inside = self.computer.processes()
        # nsenter(1), which started them, stops when they do.
        outside = {parent(pid) for pid in inside} - {0, os.getpid(), self.computer.pid, *inside}
        for pid in (*inside, *outside):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL all that runs there; the computer itself and its mounts stay."""
        for pid in self.computer.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def power_off(self) -> None:
        """End the computer, as when its current goes: others are told nothing."""
        self.is_off = True
        self.computer.end()

    def move(self, address: str) -> None:
        """Have it under another address from now on, as after a new lease of DHCP."""
        ip(self.computer.pid, "address", "flush", "dev", "eth0")
        ip(self.computer.pid, "address", "add", f"{address}/24", "dev", "eth0")
        self.address = address

    def disk(self) -> int:
        """The bytes of disk that its cache and its store take, without a view."""
        return sum(
            os.lstat(os.path.join(where, name)).st_blocks * 512
            for top in (self.home, self.view.store)
            for where, _, names in os.walk(top)
            for name in names
        )


@dataclass(slots=True)
class Site:
    """Machines on one wire, and their Hub."""

    root: Path
    wire: Wire
    hub: LocalHub
    machines: list[Machine] = field(default_factory=list)

    @classmethod
    @contextmanager
    def make(cls, root: Path, count: int) -> Iterator[Site]:
        """A site whose files are below a directory; all of it is gone after the block."""
        with ExitStack() as ended:
            wire = Wire.make(ended)
            apart = Computer.start("hub")
            ended.callback(apart.end)
            wire.join(apart, _HUB)
            site = cls(root, wire, ended.enter_context(LocalHub(root / "hub", apart, _HUB)))
            ended.callback(site._end)
            for _ in range(count):
                site.add()
            yield site

    def add(self) -> Machine:
        """One machine more."""
        number = len(self.machines) + 1
        computer = Computer.start(f"m{number}")
        directory = self.root / computer.name
        machine = Machine(self, computer, f"10.77.0.{_FIRST_MACHINE + number}", directory)
        self.machines.append(machine)
        for made in (machine.home, directory / "state"):
            made.mkdir(parents=True)
        self.wire.join(computer, machine.address)
        return machine

    def from_hub(self, repo_id: str = "", *, kind: str = "models") -> dict[str, Counter[str]]:
        """The bytes of content that each machine, by its name, had from the Hub, by the path of the file."""
        names = {machine.address: machine.computer.name for machine in self.machines}
        found: dict[str, Counter[str]] = {name: Counter() for name in names.values()}
        for (client, name), count in self.hub.sent().items():
            prefix = f"{kind}/{repo_id}/" if repo_id else ""
            if client in names and name.startswith(prefix):
                found[names[client]][name.removeprefix(prefix)] += count
        return found

    def taken(self, repo_id: str, *, kind: str = "models") -> int:
        """The bytes of content that all machines had from the Hub."""
        return sum(sum(files.values()) for files in self.from_hub(repo_id, kind=kind).values())

    def _end(self) -> None:
        for machine in self.machines:
            if not machine.is_off:
                machine.power_off()
            for place in (machine.home, machine.view.store):
                shutil.rmtree(place, ignore_errors=True)


def kill(process: subprocess.Popen[str], with_: int = signal.SIGKILL) -> None:
    """Send a signal to all that `Machine.popen` started with one program. One of SIGINT is Ctrl-C."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, with_)


def at_once(starts: list[Callable[[], subprocess.Popen[str]]], within_s: float = 240.0) -> list[str]:
    """Start programs at once and wait for all; returns what each wrote. Fails the test where one of them fails."""
    running = [start() for start in starts]
    try:
        said = [process.communicate(timeout=within_s) for process in running]
    finally:
        for process in running:
            if process.poll() is None:
                kill(process)
                process.communicate()
    for process, (out, err) in zip(running, said, strict=True):
        assert process.returncode == 0, f"{process.args!r} ended with {process.returncode}:\n{out}{err}"
    return [out for out, _ in said]


def gone(computer: Computer) -> None:
    """Return when no process of a computer is left."""
    eventually(lambda: not os.path.exists(f"/proc/{computer.pid}"), f"{computer.name} is off")
