"""In which order a sealing process does its jobs."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest

from ipfsfs.workers.sealer.turns import FAIR_AFTER_S, TURN_S, Job, Rank, Turns

_STEP_S = TURN_S / 5


def _job(number: int, rank: Rank, credit: int = 1) -> Job:
    return Job(number, rank, b"", iter(()), credit)  # type: ignore[arg-type]


def _steps(turns: Turns, began: float = 0.0) -> Iterator[int]:
    """The numbers of the jobs that do one step after the other; 0 while none can."""
    for step in count():
        job = turns.job(began + step * _STEP_S)
        yield job.number if job is not None else 0


def _turns_of(numbers: list[int]) -> list[int]:
    return [number for at, number in enumerate(numbers) if at == 0 or number != numbers[at - 1]]


@pytest.mark.parametrize("rank", [Rank.DIGEST, Rank.SEAL, Rank.VERIFY, Rank.WALK])
def test_jobs_of_one_rank_take_turns_of_the_same_length(rank: Rank) -> None:
    turns = Turns()
    for number in (1, 2, 3):
        turns.add(_job(number, rank))
    steps = _steps(turns)
    numbers = [next(steps) for _ in range(300)]
    assert set(_turns_of(numbers)[:3]) == {1, 2, 3}
    assert max(numbers.count(number) for number in (1, 2, 3)) - min(numbers.count(number) for number in (1, 2, 3)) <= 10


def test_one_that_comes_while_a_huge_one_goes_on_has_its_turn_next() -> None:
    turns = Turns()
    turns.add(_job(1, Rank.SEAL))
    steps = _steps(turns)
    assert {next(steps) for _ in range(100)} == {1}
    turns.add(_job(2, Rank.SEAL))
    assert 2 in [next(steps) for _ in range(6)]


def test_a_more_urgent_one_waits_for_no_turn() -> None:
    turns = Turns()
    turns.add(_job(1, Rank.WALK))
    steps = _steps(turns)
    assert next(steps) == 1
    turns.add(_job(2, Rank.DIGEST))
    assert next(steps) == 2
    turns.remove(2)
    assert next(steps) == 1


def test_however_urgent_others_are_each_job_has_a_share() -> None:
    turns = Turns()
    turns.add(_job(1, Rank.SEAL))
    turns.add(_job(2, Rank.WAITING_SEAL))
    turns.add(_job(3, Rank.WALK))
    steps = _steps(turns)
    numbers = [next(steps) for _ in range(1000)]
    assert numbers.count(1) > 800, "the urgent one has most"
    assert min(numbers.count(2), numbers.count(3)) > 50
    longest = max(len(part) for part in "".join("x" if number == 1 else " " for number in numbers).split())
    assert longest * _STEP_S <= FAIR_AFTER_S + 2 * TURN_S


def test_a_stream_of_short_urgent_ones_starves_nothing_either() -> None:
    turns = Turns()
    turns.add(_job(1, Rank.VERIFY))
    seen = set()
    for number in range(2, 200):
        turns.add(_job(number, Rank.DIGEST))
        job = turns.job(number * _STEP_S)
        assert job is not None
        seen.add(job.number)
        if job.number != 1:
            turns.remove(job.number)
    assert 1 in seen


def test_a_walk_without_credit_does_nothing_until_it_is_given_some() -> None:
    turns = Turns()
    walk = _job(1, Rank.WALK, credit=0)
    turns.add(walk)
    assert turns.job(0.0) is None
    walk.credit = 1
    assert turns.job(0.0) is walk
    walk.credit = 0
    assert turns.job(0.0) is None
