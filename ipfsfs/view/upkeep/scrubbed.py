"""How far scrubbing is, for who asks."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, frozen=True)
class Scrubbed:
    """How far scrubbing is, of files that are read natively: those that are vouched for, and those that wait to be
    verified, by now. `up_to_date_at`: when all that was due had been verified last, in seconds since the epoch; None:
    not yet."""

    vouched_for: int
    due: int
    up_to_date_at: int | None
