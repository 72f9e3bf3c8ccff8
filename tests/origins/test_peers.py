"""Which machines share, as a list says it now; and how one of them fares."""

from __future__ import annotations

import os
from pathlib import Path

import trio

from ipfsfs.origins.peer_list import HostPort
from ipfsfs.origins.peers import Peers
from ipfsfs.origins.settings import SiteSettings
from ipfsfs.origins.standing import DISTRUST_S, Rate, Standing

ONE, TWO = HostPort("10.0.0.1", 4780), HostPort("node2", 4780)


async def _becomes(peers: Peers, *wanted: HostPort, trouble: str = "") -> None:
    for _ in range(200):
        if tuple(await peers.listed()) == wanted and trouble in peers.trouble and bool(trouble) == bool(peers.trouble):
            return
        await trio.sleep(0.05)
    raise AssertionError(f"the list is {await peers.listed()}, its trouble: {peers.trouble}")


def test_a_file_is_read_again_when_it_changes_and_the_last_list_stands_while_it_cannot_be(tmp_path: Path) -> None:
    listed = tmp_path / "peers"
    listed.write_text("# the rack\n10.0.0.1:4780  # the first\n")

    async def check() -> None:
        peers = Peers(SiteSettings(str(listed)))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peers.run)
            await _becomes(peers, ONE)
            digest = await peers.digest()
            other = tmp_path / "other"
            other.write_text("10.0.0.1:4780, node2:4780\n")
            other.rename(listed)
            await _becomes(peers, ONE, TWO)
            assert await peers.digest() != digest
            listed.write_text("what is this?\n")
            await _becomes(peers, ONE, TWO, trouble="no HOST:PORT")
            listed.unlink()
            await _becomes(peers, ONE, TWO, trouble="cannot be read")
            listed.write_text("10.0.0.1:4780\n")
            await _becomes(peers, ONE)
            nursery.cancel_scope.cancel()

    trio.run(check)


def test_a_fifo_in_the_place_of_a_list_is_not_waited_for(tmp_path: Path) -> None:
    listed = tmp_path / "peers"
    os.mkfifo(listed)

    async def check() -> None:
        peers = Peers(SiteSettings(str(listed)))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peers.run)
            with trio.fail_after(5):
                assert tuple(await peers.listed()) == ()
            nursery.cancel_scope.cancel()

    trio.run(check)


def test_a_name_stands_for_its_addresses_and_nothing_waits_for_one_that_has_none() -> None:
    async def check() -> None:
        async with trio.open_nursery() as nursery:
            peers = Peers(SiteSettings("dns:localhost:4780"))
            nursery.start_soon(peers.run)
            assert tuple(await peers.listed()) == (HostPort("127.0.0.1", 4780),)
            nowhere = Peers(SiteSettings("dns:nowhere.invalid:4780"))
            nursery.start_soon(nowhere.run)
            with trio.fail_after(10):
                assert tuple(await nowhere.listed()) == ()
            assert "nowhere.invalid" in nowhere.trouble
            nursery.cancel_scope.cancel()

    trio.run(check)


def test_a_peer_that_fails_is_left_alone_for_longer_each_time() -> None:
    standing, now = Standing(), 0.0
    pauses = []
    for _ in range(9):
        standing.failed("it is off", now, now)
        pauses.append(standing.paused_s(now))
        now += pauses[-1]
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    # Questions that were under way together lengthen it once.
    standing = Standing()
    standing.failed("it is off", 5.0, 1.0)
    standing.failed("it is off", 5.0, 1.0)
    assert standing.paused_s(5.0) == 1.0
    standing.answered(0.01)
    assert (standing.paused_s(5.0), standing.trouble, standing.is_on_trial) == (0.0, "", False)


def test_a_peer_that_lied_is_left_alone_for_a_minute_and_why_is_kept() -> None:
    standing = Standing()
    standing.distrusted("it lied", 10.0)
    standing.failed("it is off", 11.0, 9.0)
    assert standing.trouble == "it lied"
    assert standing.paused_s(10.0 + DISTRUST_S - 1) > 0
    assert standing.paused_s(10.0 + DISTRUST_S) == 0


def test_short_questions_that_are_late_are_its_fault_when_there_are_several() -> None:
    standing = Standing()
    for _ in range(3):
        standing.late("it is late", 1.0, 0.9, 0.02)
        assert standing.paused_s(1.0) == 0
    standing.late("it is late", 1.0, 0.9, 0.02)
    assert standing.paused_s(1.0) > 0
    standing = Standing()
    standing.late("it is late", 1.0, 0.0, 1.0)
    assert standing.paused_s(1.0) > 0


def test_a_rate_is_that_of_busy_time_and_ages() -> None:
    rate = Rate()
    for second in range(5):
        rate.begins(second * 10.0)
        rate.ends(second * 10.0 + 1.0, 1_000)
    assert rate.known(42.0) == 1_000
    assert rate.expected_s(500, 42.0) == 0.5
    assert rate.known(60.0) == 0
    rate.begins(60.0)
    rate.at_most(10, 61.0)
    assert (rate.known(61.0), rate.was_slow) == (10, True)
    rate.ends(62.0, 0)
    assert rate.known(62.0) == 10
