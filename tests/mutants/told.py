"""Mutants of the promise on what is told of files that are not here: S50."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

_COUNTED: Final = "tests/unit/test_overview.py"
_TOLD: Final = "tests/mount/placeholders/test_told.py"
_OVERVIEW: Final = "ipfsfs/exchange/overview.py"

MUTANTS: Final[tuple[Mutant, ...]] = (
    Mutant(
        "S50",
        "a file counts for each of its names",
        _OVERVIEW,
        "            if part.file in self.files:\n",
        "            if part.file in self.parts:\n",
        (_COUNTED,),
    ),
    Mutant(
        "S50",
        "secrets are counted",
        _OVERVIEW,
        "        if kind is Kind.SECRET:\n",
        "        if kind is None:\n",
        (_COUNTED,),
    ),
    Mutant(
        "S50",
        "who refused a leaf is forgotten when another gives it",
        "ipfsfs/origins/ordered.py",
        "origin.name, self._said(said))",
        "origin.name, ())",
        (_TOLD,),
    ),
    Mutant(
        "S50",
        "what is not wholly here is not listed at the end",
        "ipfsfs/cli/not_here.py",
        "entry.here < entry.size]",
        "entry.here > entry.size]",
        (_TOLD,),
    ),
)
