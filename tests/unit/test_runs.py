"""Leaves that are asked for together."""

from __future__ import annotations

import trio
import trio.testing

from ipfsfs.origins.ordered import Given
from ipfsfs.origins.peer_messages import RUN_MAX, RUN_MOST
from ipfsfs.unixfs import cid
from ipfsfs.workers.fetcher.runs import Runs

SIZE = 100_000


def leaf(number: int) -> bytes:
    return cid.raw_cid(number.to_bytes(32, "big"))


def runs(*lengths: int, gap_at: int = -1) -> Runs:
    where, at = {}, 0
    for number, length in enumerate(lengths):
        at += number == gap_at
        where[leaf(number)] = at, length
        at += length
    return Runs(where)


def numbers(found: Runs, first: int) -> list[int]:
    with found.begun(leaf(first)) as run:
        return [next(number for number in range(20) if leaf(number) == one) for one, _ in run.leaves]


def test_a_run_is_what_lies_behind_each_other() -> None:
    assert numbers(runs(*[SIZE] * 20), 3) == list(range(3, 3 + RUN_MOST))
    assert numbers(runs(*[SIZE] * 4), 2) == [2, 3]
    assert numbers(runs(*[SIZE] * 4, gap_at=2), 0) == [0, 1]
    assert numbers(runs(*[RUN_MAX // 2] * 4), 0) == [0, 1]
    assert numbers(runs(RUN_MAX + 5, 1), 0) == [0]


def test_what_another_run_brings_is_in_no_second_one() -> None:
    found = runs(*[SIZE] * 20)
    with found.begun(leaf(4)):
        assert numbers(found, 2) == [2, 3]


def test_who_wants_a_leaf_of_a_run_waits_for_it_and_asks_for_it_where_it_did_not_come() -> None:
    found = runs(*[SIZE] * 3)
    took: dict[int, Given | None] = {}

    async def want(number: int) -> None:
        run = found.of(leaf(number))
        assert run is not None
        took[number] = await run.taken(leaf(number))

    async def check() -> None:
        async with trio.open_nursery() as nursery:
            with found.begun(leaf(0)) as run:
                for number in (1, 2):
                    nursery.start_soon(want, number)
                await trio.testing.wait_all_tasks_blocked()
                assert not took
                run.put(leaf(1), Given(b"one", "a peer"))
        assert took == {1: Given(b"one", "a peer"), 2: None}
        assert found.of(leaf(1)) is None, "it is taken once"
        assert run.brought == 3

    trio.run(check)
