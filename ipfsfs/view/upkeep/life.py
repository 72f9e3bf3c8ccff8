"""A file's life as sealing sees it: its states, what can happen, and which state follows. `docs/concurrency.md` shows
the table, drawn by `python -m tests.support.generated_docs`."""

from __future__ import annotations

from enum import Enum
from typing import Final


class State(Enum):
    """What sealing has to do with a file."""

    UNSEALED = "it has no seal, and nothing is planned"
    DUE = "it is to be sealed when it has been left alone for a moment"
    QUEUED = "it waits until fewer files of its size are being hashed"
    HASHING = "the sealer reads it"
    OVERTAKEN = "the sealer reads it, and it was changed or looked at anew meanwhile"
    SEALED = "its seal is entered; a power cut may take its bytes"
    SETTLED = "its seal is entered, and its bytes are on disk"
    BREAKING = "its seal is being broken, durably, before bytes of it change (`OpenFile.breaking`)"
    UNSEALABLE = "its content is a secret, or no seal can hold it"


class Event(Enum):
    """What can happen to it."""

    CHANGED = "it was made, written, renamed, found changed beneath, or opened without a seal"
    RESTED = "it was left alone for a moment"
    UP_TO_DATE = "its seal still agrees with it"
    STARTED = "its turn has come"
    HASHED = "it was hashed, and did not change meanwhile"
    POSTPONED = "it is open for writing, has just changed, or the sealer died"
    REFUSED = "its content is a secret, or no seal can hold it"
    DROPPED = "it is gone, has become scratch, or cannot be read"
    ON_DISK = "its bytes were seen to reach the disk"
    OVERWRITTEN = "bytes below its sealed size are about to change"
    BROKEN = "the ledger on disk says that its seal is broken"


_S, _E = State, Event

TABLE: Final[dict[tuple[State, Event], State]] = {
    (_S.UNSEALED, _E.CHANGED): _S.DUE,
    (_S.DUE, _E.CHANGED): _S.DUE,
    (_S.DUE, _E.RESTED): _S.QUEUED,
    (_S.DUE, _E.UP_TO_DATE): _S.SEALED,
    (_S.DUE, _E.REFUSED): _S.UNSEALABLE,
    (_S.DUE, _E.DROPPED): _S.UNSEALED,
    (_S.QUEUED, _E.CHANGED): _S.DUE,
    (_S.QUEUED, _E.STARTED): _S.HASHING,
    (_S.HASHING, _E.CHANGED): _S.OVERTAKEN,
    (_S.HASHING, _E.HASHED): _S.SEALED,
    (_S.HASHING, _E.POSTPONED): _S.DUE,
    (_S.HASHING, _E.REFUSED): _S.UNSEALABLE,
    (_S.HASHING, _E.DROPPED): _S.UNSEALED,
    (_S.OVERTAKEN, _E.CHANGED): _S.OVERTAKEN,
    (_S.OVERTAKEN, _E.HASHED): _S.DUE,
    (_S.OVERTAKEN, _E.POSTPONED): _S.DUE,
    (_S.OVERTAKEN, _E.REFUSED): _S.DUE,
    (_S.OVERTAKEN, _E.DROPPED): _S.DUE,
    (_S.SEALED, _E.CHANGED): _S.DUE,
    (_S.SEALED, _E.ON_DISK): _S.SETTLED,
    (_S.SEALED, _E.OVERWRITTEN): _S.BREAKING,
    (_S.SETTLED, _E.CHANGED): _S.DUE,
    (_S.SETTLED, _E.OVERWRITTEN): _S.BREAKING,
    (_S.BREAKING, _E.BROKEN): _S.UNSEALED,
    (_S.UNSEALABLE, _E.CHANGED): _S.DUE,
}
"""A pair that is not here cannot come about. A file that is due keeps the seal it has while that agrees with it: a new
mode or name makes it due, and it is found to be up to date."""


def after(state: State, event: Event) -> State:
    """The state that follows. Raises KeyError where `event` cannot come in `state`."""
    return TABLE[state, event]
