"""The machines of these tests themselves, with plain directories: what the others measure by."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.site.downloads import download
from tests.support.llama import Llama
from tests.support.machines import Machine, Site, at_once, kill
from tests.support.namespaces import Computer
from tests.support.processes import eventually

pytestmark = [pytest.mark.root, pytest.mark.workers]


def test_each_plain_download_is_counted_by_machine_and_file(site: Callable[[int], Site], small: Llama) -> None:
    """Three machines that share nothing take the model three times, each under its own name."""
    here = site(3)
    here.hub.add_folder("org/small", small.folder)
    at_once([lambda m=m: m.popen(*download("org/small")) for m in here.machines])  # type: ignore[misc]

    taken = here.from_hub("org/small")

    sizes = {path.name: path.stat().st_size for path in small.folder.iterdir()}
    assert {name: dict(files) for name, files in taken.items()} == {f"m{number}": sizes for number in (1, 2, 3)}
    assert here.taken("org/small") == 3 * small.size
    for machine in here.machines:
        assert small.size <= machine.disk() <= 1.02 * small.size + 100_000


def took(machine: Machine, repo_id: str) -> float:
    began = time.monotonic()
    machine.run(*download(repo_id))
    return time.monotonic() - began


def test_rates_hold(site: Callable[[int], Site], small: Llama) -> None:
    """A limit of the Hub for each, one for all, and one of a machine's link."""
    here = site(2)
    first, second = here.machines
    for name in "abc":
        here.hub.add(f"org/{name}", {f"{name}.bin": os.urandom(8_000_000)})

    here.hub.limit(each=4_000_000)
    each = took(first, "org/a")
    here.hub.limit(all_=4_000_000)
    began = time.monotonic()
    at_once([lambda m=m: m.popen(*download("org/b")) for m in here.machines])  # type: ignore[misc]
    together = time.monotonic() - began
    here.hub.limit()
    here.wire.limit(second.computer, 4_000_000)
    linked = took(second, "org/c")
    here.wire.limit(second.computer, 0)

    assert 2.0 <= each < 5.0
    assert 4.0 <= together < 7.0
    assert 1.9 <= linked < 5.0


def test_a_bad_link_delays_and_loses(site: Callable[[int], Site]) -> None:
    """Both ways have the delay, and TCP is as slow as loss makes it."""
    here = site(1)
    (machine,) = here.machines
    here.hub.add("org/a", {"a.bin": os.urandom(2_000_000)})
    quick = took(machine, "org/a")
    here.wire.rejoin_badly(machine.computer, machine.address, delay_s=0.025, loss=0.01)
    ask = (
        "import socket, sys, time; t = time.monotonic(); "
        "socket.create_connection((sys.argv[1], int(sys.argv[2]))); print(time.monotonic() - t)"
    )
    host, port = here.hub.url.removeprefix("http://").split(":")
    trips = [float(machine.run(sys.executable, "-c", ask, host, port).stdout) for _ in range(3)]
    here.hub.add("org/b", {"b.bin": os.urandom(2_000_000)})
    slow = took(machine, "org/b")

    assert 0.05 <= min(trips) < 0.08
    assert slow > quick + 0.5  # several round trips before a byte, and a window that loss keeps small


def test_a_machine_is_cut_off_moves_and_pauses(site: Callable[[int], Site]) -> None:
    here = site(2)
    first, second = here.machines
    script = """
import socketserver
class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.sendall(b"here")
socketserver.TCPServer(("", 99), Handler).serve_forever()
"""
    ask = "import socket, sys; s = socket.create_connection((sys.argv[1], 99), 0.5); print(s.recv(4))"

    def answers() -> bool:
        return second.run(sys.executable, "-c", ask, first.address, check=False).returncode == 0

    serving = first.popen(sys.executable, "-c", script)
    eventually(answers, "the other machine is reached")
    here.wire.cut_off(first.computer)
    assert not answers()
    here.wire.connect(first.computer)
    assert answers()
    first.pause()
    assert not answers()
    first.go_on()
    assert answers()
    first.move("10.77.0.99")
    eventually(answers, "it is reached under its new address", within_s=10)
    kill(serving, signal.SIGTERM)
    serving.communicate()
    assert not answers()


def test_nothing_is_left_of_a_site(tmp_path: Path) -> None:
    """Neither a process, nor an interface, nor a mount, also of a machine that was in the middle of something."""
    with Site.make(tmp_path / "site", 2) as here:
        computers: list[Computer] = [here.wire.computer, *(machine.computer for machine in here.machines)]
        first = here.machines[0]
        first.view.mount()
        assert (first.seen(first.home) / ".").is_dir()
        assert os.stat(first.seen(first.home)).st_dev != os.stat(first.home).st_dev
        running = first.popen("sleep", "1000")
        here.wire.rejoin_badly(first.computer, first.address, delay_s=0.01)
        pids = [pid for computer in computers for pid in (computer.pid, *computer.processes())]
        first.power_off()
        running.communicate()
    eventually(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids), "all processes are gone", 5)
    assert not (tmp_path / "site" / "m1" / "huggingface").exists()
