"""The units under a real systemd: start, stop, restart, and ends that nobody asked for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.booted import CHECKOUT, Booted
from tests.support.processes import eventually
from tests.support.view_unit import ViewUnit

pytestmark = [pytest.mark.root, pytest.mark.systemd]


def test_a_start_mounts_and_a_stop_gives_the_path_back_without_a_word_of_trouble(unit: ViewUnit) -> None:
    unit.do("start")
    assert unit.mounted
    assert unit.reads()
    unit.do("stop")
    assert (unit.state, unit.mounted, unit.reads()) == (("inactive", "success"), False, True)
    assert unit.said("--priority=warning") == ""
    assert "Killing process" not in unit.said()


def test_a_service_has_no_home_and_its_checkout_cannot_be_written(machine: Booted, unit: ViewUnit) -> None:
    assert machine.run("touch", CHECKOUT / "file", check=False).returncode != 0
    unit.do("start")
    environ = machine.shell(f"tr '\\0' '\\n' </proc/{unit.pid}/environ").splitlines()
    assert not [line for line in environ if line.startswith("HOME=")]
    assert unit.mounted
    assert "installing" not in unit.said()


def test_what_is_open_when_a_view_is_stopped_is_served_as_long_as_the_unit_allows(unit: ViewUnit) -> None:
    unit.do("start")
    saved = unit.start_user("slow-saver", after="basic.target", saves_s=5.5)
    unit.machine.run("systemctl", "stop", "--no-block", "slow-saver")
    stop = threading.Thread(target=unit.do, args=("stop",))
    stop.start()
    eventually(lambda: not unit.mounted, "the path is given back at once", 2.0)
    assert unit.reads()
    stop.join()
    assert saved.read_text() == "saved\n"
    assert unit.state == ("inactive", "success")


def test_who_keeps_a_file_open_for_ever_does_not_make_a_stop_fail(unit: ViewUnit) -> None:
    unit.add(TimeoutStopSec="3")
    unit.do("start")
    unit.start_user("keeper", after="basic.target", saves_s=0)
    unit.do("stop")
    assert unit.state == ("inactive", "success")
    assert "their users lose them now" in unit.said("--priority=warning")
    unit.machine.run("systemctl", "stop", "keeper", check=False)


def test_a_restart_ends_with_another_daemon_and_the_view(unit: ViewUnit) -> None:
    unit.do("start")
    before = unit.pid
    unit.do("restart")
    assert unit.pid != before
    assert (unit.mounted, unit.reads()) == (True, True)


def test_a_daemon_that_is_killed_is_started_again(unit: ViewUnit) -> None:
    unit.do("start")
    killed = unit.pid
    unit.do("kill", "--kill-whom=main", "--signal=KILL")
    eventually(lambda: unit.pid not in (0, killed) and unit.state[0] == "active", "it is started again")
    assert (unit.mounted, unit.reads()) == (True, True)


def test_h04_after_a_kill_of_all_its_processes_the_path_is_plain_without_python(unit: ViewUnit) -> None:
    """As where there is too little memory for another interpreter: what gives the path back is small."""
    unit.add(Restart="no")
    unit.do("start")
    with no_environment(unit.machine):
        unit.do("kill", "--kill-whom=all", "--signal=KILL")
        eventually(lambda: unit.show("ActiveState") == "failed", "systemd has done what it does after a stop")
        assert (unit.mounted, unit.reads()) == (False, True)


@contextmanager
def no_environment(machine: Booted) -> Iterator[None]:
    """The packages of the daemon are out of reach, for one that is to be started."""
    place = "/var/lib/ipfsfs"
    machine.run("mv", place, place + ".away")
    try:
        yield
    finally:
        machine.run("mv", place + ".away", place)
