"""Mutants of the promises on settings and metrics: S45 and S46."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

_SETTINGS: Final = "tests/unit/test_settings.py"
_METRICS: Final = "tests/mount/test_metrics.py"
_FILE: Final = "ipfsfs/cli/settings/file.py"

MUTANTS: Final[tuple[Mutant, ...]] = (
    Mutant(
        "S45",
        "what is for all views goes before what is for one",
        _FILE,
        "        return own.get(name) or self.values.get(name)\n",
        "        return self.values.get(name) or own.get(name)\n",
        (_SETTINGS,),
    ),
    Mutant(
        "S45",
        "a key that is unknown is passed over",
        _FILE,
        "        return {name: self._value(table, name, value) for name, value in told.items()}\n",
        "        return {name: self._value(table, name, value) for name, value in told.items() if name in SETTINGS}\n",
        (_SETTINGS,),
    ),
    Mutant(
        "S45",
        "another user's file is used",
        _FILE,
        "        if found.st_uid not in (os.geteuid(), 0):\n",
        "        if found.st_uid < 0:\n",
        (_SETTINGS,),
    ),
    Mutant(
        "S46",
        "fetches are counted for one origin",
        "ipfsfs/workers/fetcher/client.py",
        "self.served.setdefault(arrived.by, Served())",
        'self.served.setdefault("origin", Served())',
        ("tests/workers/test_fetching.py",),
    ),
    Mutant(
        "S46",
        "reads are not counted",
        "ipfsfs/view/counts.py",
        "            self.read_bytes += length\n",
        "            self.read_bytes += 0\n",
        (f"{_METRICS}::test_s46_what_was_done_is_what_is_counted",),
    ),
    Mutant(
        "S46",
        "reads that threads answer are not counted",
        "ipfsfs/fuse/reading_threads.py",
        "                self.counts.read(len(data), waited=waits or handed.stage is Stage.BROUGHT)\n",
        "",
        (f"{_METRICS}::test_s46_what_was_done_is_what_is_counted",),
    ),
    Mutant(
        "S46",
        "of too many clients the newest is turned away",
        "ipfsfs/daemon/metrics/exporter.py",
        "self._talks.popleft().cancel()",
        "self._talks.pop().cancel()",
        (f"{_METRICS}::test_s46_hostile_clients_stall_nothing_but_themselves",),
    ),
)
