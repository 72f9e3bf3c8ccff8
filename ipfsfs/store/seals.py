"""The seals of a view: recent ones in memory, the others in the index.

A change is seen here at once, and reaches the index in batches, from one thread (H6). While the disk is full, changes
wait in memory. When the index fails in another way, the view neither checks nor seals; `degraded` says which it is.
"""

from __future__ import annotations

import logging
import math
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final, get_args

import trio

from ipfsfs.errors import NoRoom, StoreError
from ipfsfs.identity import Stat
from ipfsfs.printed import command
from ipfsfs.store import recovery
from ipfsfs.store.follower import Follower, NoFollower
from ipfsfs.store.full import WAITS
from ipfsfs.store.index import Index
from ipfsfs.store.ledger import Ledger
from ipfsfs.store.pending import Pending, size_in_memory
from ipfsfs.store.seal import Seal
from ipfsfs.store.tables.findings import FindingKind
from ipfsfs.store.unsealable import Unsealable

log = logging.getLogger(__name__)

_REMEMBERED_BYTES: Final = 16 * 1024 * 1024
_HELD_BYTES: Final = 64 * 1024 * 1024
"""Memory for changes that wait for room on the disk."""
_HELD_MOST: Final = 200_000
"""Changes that wait, at most: beyond that the index is given up."""
_OWED_MOST: Final = 10_000
"""What is to be written to the ledger and waits for room: beyond that the oldest goes."""
_BATCH_S: Final = 0.1
_AGAIN_S: Final = 2.0
"""How often a disk that was full is tried again."""
_FORGET_S: Final = 60.0
"""How long a mark stays in the ledger at least: to forget some takes an fsync of all that was sealed meanwhile."""
_RETIRED: Final = "unmounted"
_ANEW: Final = "The next mount makes the index anew."


@dataclass(slots=True)
class Seals:
    """The seals of a view. To a reader, a file whose seal cannot be read is not sealed."""

    dev: int
    """The device of the plain directory: files on others are never sealed, so an inode number is enough."""
    index: Index | None
    ledger: Ledger
    degraded: str = ""
    """Why not all is as it should be: there is no index, or it waits for room. Empty where all is well."""
    unsealable: Unsealable = field(default_factory=Unsealable)
    follower: Follower = field(default_factory=NoFollower)
    _recent: OrderedDict[int, Seal | None] = field(default_factory=OrderedDict)
    _recent_bytes: int = 0
    _pending: Pending = field(default_factory=Pending)
    _owed: deque[Callable[[Ledger], None]] = field(default_factory=lambda: deque(maxlen=_OWED_MOST))
    """What is to be written to the ledger, and waits for room."""
    _is_held: bool = False
    """Whether the disk was full when index or ledger were written last."""
    _places: dict[int, bytes] = field(default_factory=dict)
    """By inode, where sealed files were seen since the last batch."""
    _unmarked: dict[tuple[int, int], None] = field(default_factory=dict)
    """By inode and seal_id, the seals that lapsed and are not yet marked as such in the ledger."""
    _forgot: float = math.inf
    """When marks were forgotten last, or it was begun to look for some."""
    _marked: trio.Event = field(default_factory=trio.Event)
    _wake: trio.Event = field(default_factory=trio.Event)
    _asked: trio.Event = field(default_factory=trio.Event)
    """Set when a task waits for the next batch, however long the last one took."""
    _begun: int = 0
    _ended: int = 0
    """Batches that were begun, and that were written or have failed."""
    _written: trio.Event = field(default_factory=trio.Event)
    _limiter: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(1))
    _owing: trio.Lock = field(default_factory=trio.Lock)
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

    def agreeing(self, st: Stat) -> Seal | None:
        """The seal of the file a stat result is of, if the file was not changed since."""
        if st.st_dev != self.dev:
            return None
        seal = self.get(st.st_ino)
        return seal if seal is not None and seal.identity.agrees(st) else None

    def put(self, seal: Seal) -> Seal:
        """A file was sealed; returns its seal from now on. One that it had before, and that was not broken, lapses
        where it was changed beneath, and goes on where nothing changed: a walk and a write may both have it sealed."""
        before = self.get(seal.ino)
        if before is not None and seal.says_the_same(before):
            seal = seal.merged(before)
        elif before is not None and before.needs_mark and self.index is not None:
            self._unmarked[seal.ino, before.seal_id] = None
        self._change(seal.ino, seal)
        return seal

    def seen_at(self, ino: int, path: bytes) -> None:
        """A sealed file is at a path from the plain root: there its leaves may be had by others that lack them."""
        if self.index is not None and not self._is_held:
            self._places[ino] = path
            self._wake.set()
        self.follower.sealed(ino, path)

    def forget(self, ino: int) -> None:
        """A file is gone for good: nothing will be written under its identity any more."""
        self.unsealable.drop(ino)
        if self.get(ino) is not None:
            self._change(ino, None)

    def lapse(self, ino: int) -> None:
        """A seal holds no longer, and the file may change from now on.

        Until that is known on disk as well, which takes a moment, no writer gets the file: see `wait_until_marked`.
        """
        seal = self.get(ino)
        if seal is not None and self.index is not None:
            if seal.needs_mark:
                self._unmarked[ino, seal.seal_id] = None
            self._change(ino, None)

    async def wait_until_marked(self, ino: int) -> None:
        """Return when no seal of a file that holds no longer could come back after a power cut (H17)."""
        while any(unmarked == ino for unmarked, _ in self._unmarked):
            self._wake.set()
            self._asked.set()
            await self._marked.wait()

    async def make_durable(self) -> None:
        """Return when every seal that was dropped so far is dropped on disk, too, or the index has failed."""
        await self.flush()
        if (index := self.index) is not None:
            try:
                await trio.to_thread.run_sync(index.make_durable, limiter=self._limiter)
            except StoreError as error:
                self.fail(error)

    def restamp(self, before: Stat, after: Stat) -> None:
        """Carry a seal over what changes a file's ctime and not its content: rename, link, chmod, chown."""
        self.unsealable.restamp(before, after)
        seal = self.agreeing(before)
        if seal is None or after.st_ctime_ns == before.st_ctime_ns:
            return
        if (identity := seal.identity.after(after)) is not None:
            self._change(seal.ino, replace(seal, identity=identity))

    def settled(self, seal: Seal) -> None:
        """The bytes a seal speaks of are on disk: it may be trusted after a power cut too."""
        current = self.get(seal.ino)
        if current is not None and current.seal_id == seal.seal_id and not current.settled:
            self._change(seal.ino, replace(current, settled=True))

    async def unseal(self, seal: Seal) -> None:
        """Content is about to change: its seal holds no longer, also after a power cut (H17)."""
        self._change(seal.ino, None)
        if self.index is not None and seal.needs_mark:
            try:
                add = self.ledger.marks.add
                await trio.to_thread.run_sync(add, seal.ino, seal.seal_id, limiter=self._ledger_limiter)
            except StoreError as error:
                self.fail(error)

    @property
    def retired(self) -> bool:
        """Whether index and ledger were given back, and may be another view's by now."""
        return self.index is None and self.degraded == _RETIRED

    async def record(self, write: Callable[[Ledger], None]) -> None:
        """Write something to the ledger: on disk when this returns, unless the disk is full, or the ledger fails. That
        is logged, and never an error for a worker."""
        if not self.retired:
            self._owed.append(write)
            await self._write_owed()

    async def _write_owed(self) -> None:
        async with self._owing:
            while self._owed and not self.retired:
                write = self._owed.popleft()
                try:
                    await trio.to_thread.run_sync(write, self.ledger, limiter=self._ledger_limiter)
                except NoRoom as error:
                    self._owed.appendleft(write)
                    self._hold(error)
                    return
                except StoreError as error:
                    self.fail(error)

    async def look_after(self) -> None:
        """Fail if the files of the index were removed or replaced; else only the next write would notice."""
        if self.index is not None and (why := await trio.to_thread.run_sync(self.index.trouble)):
            self.fail(StoreError(why, hint=_ANEW))

    def is_found(self, path: bytes) -> bool:
        """Whether something is known to be wrong with what stands at a path."""
        return any(self.ledger.findings.has(path, kind) for kind in get_args(FindingKind))

    async def mended(self, path: bytes, kind: FindingKind | None = None) -> None:
        """What stood at a path is gone, or right again: whatever was found of it (of one kind) counts no longer."""
        if self.ledger.findings.has(path, kind) if kind is not None else self.is_found(path):
            await self.record(lambda ledger: ledger.findings.clear(path, kind))

    def fail(self, error: StoreError) -> None:
        """Go on without the index, and leave none behind: it would vouch for files that change from now on."""
        if not self.degraded or self._is_held:
            log.error("%s; the view goes on without checks and seals. %s", error, error.hint)
            self.degraded = str(error)
        if self.index is not None:
            self.index.discard()
        self.index = None
        self._is_held = False
        self._forget_unmarked(list(self._unmarked))
        self._pending.clear()
        self._recent.clear()
        self._recent_bytes = 0
        self._batch_ended()

    def retire(self) -> None:
        """Close index and ledger, which stay as they are, so that another view can have them."""
        if self.index is not None:
            self.index.close()
        self.ledger.close()
        self.index = None
        self.degraded = _RETIRED
        self._forget_unmarked(list(self._unmarked))
        self._pending.clear()
        self._recent.clear()
        self._recent_bytes = 0
        self._batch_ended()

    def _change(self, ino: int, seal: Seal | None) -> None:
        if self.index is None:
            return
        self._pending.enter(ino, seal)
        self._remember(ino, seal)
        self._wake.set()
        if seal is None:
            self.follower.unsealed(ino)

    def _remember(self, ino: int, seal: Seal | None) -> None:
        if ino in self._recent:
            self._recent_bytes -= size_in_memory(self._recent.pop(ino))
        self._recent[ino] = seal
        self._recent_bytes += size_in_memory(seal)
        while self._recent_bytes > _REMEMBERED_BYTES and len(self._recent) > 1:
            _, oldest = self._recent.popitem(last=False)
            self._recent_bytes -= size_in_memory(oldest)

    async def flush(self) -> None:
        """Wait until all that was changed so far is in the index, or that has failed, be it for a full disk.

        What is changed meanwhile is not waited for: while much is sealed there is always something.
        """
        last = self._begun + 1
        while self.index is not None and (self._pending or self._places) and self._ended < last:
            self._wake.set()
            self._asked.set()
            await self._written.wait()

    def _batch_ended(self) -> None:
        self._ended = self._begun
        self._written.set()
        self._written = trio.Event()

    async def run(self) -> None:
        """Carry changes to the index, until cancelled; what is pending then is written first."""
        self._forgot = trio.current_time()
        try:
            while True:
                with trio.move_on_after(_FORGET_S if len(self.ledger.marks) else math.inf):
                    await self._wake.wait()
                self._wake = trio.Event()
                await self._write_batch()
                await self._forget_marks()
                await self._rest()
        finally:
            with trio.CancelScope(shield=True):
                await self._write_batch()

    async def _rest(self) -> None:
        """Until the next batch: a short while, in which more may come; longer for a full disk."""
        self._asked = trio.Event()
        if not self._is_held:
            await trio.sleep(_BATCH_S)
            return
        with trio.move_on_after(_AGAIN_S):
            await self._asked.wait()
        self._wake.set()

    async def _forget_marks(self) -> None:
        """Now and then, forget what the ledger says of seals that the index on disk has no longer."""
        index, now = self.index, trio.current_time()
        if index is None or self._is_held or not len(self.ledger.marks) or now - self._forgot < _FORGET_S:
            return
        self._forgot = now
        try:
            await trio.to_thread.run_sync(recovery.forget_marks, index, self.ledger, limiter=self._limiter)
        except StoreError as error:
            log.info("marks in the ledger are kept for now: %s", error)

    @property
    def has_unmarked(self) -> bool:
        """Whether a seal lapsed that the ledger does not know of yet."""
        return bool(self._unmarked)

    async def mark_lapsed(self) -> None:
        """Write down, durably, which seals lapsed; writers wait for it."""
        marks = list(self._unmarked)
        if not marks:
            return
        try:
            await trio.to_thread.run_sync(self.ledger.marks.add_all, marks, limiter=self._ledger_limiter)
        except StoreError as error:
            self.fail(error)
        self._forget_unmarked(marks)

    def _forget_unmarked(self, marks: list[tuple[int, int]]) -> None:
        for mark in marks:
            self._unmarked.pop(mark, None)
        self._marked.set()
        self._marked = trio.Event()

    async def _write_batch(self) -> None:
        await self.mark_lapsed()
        await self._write_owed()
        index = self.index
        if index is not None and (self._pending or self._places):
            self._begun += 1
            batch = self._pending.batch()
            places, self._places = self._places, {}
            try:
                await trio.to_thread.run_sync(_write, index, batch, places, limiter=self._limiter)
            except NoRoom as error:
                self._hold(error)
                self._batch_ended()
                return
            except Exception as error:  # whatever it is, it must not end the view
                if not isinstance(error, StoreError):
                    log.exception("a bug in writing the index")
                    error = StoreError(f"the index could not be written: {error}", hint=_ANEW)
                self.fail(error)
                return
            self._pending.written(batch)
            if self._pending or self._places:
                self._wake.set()
            self._batch_ended()
        if self._is_held and not self._owed:
            self._is_held = False
            if index is not None:
                self.degraded = ""
            log.info("there is room again on the disk of the store")

    def _hold(self, error: NoRoom) -> None:
        """Keep what cannot be written now, as far as there is memory for it.

        The index is right without it: which of its seals hold no longer is in the ledger. A file whose seal is given up
        here has none until it is sealed again, at the next mount at the latest.
        """
        if not self._is_held:
            log.warning("%s; %s", error, WAITS)
        self._is_held = True
        self._wake.set()
        self.degraded = self.degraded if self.index is None else f"{error}: {WAITS}"
        if given_up := self._pending.drop_oldest_seals(_HELD_BYTES):
            log.warning("no memory for %d seals that wait for room; `%s` makes them again", given_up, command("seal"))
        if len(self._pending) > _HELD_MOST:
            self.fail(error)


def _write(index: Index, batch: dict[int, Seal | None], places: dict[int, bytes]) -> None:
    if drops := [ino for ino, seal in batch.items() if seal is None]:
        index.drop(drops)
    if puts := [seal for seal in batch.values() if seal is not None]:
        index.put(puts)
    if places:
        index.place(places.items())
    if why := index.trouble():
        raise StoreError(why, hint=_ANEW)
