"""SIGKILL of the daemon at random moments, under real clients that outlive it: what they acknowledged is there."""

from __future__ import annotations

import json
import os
import random
import select
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.crash import repository
from tests.crash.client_model import Derived, Model, Operation
from tests.support.clients import Clients
from tests.support.hub import LocalHub
from tests.support.mounted import Mounted

pytestmark = pytest.mark.workers

KILLS = int(os.environ.get("IPFSFS_KILLS", "1000"))
STARTS_S = 120.0
STANDS_STILL_S = 30.0
RATE = 20_000_000  # bytes/s of the first shard, so that downloads take long enough to be killed in


@dataclass(slots=True)
class Worker:
    """A process of `tests/crash/client.py`, which is started anew when a mapping of the dead view has ended it."""

    number: int
    model: Model
    dataset: Model
    derived: Derived
    transcript: Path
    start: Callable[[], subprocess.Popen[bytes]]
    process: subprocess.Popen[bytes] = field(init=False)
    under_way: Operation | None = None
    said: bytes = b""

    def __post_init__(self) -> None:
        self.process = self.start()

    def model_of(self, one: Operation) -> Model:
        return self.dataset if one.what in ("map", "clear") else self.model

    def wait_until_it_works(self) -> None:
        """It has begun with something."""
        assert self.process.stdout is not None
        assert select.select([self.process.stdout], [], [], STARTS_S)[0], f"worker {self.number} does not begin"

    def stand_still(self) -> None:
        """Stop every thread of it, or find that it has ended."""
        self.process.send_signal(signal.SIGSTOP)
        if self.process.returncode is not None:  # it has ended, and was waited for just now
            return
        deadline = time.monotonic() + STANDS_STILL_S
        options = os.WSTOPPED | os.WEXITED | os.WNOHANG
        while (state := os.waitid(os.P_PID, self.process.pid, options | os.WNOWAIT)) is None:
            assert time.monotonic() < deadline, f"worker {self.number} does not stop"
            time.sleep(0.001)
        if state.si_code == os.CLD_STOPPED:
            os.waitid(os.P_PID, self.process.pid, os.WSTOPPED)  # or the next time would see this one

    def listen(self) -> tuple[list[Operation], list[str]]:
        """What it has said since the last time: operations that have ended, and what was wrong."""
        assert self.process.stdout is not None
        pipe = self.process.stdout.fileno()
        os.set_blocking(pipe, False)
        with self.transcript.open("ab") as transcript:
            while more := _read(pipe):
                self.said += more
                transcript.write(more)
        *lines, self.said = self.said.split(b"\n")
        ended, wrong = [], []
        for line in lines:
            word, at, *words = json.loads(line)
            if word == "wrong":
                wrong.append(words[0])
            elif word == "replacing":
                self.derived.files.clear()
            elif word == "begin":
                self.under_way = Operation(self.number, words[0], at)
                self.model_of(self.under_way).operations.append(self.under_way)
                self.derived.note(self.under_way)
            else:
                assert self.under_way is not None
                if word == "done":
                    self.under_way.done, self.under_way.facts = True, words[0]
                else:
                    self.under_way.missing, self.under_way.reason = words
                ended.append(self._end(at))
        return ended, wrong

    def start_again(self) -> Operation | None:
        """After its end, which must be that of a mapping of the dead view; what it was at then."""
        assert self.process.wait() == -signal.SIGBUS
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.process, self.said = self.start(), b""
        if self.under_way is None:
            return None
        self.under_way.reason = "SIGBUS"
        return self._end(time.monotonic())

    def _end(self, at: float) -> Operation:
        assert self.under_way is not None
        one, self.under_way = self.under_way, None
        one.ended = at
        self.derived.note(one)
        return one


def _read(pipe: int) -> bytes:
    try:
        return os.read(pipe, 1 << 16)
    except BlockingIOError:
        return b""


@dataclass(slots=True)
class Crew:
    """All workers of one mount, and what became of what they did."""

    mount: Mounted
    workers: list[Worker]
    switches: list[tuple[float, float]] = field(default_factory=list)
    acknowledged: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    known: Counter[str] = field(default_factory=Counter)
    killed_in: Counter[str] = field(default_factory=Counter)
    restarts: int = 0

    @property
    def models(self) -> list[Model]:
        return list({id(one): one for worker in self.workers for one in (worker.model, worker.dataset)}.values())

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """Nobody does anything while the block runs, and all that was said has been heard and judged."""
        for worker in self.workers:
            worker.stand_still()
        ended, wrong = list[tuple[Model, Operation]](), list[str]()
        for worker in self.workers:
            operations, read = worker.listen()
            wrong += read
            if worker.process.poll() is not None:
                lost = worker.start_again()
                self.restarts += 1
                operations += [lost] if lost else []
            ended += [(worker.model_of(one), one) for one in operations]
        every = [one for model in self.models for one in model.operations]
        for model, one in ended:
            (self.acknowledged if one.done else self.failed)[one.what] += 1
            if not one.done and (said := model.unexplained(one, self.switches, every)):
                wrong.append(said)
        assert wrong == []
        yield
        for model in self.models:
            model.forget()
        for worker in self.workers:
            worker.process.send_signal(signal.SIGCONT)

    def look(self, where: str) -> None:
        """Everything that was acknowledged is there, right, and nothing else; through the path, whatever it shows."""
        with self.standing_still():
            self._compare(where)

    def _compare(self, where: str) -> None:
        found = [said for model in self.models for said in model.differences()]
        found += [said for worker in self.workers for said in worker.derived.differences()]
        assert found == [], where
        self.known.update(f"{model.folder.name} {model.known()}" for model in self.models)
        self.known["Arrow files"] += sum(len(worker.derived.files) for worker in self.workers)

    def mount_again(self) -> None:
        """Mount, under workers that go on."""
        began = time.monotonic()
        self.mount.mount()
        self.switches.append((began, time.monotonic()))

    def kill(self) -> float:
        """Kill the daemon and look at plain disk; returns how long the path was not plain."""
        began = time.monotonic()
        took = self.mount.kill()
        self.switches.append((began, time.monotonic()))
        with self.standing_still():
            for model in self.models:
                self.killed_in.update(one.what for one in model.operations if one.begun < began < one.ended)
            self._compare("on plain disk, right after the kill")
        return took


def _rounds(crew: Crew, count: int, seed: int) -> None:
    chance = random.Random(seed)
    slowest = 0.0
    for worker in crew.workers:
        worker.wait_until_it_works()
    for number in range(count):
        if not crew.mount.mounted:
            crew.mount_again()
        time.sleep(chance.uniform(0.0, 0.5))
        crew.look("through the view")
        time.sleep(chance.uniform(0.0, 0.5))
        slowest = max(slowest, crew.kill())
        if (number + 1) % 50 == 0:
            print(f"{number + 1} kills", flush=True)
    crew.mount_again()
    crew.look("through the last view")
    print(
        f"{count} kills, 0 lost, 0 wrong, plain again within {slowest:.2f} s\nacknowledged: {dict(crew.acknowledged)}, "
        f"killed in: {dict(crew.killed_in)}, failed: {dict(crew.failed)}, workers ended by SIGBUS: {crew.restarts}, "
        f"known when looked at: {dict(crew.known)}"
    )
    assert all(crew.acknowledged[what] for what in ("download", "load", "map", "delete"))


@pytest.fixture
def crew(mounted: Callable[..., Mounted], tmp_path: Path) -> Iterator[Crew]:
    """One worker with a model of its own, two that share one, and a dataset for each."""
    home, scratch = tmp_path / "home", tmp_path / "scratch"
    home.mkdir()
    scratch.mkdir()
    with LocalHub(tmp_path / "hub") as hub:
        alone, shared = (_publish(hub, home, repo_id, "models") for repo_id in ("tests/alone", "tests/shared"))
        # Workers go on while the path is mounted: they are the outsiders that mount names.
        mount = mounted(home, "--force")
        clients = Clients(home, hub.url, scratch)
        workers = [
            _worker(number, model, hub, clients, tmp_path / f"worker{number}")
            for number, model in enumerate([alone, shared, shared])
        ]
        try:
            yield Crew(mount, workers)
        finally:
            for worker in workers:
                worker.process.kill()
                worker.process.wait()
                assert worker.process.stdout is not None
                worker.process.stdout.close()


def _publish(hub: LocalHub, home: Path, repo_id: str, kind: str) -> Model:
    files = repository.model(repo_id) if kind == "models" else repository.dataset(repo_id)
    commit = hub.add(repo_id, files, kind=kind)
    for shard in list(repository.SHARDS)[:1] if kind == "models" else []:
        hub.spoil(repo_id, shard, rate=RATE)
    etags = {name: file.etag for name, file in hub.files(repo_id, kind=kind).items()}
    return Model(home / "hub" / f"{kind}--{repo_id.replace('/', '--')}", commit, files, etags)


def _worker(number: int, model: Model, hub: LocalHub, clients: Clients, notes: Path) -> Worker:
    repo_id = f"tests/rows{number}"
    dataset = _publish(hub, clients.home, repo_id, "datasets")
    derived = Derived(clients.home / "datasets" / repo_id.replace("/", "___"), repo_id)
    model_id = model.folder.name.removeprefix("models--").replace("--", "/")

    def start() -> subprocess.Popen[bytes]:
        with notes.with_suffix(".log").open("ab") as errors:
            return subprocess.Popen(
                [
                    "nice",
                    "-n",
                    "15",
                    sys.executable,
                    "-m",
                    "tests.crash.client",
                    model_id,
                    repo_id,
                    str(time.monotonic_ns()),
                ],
                cwd=clients.scratch,
                env=clients.environment(USE_TORCH="0"),  # for map it would be imported, and used for nothing
                stdout=subprocess.PIPE,
                stderr=errors,
            )

    return Worker(number, model, dataset, derived, notes.with_suffix(".said"), start)


def test_nothing_that_clients_acknowledged_is_lost(crew: Crew) -> None:
    """A few kills; the campaign below makes a thousand."""
    _rounds(crew, 5, seed=1)


@pytest.mark.campaign
@pytest.mark.timeout(10_800)
def test_nothing_that_clients_acknowledged_is_lost_in_a_thousand_kills(crew: Crew) -> None:
    """IPFSFS_KILLS says how many."""
    _rounds(crew, KILLS, seed=int(time.time()))
