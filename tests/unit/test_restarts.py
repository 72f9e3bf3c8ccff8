"""How often, and after how long, a daemon is started again."""

from __future__ import annotations

from itertools import pairwise

from ipfsfs.daemon.restarts import MOST, WITHIN_S, pause_s

NOW = 1_000_000


def test_each_pause_is_longer_and_then_it_is_given_up() -> None:
    pauses = [pause_s((NOW,) * count, NOW) for count in range(MOST)]
    assert all(one is not None and two is not None and one < two for one, two in pairwise(pauses))
    assert pause_s((NOW,) * MOST, NOW) is None


def test_what_is_long_ago_does_not_count() -> None:
    assert pause_s((NOW - WITHIN_S,) * MOST, NOW) == pause_s((), NOW)
