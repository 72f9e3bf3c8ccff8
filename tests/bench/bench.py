"""One run of the benchmark: its places and clients, and how a row is measured in them, in turns."""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from tests.bench import caches, material, processes
from tests.bench.client import Client
from tests.bench.material import Scale
from tests.bench.places import Bare, Place, View
from tests.bench.row import BARE, PLAIN, VIEW, Done, Row
from tests.support.clients import Clients
from tests.support.hub import LocalHub

EXPIRED_S: Final = 1.1
"""After this the kernel trusts nothing any more that it was told to trust for a second."""
_QUIET_S: Final = 0.03
_QUIET_CPU_S: Final = 0.002
_PATIENCE_S: Final = 120.0

Seen = dict[str, float]
Watch = Callable[[Place], AbstractContextManager[Seen]]


@dataclass(frozen=True, slots=True)
class Sample:
    """What came of one measurement: the value in the line's unit, the amount done, and what was seen meanwhile."""

    line: str
    place: str
    round: int
    value: float
    amount: float
    seen: Seen


@contextmanager
def cpu_seconds(place: Place) -> Iterator[Seen]:
    """Sees the CPU time of the daemon, and of the processes beside it."""
    seen: Seen = {}
    if place.daemon is None:
        yield seen
        return
    daemon = processes.cpu_s(place.daemon)
    beside = {pid: processes.cpu_s(pid) for pid in place.sealers}
    yield seen
    seen["daemon"] = processes.cpu_s(place.daemon) - daemon
    seen["sealers"] = sum(max(0.0, processes.cpu_s(pid) - beside.get(pid, 0.0)) for pid in place.sealers)


class Bench:
    """Everything a run has, in a new directory below `within` (None: TMPDIR), gone when the `with` block ends.

    `arguments`: of the view's mount.
    """

    def __init__(
        self, within: Path | None, scale: Scale, watch: Watch = cpu_seconds, arguments: tuple[str, ...] = ()
    ) -> None:
        self._made = tempfile.TemporaryDirectory(prefix="ipfsfs-bench-", dir=within, ignore_cleanup_errors=True)
        self.directory = directory = Path(self._made.name).resolve()
        self.scale = scale
        self.watch = watch
        self.samples: list[Sample] = []
        self.places: dict[str, Place] = {
            PLAIN: Place(directory / "plain"),
            BARE: Bare(directory / "bare"),
            VIEW: View(directory / "ipfsfs", arguments),
        }
        self.scratch = directory / "scratch"
        self._clients: dict[tuple[str, Callable[[], None] | None], Client] = {}
        self._ending = ExitStack()

    def __enter__(self) -> Bench:
        self._ending.enter_context(self._made)
        for place in self.places.values():
            place.plain.mkdir()
            self.closing(place)
        self.scratch.mkdir()
        self._ending.callback(self._close_clients)
        return self

    def __exit__(self, *_: object) -> None:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))  # a second Ctrl-C waits
        self._ending.close()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def closing(self, place: Place) -> None:
        """Have a place closed at the end, whatever happens."""
        self._ending.callback(place.close)

    @cached_property
    def hub(self) -> LocalHub:
        """A local Hub, in a process of its own."""
        return self._ending.enter_context(material.hub(self.scratch / "hub"))

    def environment(self, place: Place) -> dict[str, str]:
        """What a client in a place is given. Its HF_HOME is the place."""
        url = self.hub.url if "hub" in self.__dict__ else "http://127.0.0.1:9"
        return Clients(place.root, url, self.scratch).environment()

    def client(self, place: Place, ready: Callable[[], None] | None) -> Client:
        """The client in a place that has made itself `ready`; started where there is none, in all places at once."""
        if (place.name, ready) not in self._clients:
            for each in self.places.values():
                if (each.name, ready) not in self._clients:
                    self._clients[each.name, ready] = Client(self.environment(each), self.scratch, ready)
        return self._clients[place.name, ready]

    def prepare(self, rows: Sequence[Row]) -> None:
        """Fill the places with what the rows need, the same in each; mount, and seal everything."""
        for need in dict.fromkeys(need for row in rows for need in row.needs):
            say(f"making: {need}")
            material.MAKERS[need](self)
        plain = self.places[PLAIN]
        for place in self.places.values():
            if place is not plain:
                material.copy_tree(plain.plain, place.plain)
        caches.write_back(self.directory)
        for place in self.places.values():
            place.mount()
        view = self.places[VIEW]
        assert isinstance(view, View)
        say("sealing everything")
        view.seal()
        self.quiet()

    def quiet(self) -> None:
        """Wait until nothing goes on behind the requests in any place. Raises RuntimeError where that does not come."""
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            if any(place.busy for place in self.places.values()):
                time.sleep(0.05)
                continue
            before = self._cpu_s()
            time.sleep(_QUIET_S)
            if self._cpu_s() - before < _QUIET_CPU_S:
                return
        raise RuntimeError("it does not become quiet behind the requests")

    def run(self, row: Row, rounds: int, names: Sequence[str] = ()) -> None:
        """Measure a row in each of its places, or in those named, in turns; each round begins with another."""
        names = names or row.places
        for number in range(min(rounds, row.rounds_most or rounds)):
            first = number % len(names)
            for name in (*names[first:], *names[:first]):
                row.measure(At(self, self.places[name], row, number))

    def _cpu_s(self) -> float:
        pids = [pid for place in self.places.values() if place.daemon for pid in (place.daemon, *place.sealers)]
        return sum(processes.cpu_s(pid) for pid in pids)

    def _close_clients(self) -> None:
        for client in self._clients.values():
            client.close()


@dataclass(frozen=True, slots=True)
class At:
    """A row as it is measured in one place in one round."""

    bench: Bench
    place: Place
    row: Row
    round: int

    @property
    def root(self) -> Path:
        """Where clients look."""
        return self.place.root

    @property
    def scale(self) -> Scale:
        return self.bench.scale

    def run(self, function: Callable[..., Any], *arguments: Any, ready: Callable[[], None] | None = None) -> Any:
        """Run a function in a fresh process in this place, unmeasured."""
        return self.bench.client(self.place, ready).run(function, *arguments)

    def timed(
        self, line: str, function: Callable[..., Done], *arguments: Any, ready: Callable[[], None] | None = None
    ) -> None:
        """Run a function in a fresh process in this place, while nothing else goes on, and keep what it answers."""
        client = self.bench.client(self.place, ready)
        client.wait_until_ready()
        self.bench.quiet()
        with self.bench.watch(self.place) as seen:
            done = client.run(function, *arguments)
        self.record(line, done, seen)

    def record(self, line: str, done: Done, seen: Seen | None = None) -> None:
        """Keep a measurement."""
        unit = next(each.unit for each in self.row.lines if each.name == line)
        value = unit.of(done)
        self.bench.samples.append(Sample(line, self.place.name, self.round, value, done[1], seen or {}))

    def expire(self) -> None:
        """Wait until the kernel has to ask again for what it may trust for a second only."""
        time.sleep(EXPIRED_S)

    def written_back(self) -> None:
        """Wait until nothing that was written before is still on its way to the disk."""
        caches.write_back(self.bench.directory)


def say(text: str) -> None:
    """Tell whoever waits what goes on."""
    print(text, file=sys.stderr, flush=True)
