"""What is read ahead, for whom."""

from __future__ import annotations

import random
from itertools import pairwise

from ipfsfs.view.streams import AHEAD, Span, Streams

READ = 1 << 17
FAR = 1 << 30


def _misses(streams: Streams, start: int, count: int) -> list[Span]:
    """What is read ahead while a reader goes on for `count` READs, none of which is in memory."""
    asked = [streams.missed(at, at + READ) for at in range(start, start + count * READ, READ)]
    return [span for span in asked if span is not None]


def _follow(spans: list[Span]) -> bool:
    """Whether each begins where the one before ends: nothing is left out, and nothing read twice."""
    return all(earlier.start + earlier.length == later.start for earlier, later in pairwise(spans))


def test_all_is_read_ahead_of_a_sequential_reader_and_not_too_far() -> None:
    spans = _misses(Streams(), FAR, 200)
    assert _follow(spans)
    assert FAR < spans[0].start < FAR + 4 * READ
    last = spans[-1].start + spans[-1].length - (FAR + 200 * READ)
    assert AHEAD // 2 < last <= AHEAD


def test_what_is_in_memory_is_read_ahead_only_where_the_disk_was_met() -> None:
    streams = Streams()
    assert [streams.hit(at, at + READ) for at in range(0, FAR, READ)] == [None] * (FAR // READ)
    spans = _misses(streams, FAR, 2)
    found = [streams.hit(at, at + READ) for at in range(FAR + 2 * READ, FAR + 200 * READ, READ)]
    spans += [span for span in found if span is not None]
    assert _follow(spans)
    assert spans[-1].start > FAR + 200 * READ


def test_a_reader_that_outran_it_is_read_ahead_of_again() -> None:
    streams = Streams()
    _misses(streams, 0, 4)
    for at in range(4 * READ, FAR, READ):
        streams.hit(at, at + READ)
    spans = _misses(streams, FAR, 4)
    assert spans[0].start >= FAR
    assert _follow(spans)


def test_each_of_several_readers_is_read_ahead_of() -> None:
    streams, starts = Streams(), [number * FAR for number in range(8)]
    spans: dict[int, list[Span]] = {start: [] for start in starts}
    for step in range(100):
        for start in starts:
            spans[start] += _misses(streams, start + step * READ, 1)
    for start, found in spans.items():
        assert _follow(found)
        assert start < found[0].start < start + 4 * READ
        assert found[-1].start > start + 100 * READ


def test_the_reads_of_one_reader_may_arrive_in_any_order() -> None:
    streams, order = Streams(), random.Random(14)
    spans = []
    for group in range(0, 64 << 20, 4 << 20):
        offsets = list(range(group, group + (4 << 20), 1 << 20))
        order.shuffle(offsets)
        spans += [span for at in offsets if (span := streams.missed(at, at + (1 << 20))) is not None]
    assert _follow(spans)
    assert spans[-1].start > 64 << 20


def test_nothing_is_read_ahead_of_who_reads_here_and_there() -> None:
    streams, places = Streams(), random.Random(14)
    offsets = [places.randrange(FAR // 4096) * 4096 for _ in range(5000)]
    assert [span for at in offsets if (span := streams.missed(at, at + 4096)) is not None] == []
