"""When the bytes of sealed files are on disk: only then do their seals hold across a power cut."""

from __future__ import annotations

import heapq
import logging
import os
import time
from dataclasses import dataclass, field
from typing import Final

import trio

from ipfsfs.errors import IpfsfsError
from ipfsfs.store.seal import Seal
from ipfsfs.store.seals import Seals
from ipfsfs.view.nodes import NodeTable
from ipfsfs.workers.sealer.client import Sealer

log = logging.getLogger(__name__)

_SETTLE_S: Final = 40.0
"""When the kernel's own writeback (30 s) has written a file, asking for it costs next to nothing."""


@dataclass(slots=True)
class Settling:
    """Has sealed files on disk, some time after they were written, and marks their seals as settled."""

    nodes: NodeTable
    seals: Seals
    sealer: Sealer
    _waiting: list[tuple[float, int, bytes]] = field(default_factory=list)
    _wake: trio.Event = field(default_factory=trio.Event)

    async def sealed(self, seal: Seal, path: bytes) -> None:
        """A file was sealed. An old one is settled before this returns."""
        wait_s = min(_SETTLE_S, _SETTLE_S - (time.time_ns() - seal.identity.ctime_ns) / 1e9)
        if wait_s > 0:
            self._later(wait_s, seal.ino, path)
        else:  # of what was there at mounting there may be a million: they are not to wait in memory
            await self._settle(seal, path)

    async def run(self) -> None:
        """Settle what has waited long enough, until cancelled."""
        while True:
            while not self._waiting:
                self._wake = trio.Event()
                await self._wake.wait()
            at, ino, path = heapq.heappop(self._waiting)
            await trio.sleep_until(at)
            seal = self.seals.get(ino)
            if seal is None or seal.settled:
                continue
            node = self.nodes.find(self.nodes.plain.dev, ino)
            if node is not None and node.held < 0:
                path = self.nodes.path(node)  # it may have been renamed since
            await self._settle(seal, path)

    def _later(self, wait_s: float, ino: int, path: bytes) -> None:
        heapq.heappush(self._waiting, (trio.current_time() + wait_s, ino, path))
        self._wake.set()

    async def _settle(self, seal: Seal, path: bytes) -> None:
        try:
            if await self.sealer.settle(path, seal.identity):
                self.seals.settled(seal)
        except IpfsfsError as error:
            log.info("%s: not known to be on disk yet: %s", os.fsdecode(path), error)
            self._later(_SETTLE_S, seal.ino, path)
