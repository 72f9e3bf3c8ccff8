"""Leases: one machine has one, until it says so, is silent for 3 seconds, or has announced the blob."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ipfsfs.workers.server.leases import LASTS_S, TABLE, LeaseBook, Says, Then, Whose

KEY = bytes(32)
A, B = "a" * 32, "b" * 32
AT_A, AT_B = "10.0.0.1:1", "10.0.0.2:1"


def test_the_table_says_what_becomes_of_everything() -> None:
    assert set(TABLE) == {(whose, says) for whose in Whose for says in Says}
    assert all(then is Then.STAYS for (whose, _), then in TABLE.items() if whose is Whose.ANOTHERS)


def test_one_machine_has_it_until_it_is_silent() -> None:
    book = LeaseBook()
    assert book.say(KEY, Says.WANT, A, AT_A, 0.0) is None
    held = book.say(KEY, Says.WANT, B, AT_B, 1.0)
    assert held is not None
    assert (held.holder, held.done, held.age_s) == (AT_A, 0, 1.0)
    book.say(KEY, Says.HOLD, A, AT_A, 2.5, 5_000)
    assert book.say(KEY, Says.WANT, B, AT_B, 2.5 + LASTS_S - 0.1) is not None
    assert book.say(KEY, Says.WANT, B, AT_B, 2.5 + LASTS_S) is None
    held = book.say(KEY, Says.HOLD, A, AT_A, 6.0, 10_000)
    assert held is not None
    assert held.holder == AT_B


def test_a_release_frees_what_is_its_own_alone() -> None:
    book = LeaseBook()
    book.say(KEY, Says.WANT, A, AT_A, 0.0)
    book.say(KEY, Says.RELEASE, B, AT_B, 0.1)
    assert book.held(KEY, B, 0.2) is not None
    book.say(KEY, Says.RELEASE, A, AT_A, 0.3)
    assert book.held(KEY, B, 0.4) is None


def test_what_was_announced_is_leased_no_more() -> None:
    book = LeaseBook()
    book.say(KEY, Says.WANT, A, AT_A, 0.0)
    book.announced(KEY, B)  # it had the blob before
    assert book.held(KEY, B, 0.1) is not None
    book.announced(KEY, A)
    assert book.held(KEY, B, 0.1) is None


def test_bytes_done_and_rate_are_told() -> None:
    book = LeaseBook()
    book.say(KEY, Says.WANT, A, AT_A, 0.0)
    for step in range(1, 20):
        book.say(KEY, Says.HOLD, A, AT_A, step / 2, step * 50_000_000)
    held = book.held(KEY, B, 9.5)
    assert held is not None
    assert held.done == 19 * 50_000_000
    assert 99e6 < held.rate < 101e6
    book.say(KEY, Says.HOLD, A, AT_A, 10.0, 0)  # it began anew
    held = book.held(KEY, B, 10.0)
    assert held is not None
    assert (held.done, held.rate) == (0, 0.0)


def test_a_book_that_is_full_grants_and_forgets_nothing() -> None:
    book = LeaseBook(most=10)
    for number in range(50):
        assert book.say(number.to_bytes(32, "big"), Says.WANT, A, AT_A, 0.0) is None
    assert len(book) == 10
    assert book.say((60).to_bytes(32, "big"), Says.WANT, A, AT_A, LASTS_S + 1) is None
    assert book.count(LASTS_S + 1) == 1


def test_who_asks_for_all_leaves_room_for_the_others() -> None:
    """So that others still wait for one that downloads."""
    book = LeaseBook(most=10)
    keys = [number.to_bytes(32, "big") for number in range(100)]
    for key in keys[:50]:
        book.say(key, Says.WANT, A, AT_A, 0.0, by="10.0.0.1")
    for key in keys[50:60]:
        assert book.say(key, Says.WANT, B, AT_B, 0.1, by="10.0.0.2") is None
    for key in keys[60:]:
        book.say(key, Says.WANT, A, "10.0.0.7:1", 0.2, by="10.0.0.1")
    kept = [key for key in keys[50:60] if book.held(key, A, 0.3) is not None]
    assert len(kept) == 5, "half of it"
    assert len(book) == 10


class Machines(RuleBasedStateMachine):
    """Whatever machines say, in whatever order: at no moment do two of them hold what both know of."""

    def __init__(self) -> None:
        super().__init__()
        self.book = LeaseBook()
        self.now = 0.0
        self.until: dict[str, float] = {}
        """By machine, until when it holds the lease, by its own reckoning of what it was told."""

    @rule(machine=st.sampled_from("abcd"), says=st.sampled_from(list(Says)))
    def say(self, machine: str, says: Says) -> None:
        held = self.book.say(KEY, says, machine * 32, f"10.0.0.{ord(machine)}:1", self.now)
        holds = self.until.get(machine, -1.0) > self.now
        if says is Says.RELEASE or held is not None:
            assert not (holds and held is not None)
            self.until.pop(machine, None)
        else:
            self.until[machine] = self.now + LASTS_S

    @rule(step=st.floats(0.01, 4.0))
    def wait(self, step: float) -> None:
        self.now += step

    @rule(machine=st.sampled_from("abcd"))
    def announce(self, machine: str) -> None:
        self.book.announced(KEY, machine * 32)
        self.until.pop(machine, None)

    @invariant()
    def one_has_it(self) -> None:
        assert sum(until > self.now for until in self.until.values()) <= 1


TestMachines = Machines.TestCase
