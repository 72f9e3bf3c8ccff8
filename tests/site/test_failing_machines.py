"""A machine that fails while others have a model from it, or wait for it: every load ends right."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import pytest

from tests.site.downloads import download
from tests.site.sharing import REPO, announced, end, have, holds, share_all, sharing
from tests.support.llama import Llama
from tests.support.machines import Machine, Site, kill
from tests.support.processes import eventually

pytestmark = [pytest.mark.root, pytest.mark.workers]

MB = 1_000_000


def _killed(site: Site, machine: Machine) -> None:
    machine.kill()


def _off(site: Site, machine: Machine) -> None:
    machine.power_off()


def _paused(site: Site, machine: Machine) -> None:
    machine.pause()


def _cut_off(site: Site, machine: Machine) -> None:
    site.wire.cut_off(machine.computer)


# What the Hub has sent to a machine that is paused lies in buffers, and counts: on a busy machine, nearly a model.
_QUIETLY_PAUSED: Final = pytest.param(_paused, marks=pytest.mark.campaign)


@pytest.mark.parametrize("failing", [_killed, _off, _QUIETLY_PAUSED, _cut_off])
def test_h46_the_first_fails_in_the_middle_of_its_download(
    site: Callable[[int], Site], small: Llama, failing: Callable[[Site, Machine], None]
) -> None:
    """Others that wait for it take the download over, one of them."""
    here = sharing(site(3), small)
    first, second, third = here.machines
    here.hub.limit(each=10 * MB)
    leading = first.popen(*download(REPO))
    eventually(lambda: here.taken(REPO) > small.size / 4, "the first is in the middle")
    following = [machine.popen(*download(REPO)) for machine in (second, third)]
    eventually(lambda: here.taken(REPO) > small.size / 2, "the others have begun")
    failing(here, first)
    began = time.monotonic()

    for process in following:
        out, err = process.communicate(timeout=100)
        assert process.returncode == 0, out + err

    took = time.monotonic() - began
    taken = here.taken(REPO)
    print(f"{failing.__name__}: {took:.1f} s after that, {taken / small.size:.2f} times the model")
    for machine in (second, third):
        holds(machine, small)
    assert taken <= 2.1 * small.size
    assert took < 30
    if failing is _paused:
        first.go_on()
    kill(leading)
    leading.communicate()
    _ended(here, first, failing)


@pytest.mark.parametrize("failing", [_killed, _off, _paused, _cut_off])
def test_h45_the_only_holder_fails_while_another_reads(
    site: Callable[[int], Site], small: Llama, failing: Callable[[Site, Machine], None]
) -> None:
    """What is not here yet comes from the Hub."""
    here = sharing(site(2), small)
    first, second = here.machines
    have(first)
    announced(first, small)
    here.wire.limit(first.computer, 8 * MB)
    following = second.popen(*download(REPO))
    time.sleep(2.5)
    failing(here, first)

    out, err = following.communicate(timeout=100)
    assert following.returncode == 0, out + err
    holds(second, small)
    taken = here.taken(REPO)
    print(f"{failing.__name__}: {taken / small.size:.2f} times the model")
    assert taken <= 2.1 * small.size
    if failing is _paused:
        first.go_on()
    _ended(here, first, failing)


def _ended(site: Site, failed: Machine, failing: Callable[[Site, Machine], None]) -> None:
    if failing is _killed:
        failed.expect_logged += [r"the daemon of .* (was ended by SIGKILL|ended without a word)"]
    if failing is _cut_off:
        site.wire.connect(failed.computer)
    for machine in site.machines:
        machine.expect_logged += [r"peer 10\.77\.0\.\d+:4780"]
    end(site)


def test_a_holder_comes_back_under_another_address(site: Callable[[int], Site], small: Llama) -> None:
    """Those that ask find it by its new announcements, and nobody waits for the old address."""
    here = site(3)
    listed = ",".join(f"10.77.0.{number}:4780" for number in (11, 12, 13, 21))
    here.hub.add_folder(REPO, small.folder)
    share_all(here, peers=listed)
    first, second, third = here.machines
    have(first)
    announced(first, small)
    have(second)
    first.view.umount()
    first.move("10.77.0.21")
    first.view.share(peers=listed, token=here.root / "token")
    announced(first, small)
    second.view.umount()
    second.power_off()

    have(third)

    holds(third, small)
    assert here.taken(REPO) <= 2.1 * small.size
    end(here)
