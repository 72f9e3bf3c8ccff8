"""Which reads the disk is asked ahead for."""

from __future__ import annotations

import random
from itertools import pairwise

from ipfsfs.view.streams import AHEAD, Span, Streams

READ = 1 << 17
FAR = 1 << 30


def _misses(streams: Streams, start: int, count: int) -> list[Span]:
    """What is asked for while a reader goes on for `count` READs, none of which is in memory."""
    asked = [streams.missed(at, at + READ) for at in range(start, start + count * READ, READ)]
    return [span for span in asked if span is not None]


def test_a_sequential_reader_is_asked_ahead_for_once_for_each_span() -> None:
    asked = _misses(Streams(), FAR, 200)
    assert all(length == AHEAD for _, length in asked)
    assert len(asked) == 200 * READ // AHEAD + 1
    assert all(later.start >= earlier.start + AHEAD for earlier, later in pairwise(asked))


def test_what_is_in_memory_is_asked_for_only_where_the_disk_was_met() -> None:
    streams = Streams()
    assert [streams.hit(at, at + READ) for at in range(0, FAR, READ)] == [None] * (FAR // READ)
    (first,) = _misses(streams, FAR, 2)
    spans = [streams.hit(at, at + READ) for at in range(first.start, first.start + AHEAD, READ)]
    assert [span for span in spans if span is not None] == [Span(first.start + AHEAD, AHEAD)]


def test_readers_at_several_places_are_each_asked_ahead_for() -> None:
    streams, starts = Streams(), [number * FAR for number in range(8)]
    asked: dict[int, list[Span]] = {start: [] for start in starts}
    for step in range(100):
        for start in starts:
            asked[start] += _misses(streams, start + step * READ, 1)
    assert [len(spans) for spans in asked.values()] == [2] * len(starts)
    assert all(start <= span.start < start + FAR for start, spans in asked.items() for span in spans)


def test_the_reads_of_one_reader_may_arrive_in_any_order() -> None:
    streams, order = Streams(), random.Random(14)
    asked = []
    for group in range(0, 64 << 20, 4 << 20):
        offsets = list(range(group, group + (4 << 20), 1 << 20))
        order.shuffle(offsets)
        asked += [span for at in offsets if (span := streams.missed(at, at + (1 << 20))) is not None]
    assert 5 <= len(asked) <= 9
    assert all(later.start >= earlier.start + AHEAD for earlier, later in pairwise(asked))


def test_who_reads_here_and_there_has_nothing_read_ahead() -> None:
    streams, places = Streams(), random.Random(14)
    offsets = [places.randrange(FAR // 4096) * 4096 for _ in range(5000)]
    assert [span for at in offsets if (span := streams.missed(at, at + 4096)) is not None] == []
