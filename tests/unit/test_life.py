"""The table of a file's states: no state is a dead end, and none is out of reach."""

from __future__ import annotations

import pytest

from ipfsfs.view.upkeep import life
from ipfsfs.view.upkeep.life import TABLE, Event, State


def _reached_from(start: State) -> set[State]:
    reached, new = {start}, {start}
    while new:
        new = {after for (before, _), after in TABLE.items() if before in new} - reached
        reached |= new
    return reached


@pytest.mark.parametrize("state", State)
def test_a_file_may_come_to_each_state_and_from_each_to_every_other(state: State) -> None:
    assert _reached_from(state) == set(State)


@pytest.mark.parametrize("event", Event)
def test_each_event_has_its_place(event: Event) -> None:
    assert any(event is found for _, found in TABLE)


@pytest.mark.parametrize("state", [state for state in State if state is not State.BREAKING])
def test_a_change_is_never_missed(state: State) -> None:
    """While a seal is being broken nothing is written; then the file has none, and the write makes it due."""
    assert life.after(state, Event.CHANGED) in (State.DUE, State.OVERTAKEN)


@pytest.mark.parametrize("event", [Event.HASHED, Event.POSTPONED, Event.REFUSED, Event.DROPPED])
def test_what_was_hashed_while_it_changed_is_looked_at_again(event: Event) -> None:
    assert life.after(State.OVERTAKEN, event) is State.DUE


def test_what_cannot_be_is_a_mistake_that_shows() -> None:
    with pytest.raises(KeyError):
        life.after(State.UNSEALED, Event.HASHED)
