"""How many others ask: what a machine is told that asks for blocks."""

from __future__ import annotations

from ipfsfs.origins.standing import ALONE_S, Standing
from ipfsfs.workers.server.askers import Askers


def test_who_asks_is_told_of_the_others() -> None:
    askers = Askers()
    askers.note("a", 0.0)
    assert askers.others("a", 0.0) == 0
    assert askers.others("b", 0.0) == 1  # who asks for another is told as well, and is not counted
    askers.note("b", 0.1)
    assert askers.others("a", 0.1) == 1


def test_who_has_not_asked_of_late_is_forgotten() -> None:
    askers = Askers()
    askers.note("a", 0.0)
    askers.note("b", ALONE_S)
    assert askers.others("b", ALONE_S + 0.1) == 0


def test_hosts_beyond_the_most_are_forgotten_oldest_first() -> None:
    askers = Askers(most=2)
    for host in ("a", "b", "a", "c"):
        askers.note(host, 0.0)
    assert askers.others("a", 0.0) == 1
    assert askers.others("b", 0.0) == 2


def test_what_a_peer_said_of_its_askers_holds_for_a_moment() -> None:
    standing = Standing()
    assert not standing.is_all_ours(0.0)
    standing.asked_by(0, 1.0)
    assert standing.is_all_ours(1.0)
    assert not standing.is_all_ours(1.0 + ALONE_S)
    standing.asked_by(1, 4.0)
    assert not standing.is_all_ours(4.0)
