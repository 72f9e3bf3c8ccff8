"""Mutants of the promises on secrets and on what comes from outside: S58 and S59."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

_SETTINGS: Final = "tests/origins/test_settings.py"
_HANGS: Final = "tests/faults/test_fetcher_hangs.py"

MUTANTS: Final[tuple[Mutant, ...]] = (
    Mutant(
        "S58",
        "an address that is refused is shown with its query",
        "ipfsfs/origins/address.py",
        '    shown = re.sub(r"[?#].*", "?...", url, count=1, flags=re.DOTALL)\n',
        "    shown = url\n",
        (_SETTINGS,),
    ),
    Mutant(
        "S58",
        "what a server says is shown as it is",
        "ipfsfs/origins/said.py",
        "        parts[number] = _HIDDEN + part[sum(",
        "        parts[number] = begin + part[0 * sum(",
        ("tests/origins/test_hostile.py::test_a_server_that_repeats_what_it_was_asked_with_does_not_have_it_shown",),
    ),
    Mutant(
        "S59",
        "a fetcher that hangs stays",
        "ipfsfs/workers/process.py",
        "            if self._looks > _LOOKS:\n",
        "            if self._looks < 0:\n",
        (f"{_HANGS}::test_h48_a_fetcher_that_hangs_is_replaced_and_who_waits_gets_the_bytes",),
    ),
    Mutant(
        "S59",
        "a table of leaves is waited for without end",
        "ipfsfs/exchange/loads.py",
        "            with patience:\n",
        "            if patience:\n",
        (f"{_HANGS}::test_h48_reads_that_a_stopped_fetcher_owes_end_in_eio_and_no_other_waits",),
    ),
    Mutant(
        "S59",
        "a tree that is too deep is cut short",
        "ipfsfs/origins/dag.py",
        "levels: float = math.inf)",
        "levels: float = 100)",
        ("tests/unit/test_naming.py::test_h37_a_tree_that_is_too_deep_is_refused_and_not_cut_short",),
    ),
)
