"""When files were used last: noted in memory at each close, and in the index now and then.

Nothing waits for it, and little is lost with it: what is not known of a file is read off its time of access.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import Final

import trio

from ipfsfs.errors import StoreError
from ipfsfs.store.index import Index
from ipfsfs.store.seals import Seals

log = logging.getLogger(__name__)

_WRITTEN_S: Final = 60.0
_PENDING_MOST: Final = 100_000


@dataclass(slots=True)
class Uses:
    """The last use of each file on the plain directory's device, by inode."""

    seals: Seals
    _pending: dict[int, int] = field(default_factory=dict)
    """What is not in the index yet."""
    _limiter: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(1))

    def note(self, ino: int) -> None:
        """A file is used now. Never waits."""
        self._pending[ino] = time.time_ns()

    async def last_ns(self, ino: int, accessed_ns: int) -> int:
        """When a file was used last, in ns since the epoch; `accessed_ns`, its time of access, where that is later or
        nothing else is known."""
        known = self._pending.get(ino)
        index = self.seals.index
        if known is None and index is not None:
            try:
                known = await trio.to_thread.run_sync(index.used_ns, ino, limiter=self._limiter)
            except StoreError:
                known = None
        return max(known or 0, accessed_ns)

    async def run(self) -> None:
        """Write what is new to the index now and then, until cancelled, and then once more."""
        try:
            while True:
                await trio.sleep(_WRITTEN_S)
                await self._write()
        finally:
            with trio.CancelScope(shield=True):
                await self._write()

    async def _write(self) -> None:
        index, pending = self.seals.index, self._pending
        if index is None or not pending:
            return
        self._pending = {}
        try:
            await trio.to_thread.run_sync(_put, index, pending, limiter=self._limiter)
        except StoreError as error:
            log.info("when files were used is not written down for now: %s", error)
            if len(pending) < _PENDING_MOST:
                self._pending = pending | self._pending


def _put(index: Index, pending: dict[int, int]) -> None:
    index.put_uses(pending.items())
