"""All mutants: each promise of docs/semantics.md is broken at least once."""

from __future__ import annotations

from typing import Final

from tests.mutants import (
    appearing,
    beyond_the_site,
    by_cid,
    bytes_and_failures,
    calls,
    coming_and_going,
    healing,
    hostile,
    kept_once,
    making_room,
    natively,
    not_here,
    peers,
    pinned,
    serving,
    sites,
    team,
    told,
    waiting,
    watching,
)
from tests.mutants.mutant import Mutant

MUTANTS: Final[tuple[Mutant, ...]] = (
    *calls.MUTANTS,
    *bytes_and_failures.MUTANTS,
    *coming_and_going.MUTANTS,
    *not_here.MUTANTS,
    *making_room.MUTANTS,
    *by_cid.MUTANTS,
    *kept_once.MUTANTS,
    *pinned.MUTANTS,
    *told.MUTANTS,
    *healing.MUTANTS,
    *watching.MUTANTS,
    *hostile.MUTANTS,
    *serving.MUTANTS,
    *sites.MUTANTS,
    *team.MUTANTS,
    *peers.MUTANTS,
    *waiting.MUTANTS,
    *appearing.MUTANTS,
    *beyond_the_site.MUTANTS,
    *natively.MUTANTS,
)

WITHOUT: Final = {
    "S2": "no test holds how long mounting takes: the bench measures it",
}
"""Promises that no mutant breaks, and why."""
