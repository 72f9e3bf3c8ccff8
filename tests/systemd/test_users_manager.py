"""The unit of one user, in that user's own manager, as the README has it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.booted import Booted
from tests.support.processes import eventually
from tests.support.users_manager import UsersManager

pytestmark = [pytest.mark.root, pytest.mark.systemd]
UNIT = "ipfsfs.service"


@pytest.fixture(scope="module")
def user(machine: Booted) -> Iterator[UsersManager]:
    made = UsersManager.start(machine)
    try:
        made.install_units()
        made.do("daemon-reload")
        yield made
    finally:
        made.end()


def test_a_users_view_is_there_from_start_to_stop(user: UsersManager) -> None:
    user.do("enable", "--now", UNIT)
    assert user.machine.mounted(user.cache)
    assert user.reads()
    user.do("stop", UNIT)
    assert not user.machine.mounted(user.cache)
    assert user.reads()
    assert user.do("show", "--property=Result", "--value", UNIT) == "success"


def test_h04_a_users_daemon_that_is_killed_is_started_again(user: UsersManager) -> None:
    user.do("start", UNIT)
    killed = user.pid(UNIT)
    user.do("kill", "--kill-whom=all", "--signal=KILL", UNIT)
    eventually(lambda: user.pid(UNIT) not in (0, killed) and user.machine.mounted(user.cache), "it is started again")
    assert user.reads()
    user.do("stop", UNIT)


def test_a_users_units_are_removed_and_the_files_stay(user: UsersManager) -> None:
    user.do("start", UNIT)
    user.install_units("--remove")
    assert not user.machine.mounted(user.cache)
    assert user.reads()
    assert user.do("is-enabled", UNIT, check=False) != "enabled"
    left = user.run("find", "/home/worker/.config", "-name", "*systemd*", "-o", "-name", "*ipfsfs*").stdout
    assert left == ""
