"""Which machines a key belongs to."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from ipfsfs.origins.peer_list import HostPort
from ipfsfs.origins.rendezvous import owners

PEERS = [HostPort(f"10.0.0.{number}", 4780) for number in range(1, 65)]


@given(st.binary(min_size=32, max_size=36), st.permutations(PEERS[:8]), st.integers(1, 10))
def test_all_who_have_the_same_list_say_the_same(key: bytes, shuffled: list[HostPort], count: int) -> None:
    found = owners(key, shuffled, count)
    assert found == owners(key, PEERS[:8], count)
    assert len(found) == len(set(found)) == min(count, 8)


@given(st.binary(min_size=32, max_size=36), st.sampled_from(PEERS))
def test_a_machine_that_goes_leaves_everything_else_where_it_was(key: bytes, gone: HostPort) -> None:
    before = owners(key, PEERS, 64)
    assert owners(key, [peer for peer in PEERS if peer != gone], 63) == [peer for peer in before if peer != gone]


def test_keys_are_spread_evenly() -> None:
    counts = Counter(owners(number.to_bytes(32, "big"), PEERS, 1)[0] for number in range(6_400))
    assert len(counts) == 64
    assert max(counts.values()) < 160  # 100 each, and five times the spread of chance


def test_nobody_owns_anything_where_there_is_nobody() -> None:
    assert owners(b"key", [], 2) == []
