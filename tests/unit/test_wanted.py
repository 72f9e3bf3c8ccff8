"""The states of blobs that are wanted, with a clock that is given in, and when another machine is not waited for."""

from __future__ import annotations

import random
import time

import pytest

from ipfsfs.exchange.pace import SILENT_S, Holder, Load, Pace
from ipfsfs.exchange.wanted import (
    AWAY_S,
    BEGIN_S,
    FRESH_S,
    REMOVED_S,
    SEALED_S,
    STALLED_S,
    State,
    Wanted,
    WantedBlobs,
)
from ipfsfs.origins.peer_messages import Found, Held

SHA256 = bytes(range(32))
ROOT = b"\1\x55\x12\x20" + bytes(32)
SIZE = 500_000_000
HUB = 100e6
"""Bytes a second."""


def _asked(now: float = 0.0, size: int = SIZE) -> tuple[WantedBlobs, Wanted]:
    blobs = WantedBlobs()
    blob = blobs.want(SHA256, now, size)
    blobs.asking([blob], now)
    return blobs, blob


def _ours() -> tuple[WantedBlobs, Wanted]:
    blobs, blob = _asked()
    blobs.granted(blob, 0.0)
    return blobs, blob


def test_clients_wait_while_others_are_asked_and_while_another_machine_downloads() -> None:
    blobs, blob = _asked()
    assert blob.is_kept
    blobs.held(blob, Held("10.0.0.2:4780", 0, 0.0, 0.1), 0.1)
    assert blob.state is State.THEIRS
    assert blob.is_kept
    blobs.has_holder(blob, Found(ROOT, SIZE, ("10.0.0.2:4780",), True), 5.0)
    assert not blob.is_kept, "it can be had"


def test_a_question_without_an_answer_ends_in_a_download() -> None:
    blobs, blob = _asked()
    blobs.nobody(blob, 4.0)
    assert blob.state is State.ALONE


def test_what_was_said_to_be_there_holds_good_for_a_moment() -> None:
    blobs, blob = _asked()
    blobs.has_holder(blob, Found(ROOT, SIZE, ("10.0.0.2:4780",), True), 1.0)
    assert blobs.is_fresh(blob, 1.0 + FRESH_S - 0.1)
    assert not blobs.is_fresh(blob, 1.0 + FRESH_S + 0.1)


def test_what_proved_to_be_another_content_is_not_taken_for_the_blob_again() -> None:
    blobs, blob = _asked()
    blobs.wrong(SHA256, ROOT)
    blobs.has_holder(blob, Found(ROOT, SIZE, ("10.0.0.2:4780",), True), 1.0)
    assert blob.state is State.ALONE


def test_a_lease_ends_where_no_download_begins() -> None:
    blobs, blob = _ours()
    assert blobs.watch(blob, None, BEGIN_S - 0.1) == 0
    assert blobs.watch(blob, None, BEGIN_S + 0.1) is None
    assert blobs.released == {SHA256}
    assert blob.state is State.NAMED


def test_a_lease_ends_when_the_client_went_away_without_a_result() -> None:
    blobs, blob = _ours()
    assert blobs.watch(blob, 1_000, 100.0) == 1_000
    assert blobs.watch(blob, None, 100.0 + AWAY_S - 0.1) == 0, "clients try again"
    assert blobs.watch(blob, None, 100.0 + AWAY_S + 0.1) is None
    assert blobs.released == {SHA256}


def test_a_lease_goes_on_until_the_blob_is_announced_and_not_for_ever() -> None:
    blobs, blob = _ours()
    blobs.watch(blob, SIZE, 100.0)
    blobs.named(SHA256, SIZE, 101.0)
    assert blobs.watch(blob, None, 101.0 + SEALED_S - 1) == SIZE
    blobs.over(SHA256)
    assert blobs.released == {SHA256}
    assert blobs.get(SHA256) is None
    blobs, blob = _ours()
    blobs.named(SHA256, SIZE, 101.0)
    assert blobs.watch(blob, None, 101.0 + SEALED_S + 1) is None, "its seal never comes"


def test_a_lease_that_was_lost_meanwhile_ends_nothing() -> None:
    blobs, blob = _ours()
    blobs.held(blob, Held("10.0.0.2:4780", 5, 0.0, 0.1), 10.0)
    assert blob.state is State.ALONE
    assert not blob.is_kept


def test_what_was_removed_does_not_come_back_for_ten_minutes() -> None:
    blobs = WantedBlobs()
    blobs.removed(SHA256, 50.0)
    assert blobs.was_removed(SHA256, 50.0 + REMOVED_S - 1)
    assert not blobs.was_removed(SHA256, 50.0 + REMOVED_S + 1)


def test_there_are_never_more_than_so_many_and_those_that_go_give_their_leases_back() -> None:
    blobs = WantedBlobs()
    first = blobs.want(SHA256, 0.0)
    blobs.asking([first], 0.0)
    blobs.granted(first, 0.0)
    for number in range(65_536):
        blobs.want(b"%032d" % number, 1.0)
    assert len(blobs) == 65_536
    assert blobs.released == {SHA256}


def test_what_nobody_asks_for_is_forgotten_but_for_what_is_downloaded() -> None:
    blobs, ours = _ours()
    blobs.want(b"x" * 32, 0.0)
    blobs.forget_idle(601.0)
    assert blobs.get(b"x" * 32) is None
    assert blobs.get(SHA256) is ours


def test_of_many_blobs_few_are_looked_at_at_once_and_all_in_the_end() -> None:
    """What a listing of a whole data set names holds no lookup up."""
    blobs, ours = _ours()
    for number in range(20_000):
        blobs.want(b"%032d" % number, 0.0)
    blobs.forget_idle(601.0)
    assert 18_000 < len(blobs) < 20_000
    for _ in range(20):
        blobs.forget_idle(601.0)
    assert len(blobs) == 1
    assert blobs.get(SHA256) is ours
    began = time.process_time()
    for number in range(20_000):
        blobs.want(b"%032d" % number, 601.0)
    took, began = time.process_time() - began, time.process_time()
    for _ in range(50):
        assert blobs.of(State.OURS) == [ours]
        assert blobs.waited_for() == []
    assert time.process_time() - began < took, "those that are waited for are found among themselves"


@pytest.mark.parametrize("seed", range(50))
def test_whatever_happens_no_client_waits_without_end(seed: int) -> None:
    """Random answers, then silence: within the bounds of each state the client is free."""
    drawn, now = random.Random(seed), 0.0
    blobs, blob = _asked()
    for _ in range(drawn.randrange(20)):
        now += drawn.uniform(0, 3)
        match drawn.randrange(6):
            case 0:
                blobs.held(blob, Held(f"10.0.0.{drawn.randrange(3)}:1", drawn.randrange(SIZE), 1e6, 1.0), now)
            case 1 if blob.is_kept:
                blobs.granted(blob, now)
            case 2 if blob.is_kept:
                blobs.has_holder(blob, Found(ROOT, SIZE, (), True), now)
            case 3:
                blobs.asking([blob], now)
            case 4 if blob.state is State.OURS:
                blobs.watch(blob, drawn.choice([None, 5]), now)
            case 5:
                blobs.named(SHA256, SIZE, now)
        assert blobs.of(blob.state) == [blob]
        assert blobs.of(*set(State) - {blob.state}) == []
    if blob.state is State.ASKED:
        blobs.nobody(blob, now)
    until = now + SILENT_S + SIZE / (50 << 20)
    while blob.is_kept and now < until:
        now += 0.5
        assert blob.pace is not None
        if blob.pace.is_late(now):
            blobs.alone(blob, now)
    assert not blob.is_kept


def _watched(
    rate: float, seconds: float, *, done: int = 0, size: int = SIZE, word: float | None = None, files: int = 1
) -> Load:
    """A holder that was watched for a while, every half second; its files share its rate."""
    holder, paces = Holder(0.0), [Pace(0.0, size) for _ in range(files)]
    for tick in range(int(seconds * 2) + 1):
        for pace in paces:
            said = (rate if word is None else word) / files
            holder.note(tick / 2, pace.note(tick / 2, int(done + rate / files * tick / 2), said))
    return Load(holder, paces)


def test_a_machine_as_quick_as_the_hub_is_waited_for() -> None:
    for seconds in (0.0, 0.5, 1.0, 2.0, 4.5):
        assert not _watched(HUB, seconds).is_too_slow(seconds, HUB)


def test_a_machine_at_a_tenth_of_the_speed_is_given_up_within_about_a_second() -> None:
    assert _watched(HUB / 10, 1.0).is_too_slow(1.0, HUB)
    assert _watched(HUB / 10, 0.5).needs_hub_rate(0.5), "the Hub is asked before that, how fast it is"


def test_files_that_share_a_link_are_compared_together() -> None:
    """Each of eight comes at an eighth of what one range of the Hub comes at, and would do so here too."""
    for seconds in (1.0, 2.0, 20.0):
        assert not _watched(HUB, seconds, files=8).is_too_slow(seconds, HUB)
    for seconds in (4.0, 20.0):
        assert _watched(HUB / 10, seconds, files=8).is_too_slow(seconds, HUB)


def test_what_is_written_in_pieces_is_no_slower_for_that() -> None:
    """The client writes 10 MB at once: of eight files at 10 MB/s together each grows every 8 seconds."""
    holder, paces = Holder(0.0), [Pace(0.0, SIZE) for _ in range(8)]
    for tick in range(240):
        now = tick / 2
        for number, pace in enumerate(paces):
            pieces = max(0, int(now) - number) // 8
            holder.note(now, pace.note(now, pieces * 10_000_000, 0.0))
            assert not pace.is_late(now)
        assert not Load(holder, paces).is_too_slow(now, 10e6)


def test_what_a_holder_has_not_begun_is_waited_for_too() -> None:
    """It has more files than its client downloads at once."""
    load = _watched(HUB, 4.0)
    waiting = [Pace(0.0, SIZE) for _ in range(3)]
    for pace in waiting:
        pace.note(0.0, 0, 0.0)
        pace.note(20.0, 0, 0.0)
        assert not pace.is_late(20.0)
    assert not Load(load.holder, [*load.paces, *waiting]).is_too_slow(4.0, HUB)


def test_what_is_nearly_there_is_waited_for_however_slow_it_is() -> None:
    assert not _watched(HUB / 10, 1.0, done=SIZE - 15_000_000).is_too_slow(1.0, HUB)


def test_for_a_small_file_the_hub_is_not_asked_how_fast_it_is() -> None:
    assert not _watched(1e6, 1.0, size=12_000_000).needs_hub_rate(1.0)


def test_a_slow_machine_whose_client_has_written_no_piece_yet_is_given_up_too() -> None:
    """The client writes 10 MB at once: at 1 MB/s nothing is seen for ten seconds."""
    load = _watched(0.0, 4.0, size=50_000_000)
    assert load.needs_hub_rate(0.7), "the Hub is asked how fast it is"
    assert not load.is_too_slow(1.0, 10e6), "10 MB may have come"
    assert load.is_too_slow(1.5, 10e6)
    assert not load.is_too_slow(3.0, 2e6)


def test_a_small_file_is_not_waited_for_forever() -> None:
    load = _watched(0.0, 12.0, size=12_000_000)
    assert not load.needs_hub_rate(2.0)
    assert load.needs_hub_rate(11.0)


def test_a_download_that_stops_is_given_back_by_its_holder_before_all_others_give_it_up() -> None:
    blobs, blob = _ours()
    for tick in range(int(STALLED_S)):
        assert blobs.watch(blob, 1_000, float(tick)) == 1_000
    assert blobs.watch(blob, 1_000, STALLED_S) is None
    assert blobs.released == {SHA256}
    assert blob.state is State.ALONE, "it goes on, should it go on"
    pace = Pace(0.0, SIZE)
    for tick in range(int(SILENT_S)):
        pace.note(float(tick), 1_000, 0.0)
        assert not pace.is_late(float(tick))
    assert pace.is_late(SILENT_S + 0.5)
    assert SILENT_S > STALLED_S + 10


def test_what_nobody_waits_for_is_asked_about_anew_after_a_while() -> None:
    """Its lease may be over by then, or the blob there."""
    blobs, blob = _asked()
    blobs.held(blob, Held("10.0.0.2:4780", 0, 0.0, 0.1), 0.1)
    blobs.asking([blob], 1.0)
    assert blobs.of(State.THEIRS) == [blob]
    assert blob.is_stale(10.0)
    blobs.asking([blob], 10.0)
    assert blobs.of(State.ASKED) == [blob]


def test_a_machine_that_only_says_it_is_quick_is_believed_for_three_seconds() -> None:
    assert not _watched(HUB / 10, 2.0, word=10 * HUB).is_too_slow(2.0, HUB)
    assert _watched(HUB / 10, 4.0, word=10 * HUB).is_too_slow(4.0, HUB)


def test_a_machine_that_has_all_of_it_may_take_a_while_to_seal_it() -> None:
    load = _watched(HUB, 5.0)
    (pace,) = load.paces
    pace.note(5.5, SIZE, HUB)
    assert pace.is_complete
    assert not load.is_too_slow(10.0, HUB)
    assert not pace.is_late(10.0)
    assert pace.is_late(40.0)


def test_without_a_rate_of_the_hub_a_slow_machine_is_waited_for_a_minute() -> None:
    for tick in range(2, 130):
        now = tick / 2
        assert _watched(1_000, now, size=-1).is_too_slow(now, None) == (now > 60.0)
        assert not _watched(20e6, now, size=-1).is_too_slow(now, None)
