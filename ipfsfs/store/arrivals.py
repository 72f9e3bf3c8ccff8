"""Which files took the place of placeholders, on their way to the ledger: many at once, for each write waits for the
disk. What a kill takes from it costs that those files count as their user's, and are not evicted."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import trio

from ipfsfs.store.seals import Seals
from ipfsfs.store.tables.brought import BroughtFile

_BATCH_S: Final = 0.5


@dataclass(slots=True)
class Arrivals:
    """Files that came, until the ledger has them."""

    seals: Seals
    _new: list[BroughtFile] = field(default_factory=list)
    _writing: trio.Lock = field(default_factory=trio.Lock)
    _wake: trio.Event = field(default_factory=trio.Event)

    def note(self, file: BroughtFile) -> None:
        """A file came. Never waits."""
        self._new.append(file)
        self._wake.set()

    async def write(self) -> None:
        """Return when the ledger has all that came so far, or cannot have it for now."""
        async with self._writing:
            if self._new:
                batch, self._new = self._new, []
                await self.seals.record(lambda ledger: ledger.brought.add_all(batch))

    async def run(self) -> None:
        """Carry them to the ledger, until cancelled; what is new then is written first."""
        try:
            while True:
                await self._wake.wait()
                await trio.sleep(_BATCH_S)
                self._wake = trio.Event()
                await self.write()
        finally:
            with trio.CancelScope(shield=True):
                await self.write()
