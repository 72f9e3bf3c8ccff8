"""What metrics are read from: the parts of a running view, and what its store says at that moment."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import trio

from ipfsfs.errors import StoreError
from ipfsfs.workers.fetcher.served import by_kind
from ipfsfs.workers.server.totals import Totals

if TYPE_CHECKING:
    # Who only shows metrics, such as the process that serves them, need not load the view.
    from ipfsfs.daemon.lifecycle import Running
    from ipfsfs.exchange.loads import Loads
    from ipfsfs.view.counts import Counts
    from ipfsfs.view.view import View
    from ipfsfs.workers.fetcher.client import Fetcher

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_KINDS: Final = ("rot", "unreadable", "broken_promise", "withdrawn")


@dataclass(slots=True, frozen=True)
class Facts:
    """A view at one moment. `wrong`: by kind, how many files have wrong content. `quarantine_bytes`: what lies there.
    `memory`: by process, the bytes it has in memory."""

    view: View
    since: float
    version: str
    wrong: Mapping[str, int]
    quarantine_bytes: int
    memory: Mapping[str, int]
    is_degraded: bool

    @property
    def counts(self) -> Counts:
        """What the view counted of requests."""
        return self.view.counts

    @property
    def loads(self) -> Loads:
        """The loads of files that are not here."""
        return self.view.hydrating.loads

    @property
    def fetcher(self) -> Fetcher:
        """What asks origins."""
        return self.view.fetcher

    @property
    def served(self) -> Totals:
        """What other machines may have and were given."""
        return Totals() if self.view.offers is None else self.view.offers.server.totals

    @property
    def sources(self) -> Mapping[str, int]:
        """The bytes that came to this machine, by the kind of their source."""
        fetched: dict[str, int] = {kind: served.bytes for kind, served in by_kind(self.fetcher.served).items()}
        return {**fetched, "downloads": self.view.upkeep.promises.downloads.kept_bytes}


async def gather(running: Running, version: str) -> Facts:
    """The facts of now. Never fails: where the store cannot be read the view counts as degraded."""
    wrong: Counter[str] = Counter(dict.fromkeys(_KINDS, 0))
    size, unreadable = 0, False
    try:
        found = await trio.to_thread.run_sync(running.view.seals.ledger.findings.all)
        wrong.update(finding.kind for finding in found)
        size = (await trio.to_thread.run_sync(running.quarantine.usage)).size
    except (StoreError, OSError):
        unreadable = True
    view = running.view
    server = None if view.offers is None else view.offers.server.pid
    processes = {"daemon": os.getpid(), "fetcher": view.fetcher.pid, "server": server}
    return Facts(
        view=view,
        since=running.since,
        version=version,
        wrong=wrong,
        quarantine_bytes=size,
        memory={name: _resident(pid) for name, pid in processes.items() if pid is not None},
        is_degraded=bool(running.view.seals.degraded) or unreadable,
    )


def _resident(pid: int) -> int:
    """Bytes that a process has in memory; 0 where it is gone."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * _PAGE
    except (OSError, IndexError, ValueError):
        return 0
