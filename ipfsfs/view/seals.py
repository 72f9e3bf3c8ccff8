"""What the view knows of seals: recent ones in memory, the rest in the index, which is never in the way.

Every change is seen here at once and reaches the index in batches, from one thread (H6). When the index fails, the view
goes on without it: nothing is checked, nothing is sealed, and `degraded` says why.
"""

from __future__ import annotations

import logging
import os
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, Literal

import trio

from ipfsfs.errors import StoreError
from ipfsfs.store.index import Index
from ipfsfs.store.ledger import Ledger
from ipfsfs.store.seal import Seal

log = logging.getLogger(__name__)

_REMEMBERED_BYTES: Final = 16 * 1024 * 1024
_ROW_BYTES: Final = 400
_BATCH_S: Final = 0.1
_ANEW: Final = "The next mount makes the index anew."


@dataclass(slots=True)
class Seals:
    """The seals of this view. Absent and unreadable look the same to a reader: not sealed."""

    dev: int
    """The device of the plain directory: files on others are never sealed, so an inode number says it all."""
    index: Index | None
    ledger: Ledger
    degraded: str = ""
    _recent: OrderedDict[int, Seal | None] = field(default_factory=OrderedDict)
    _recent_bytes: int = 0
    _pending: dict[int, Seal | None] = field(default_factory=dict)
    _later: list[Callable[[Index], None]] = field(default_factory=list)
    _wake: trio.Event = field(default_factory=trio.Event)
    _begun: int = 0
    _ended: int = 0
    """Batches that were begun to be written, and that were written."""
    _written: trio.Event = field(default_factory=trio.Event)
    _limiter: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(1))
    _ledger_limiter: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(1))

    def get(self, ino: int) -> Seal | None:
        """The seal of a file on the plain directory's own device, if it has one; it may no longer agree with it."""
        if ino in self._pending:
            return self._pending[ino]
        if ino in self._recent:
            self._recent.move_to_end(ino)
            return self._recent[ino]
        if self.index is None:
            return None
        try:
            seal = self.index.get(ino)
        except StoreError as error:
            self.fail(error)
            return None
        self._remember(ino, seal)
        return seal

    def agreeing(self, st: os.stat_result) -> Seal | None:
        """The seal of the file a stat result is of, if nobody has changed the file since."""
        if st.st_dev != self.dev:
            return None
        seal = self.get(st.st_ino)
        return seal if seal is not None and seal.agrees(st) else None

    def put(self, seal: Seal) -> None:
        """A file was sealed."""
        self._change(seal.ino, seal)

    def drop(self, ino: int) -> None:
        """A seal holds no longer."""
        if self.get(ino) is not None:
            self._change(ino, None)

    def restamp(self, before: os.stat_result, after: os.stat_result) -> None:
        """Carry a seal over what changes a file's ctime and not its content: rename, link, chmod, chown."""
        seal = self.agreeing(before)
        if seal is None or after.st_ctime_ns == before.st_ctime_ns:
            return
        if after.st_mtime_ns == before.st_mtime_ns and after.st_size == before.st_size:
            self._change(seal.ino, replace(seal, ctime_ns=after.st_ctime_ns))

    def settled(self, seal: Seal) -> None:
        """The bytes a seal speaks of are on disk: it may be trusted after a power cut too."""
        current = self.get(seal.ino)
        if current is not None and current.seal_id == seal.seal_id and not current.settled:
            self._change(seal.ino, replace(current, settled=True))

    async def unseal(self, seal: Seal, *, durably: bool) -> None:
        """A seal is about to be broken. With `durably` the next mount knows too, whatever happens in between (H17)."""
        self._change(seal.ino, None)
        if durably and self.index is not None:
            try:
                await trio.to_thread.run_sync(
                    self.ledger.mark_unsealed, seal.ino, seal.seal_id, limiter=self._ledger_limiter
                )
            except StoreError as error:
                self.fail(error)

    async def record(self, write: Callable[[Ledger], None]) -> None:
        """Write something to the ledger; a ledger that fails is said, and never an error for a worker."""
        if self.index is None and self.degraded == "unmounted":
            return
        try:
            await trio.to_thread.run_sync(write, self.ledger, limiter=self._ledger_limiter)
        except StoreError as error:
            self.fail(error)

    async def look_after(self) -> None:
        """See whether the index is still where it was: without changes to write, nobody would notice."""
        if self.index is not None and (why := await trio.to_thread.run_sync(self.index.healthy)):
            self.fail(StoreError(why, hint=_ANEW))

    def is_found(self, path: bytes) -> bool:
        """Whether something is known to be wrong with what stands at a path."""
        return self.ledger.has_finding(path, "rot") or self.ledger.has_finding(path, "broken_promise")

    async def mended(self, path: bytes, kind: Literal["rot", "broken_promise"] | None = None) -> None:
        """What stood at a path is gone, or right again: whatever was found of it (of one kind) counts no longer."""
        if self.ledger.has_finding(path, kind) if kind is not None else self.is_found(path):
            await self.record(lambda ledger: ledger.clear_findings(path, kind))

    def fail(self, error: StoreError) -> None:
        """Go on without the index, and leave none behind: it would vouch for files that change from now on."""
        if not self.degraded:
            log.error("%s; the view goes on without checks and seals. %s", error, error.hint)
            self.degraded = str(error)
        if self.index is not None:
            self.index.discard()
        self.index = None
        self._pending.clear()
        self._later.clear()
        self._recent.clear()
        self._recent_bytes = 0
        self._batch_ended()

    def retire(self) -> None:
        """Let go of index and ledger, which stay as they are, because somebody else is to have them now."""
        if self.index is not None:
            self.index.close()
        self.ledger.close()
        self.index = None
        self.degraded = "unmounted"
        self._recent.clear()
        self._recent_bytes = 0
        self._batch_ended()

    def _change(self, ino: int, seal: Seal | None) -> None:
        if self.index is None:
            return
        self._pending[ino] = seal
        self._remember(ino, seal)
        self._wake.set()

    def _remember(self, ino: int, seal: Seal | None) -> None:
        if ino in self._recent:
            self._recent_bytes -= _size(self._recent.pop(ino))
        self._recent[ino] = seal
        self._recent_bytes += _size(seal)
        while self._recent_bytes > _REMEMBERED_BYTES and len(self._recent) > 1:
            _, oldest = self._recent.popitem(last=False)
            self._recent_bytes -= _size(oldest)

    async def flush(self) -> None:
        """Wait until all that was changed so far is in the index, or the index has failed.

        What is changed meanwhile is not waited for: while much is sealed there is always something.
        """
        last = self._begun + 1
        while self.index is not None and self._pending and self._ended < last:
            self._wake.set()
            await self._written.wait()

    def _batch_ended(self) -> None:
        self._ended = self._begun
        self._written.set()
        self._written = trio.Event()

    async def run(self) -> None:
        """Carry changes to the index, until cancelled; what is pending then is written first."""
        try:
            while True:
                await self._wake.wait()
                self._wake = trio.Event()
                await self._write_batch()
                await trio.sleep(_BATCH_S)
        finally:
            with trio.CancelScope(shield=True):
                await self._write_batch()

    async def _write_batch(self) -> None:
        index = self.index
        if index is None or not self._pending:
            return
        self._begun += 1
        batch = dict(self._pending)
        puts = [seal for seal in batch.values() if seal is not None]
        drops = [ino for ino, seal in batch.items() if seal is None]
        try:
            reason = await trio.to_thread.run_sync(partial(_write, index, puts, drops), limiter=self._limiter)
            if reason:
                raise StoreError(reason, hint=_ANEW)
        except Exception as error:  # whatever it is, it must not end the view
            if not isinstance(error, StoreError):
                log.exception("a bug in writing the index")
                error = StoreError(f"the index could not be written: {error}", hint=_ANEW)
            self.fail(error)
            return
        for ino, seal in batch.items():
            if self._pending.get(ino, ...) is seal:
                del self._pending[ino]
        if self._pending:
            self._wake.set()
        self._batch_ended()


def _write(index: Index, puts: list[Seal], drops: list[int]) -> str:
    if drops:
        index.drop(drops)
    if puts:
        index.put(puts)
    return index.healthy()


def _size(seal: Seal | None) -> int:
    return _ROW_BYTES + (len(seal.sums) + len(seal.leaves) if seal is not None else 0)
