"""Loads: the leaves of files that are not (wholly) here, fetched into extents as they are read.

A reader waits for its leaves and for nothing else; no lock is held meanwhile. A leaf is fetched once, however many wait
for it. What readers wait for goes first, then what follows it in the file; who reads a second part of a file is loading
it (H43). Readers are patient: an origin that comes back within that time costs no error. Once one has waited in vain
nothing answers, and until an origin gives a leaf again all others are told so as soon as an attempt to have theirs has
failed. An attempt there is in any case: what lies in the extent already, or in other files, comes without an origin.
"""

from __future__ import annotations

import logging
import math
import os
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final, Protocol

import trio

from ipfsfs.errors import FormatError, IpfsfsError, NoOrigin, NotHere, OriginError
from ipfsfs.exchange.having import Having, is_for_good
from ipfsfs.exchange.keeping import Keeping
from ipfsfs.exchange.load import Follower, Load, NoFollower
from ipfsfs.exchange.local_leaves import LocalLeaves
from ipfsfs.exchange.provenance import Provenances
from ipfsfs.exchange.recutting import Recutting
from ipfsfs.exchange.stored_leaves import StoredLeaves
from ipfsfs.store.extents import Extents
from ipfsfs.store.tables.pins import PinnedFile
from ipfsfs.unixfs import cid
from ipfsfs.unixfs.reference import Reference
from ipfsfs.workers.fetcher.client import Fetcher
from ipfsfs.workers.fetcher.table import LeafTable, pack

log = logging.getLogger(__name__)

_AT_ONCE: Final = 4
"""Batches of one file that are fetched at the same time."""
_AGAIN_S: Final = 0.5
"""How long to wait after a batch that failed: those who have the content may come back."""
_ATTEMPT_S: Final = 2.0
"""How long an attempt may take where nothing answers. The kernel asks up to four times for one read."""
_BACK_S: Final = 5.0
"""How long an origin that does not answer is waited for, before all of a file is fetched from the Hub instead."""

_NOTHING: Final = "nothing came of it in time (mount --patience)"


_Key = tuple[bytes, int]
"""Root and size: of two links that name one root with different sizes, one lies, and not all know yet which."""


class Tasks(Protocol):
    """Where background tasks are started."""

    def start(self, function: Callable[..., Awaitable[object]], *arguments: object) -> None: ...


@dataclass(slots=True)
class Loads:
    """All loads of a view. `patience_s`: how long a reader waits while no leaf of its file comes."""

    fetcher: Fetcher
    extents: Extents
    tasks: Tasks
    patience_s: float
    local: LocalLeaves
    keeping: Keeping
    recutting: Recutting
    having: Having
    provenance: Provenances = field(default_factory=Provenances)
    follower: Follower = field(default_factory=NoFollower)
    completed: trio.MemoryReceiveChannel[Load] = field(init=False)
    """Loads of which all is here by now, for one task to receive, which must tell of each that it is `placed`."""
    idle: trio.Event = field(default_factory=trio.Event)
    """Set when a load has ended, so that its extent may be removed, or was moved."""
    placing: set[Load] = field(default_factory=set)
    """Loads of which all is here, and which are not put in place yet."""
    hits: int = 0
    """How often what a reader asked for was in its extent already."""
    misses: int = 0
    """How often a reader waited for leaves to be fetched, or did so in vain."""
    _completed: trio.MemorySendChannel[Load] = field(init=False)
    _loads: dict[_Key, Load] = field(default_factory=dict)
    _opening: dict[_Key, trio.Event] = field(default_factory=dict)
    _fetching: Counter[Load] = field(default_factory=Counter)
    _is_offline: bool = False

    def __post_init__(self) -> None:
        self._completed, self.completed = trio.open_memory_channel(math.inf)

    async def open(self, reference: Reference, path: bytes | None) -> Load:
        """The load of a root, for a reader, who must `close` it. `path`: of the file that is read, from the plain root;
        None where it has none. Raises NotHere, OSError."""
        load = await self._load(reference, path)
        load.readers += 1
        if path is not None:
            load.paths.add(path)
        self.having.opened(load, reference, path)
        if load.readers == 1:
            self.follower.loading(load)
        return load

    def close(self, load: Load) -> None:
        """A reader has gone. What is being fetched still comes."""
        load.readers -= 1
        self._release(load)

    def here(self, reference: Reference) -> int:
        """How many bytes of a root are in its extent, as far as its load knows; 0 where none goes on."""
        load = self._loads.get(_key(reference))
        return 0 if load is None else load.bytes_here

    async def have(self, load: Load, first: int, last: int) -> None:
        """Wait until the leaves from `first` to `last` are in the extent, or the load is retired. Raises NotHere."""
        missing = load.missing(first, last)
        if not missing:
            self.hits += 1
            return
        self.misses += 1
        with load.waiting():
            began, since = trio.current_time(), load.attempts
            while missing and not load.is_retired:
                load.want(missing)
                going_on = await self._change(load, began)
                missing = load.missing(first, last)
                if missing and (not going_on or (self._is_in_vain(load) and load.has_failed(missing, since))):
                    self._give_up(load)

    async def have_all(self, load: Load) -> None:
        """Wait until all of a file is here, and in the place of its link where that can be done. Raises NotHere."""
        with load.waiting():
            began, since = trio.current_time(), load.attempts
            while not load.whole.is_set() and not load.is_retired:
                if not load.wants_more:
                    load.want_all()
                going_on = await self._change(load, began)
                if not load.whole.is_set() and (not going_on or (self._is_in_vain(load) and load.attempts > since)):
                    self._give_up(load)
        if not load.is_retired:
            await load.done.wait()

    async def _change(self, load: Load, began: float) -> bool:
        """Wait until something comes for a load, or fails; a reader does so since `began`. Returns False where it has
        waited for long enough."""
        self._work(load)
        return await load.change(began + _ATTEMPT_S if self._is_offline else load.patient_until(self.patience_s))

    def _is_in_vain(self, load: Load) -> bool:
        """Whether it is no use to wait for a leaf once an attempt to have it has failed."""
        return self._is_offline or is_for_good(load.reference, load.failure)

    @asynccontextmanager
    async def quiet(self, load: Load) -> AsyncIterator[None]:
        """While the block runs nothing is written into the extent: it is compared with its leaves, and moved."""
        async with load.moving:
            load.is_quiet = True
            try:
                await load.no_batches(self._fetching)
                yield
            finally:
                load.is_quiet = False
                load.wake()

    def retire(self, load: Load) -> None:
        """The extent of a load is a file of the plain directory now: who reads the same root from now on has another
        load, and nothing is fetched into this one."""
        self._take_out(load)
        self.extents.discard(*_key(load.reference))

    async def leave_store(self) -> None:
        """Another daemon is about to use the store: nothing is written from now on where it would be met."""
        self.extents.leave()  # what is opened from now on lies elsewhere; what fails for that fails
        for load in list(self._loads.values()):
            self._take_out(load)
            load.wake()
        self.fetcher.end_jobs()
        for load in list(self._fetching):
            async with self.quiet(load):
                pass

    def _take_out(self, load: Load) -> None:
        if self._loads.get(_key(load.reference)) is load:
            del self._loads[_key(load.reference)]
        load.is_retired = True
        load.done.set()

    @property
    def loading(self) -> int:
        """How many files leaves are being fetched for."""
        return sum(count > 0 for count in self._fetching.values())

    @property
    def waiting(self) -> int:
        """How many readers wait for leaves."""
        return sum(load.waiting_readers for load in self._loads.values())

    def is_loading(self, root: bytes) -> bool:
        """Whether an extent of a root is open, or about to be."""
        return any(known == root for known, _ in (*self._loads, *self._opening))

    def name(self, load: Load) -> str:
        """The path of a load's extent from the directory of extents."""
        return self.extents.name(*_key(load.reference))

    def complete(self, load: Load) -> None:
        """All of a load is here: hand it over to be put in place."""
        if load.copied:
            root, size = _key(load.reference)
            log.info("%s: %d of %d bytes were copied from files of this machine", cid.to_text(root), load.copied, size)
        load.readers += 1
        self.placing.add(load)
        if load.done.is_set():  # it could not be put in place before
            load.done = trio.Event()
        self._completed.send_nowait(load)

    def placed(self, load: Load) -> None:
        """What was handed over was put in place, or cannot be."""
        self.placing.discard(load)
        load.done.set()
        if load.is_retired:
            self.follower.loaded(load)
        self.close(load)

    async def all_placed(self) -> None:
        """Wait until what is wholly here at this moment is in place, or cannot be."""
        for load in list(self.placing):
            await load.done.wait()

    def _give_up(self, load: Load) -> None:
        """Raises NotHere."""
        why = load.failure or _NOTHING
        self._is_offline = not is_for_good(load.reference, load.failure)
        raise NotHere(f"{cid.to_text(load.reference.root)} is not wholly here, and cannot be fetched: {why}")

    async def _load(self, reference: Reference, path: bytes | None) -> Load:
        key = _key(reference)
        while (load := self._loads.get(key)) is None:
            if (opening := self._opening.get(key)) is not None:
                await opening.wait()
                continue
            opened = self._opening[key] = trio.Event()
            try:
                table = await self._table(reference, path)
                sources = await self.local.sources(reference.root, table)
                if len(table) > 1:  # else there is one leaf to fetch, and a thousand such files may be begun at once
                    stored = StoredLeaves(self.extents, self.keeping.kept)
                    sources |= await trio.to_thread.run_sync(stored.sources, reference.root, table, list(sources))
                await self.keeping.give(self.extents, PinnedFile(*key))
                load = self._loads[key] = Load(reference, self.extents.open(*key), table, sources)
                if self.extents.bytes_here(*key) >= reference.size:
                    load.want_all()  # it seems to be here: it need not be read to the end to become a file
            finally:
                del self._opening[key]
                opened.set()
        return load

    async def _table(self, reference: Reference, path: bytes | None) -> LeafTable:
        """The leaves of a root: known from its CID, kept, or fetched. Raises NotHere, OSError."""
        root, size = _key(reference)
        if cid.codec(root) == cid.RAW:
            return LeafTable(pack(0, size, root) if size else b"")
        kept = self.extents.read_table(root, size) or self.keeping.kept.tables.read_table(root, size)
        if kept is not None:
            return LeafTable(kept)
        table = await self.local.table(root, size) or await self._fetched_table(reference, path)
        with suppress(OSError):  # it is fetched again next time
            self.extents.keep_table(root, size, table.records)
        return table

    async def _fetched_table(self, reference: Reference, path: bytes | None) -> LeafTable:
        """Raises NotHere, also where no node of the file comes for as long as readers are patient; OSError."""
        began = trio.current_time()
        where = cid.to_text(reference.root)
        failure: OriginError | None = None
        patience = trio.CancelScope(deadline=began + (_ATTEMPT_S if self._is_offline else self.patience_s))
        while True:
            try:
                table = await self._asked_table(reference, path, began, patience)
                self._is_offline = False
                return table
            except FormatError as error:
                self._failed(reference, error)
                raise NotHere(f"{where} is not what its link says: {error}") from error
            except trio.TooSlowError:
                pass
            except OriginError as error:
                self._failed(reference, error)
                failure = error
            in_vain = is_for_good(reference, failure)
            if in_vain or self._is_offline or trio.current_time() + _AGAIN_S > patience.deadline:
                self._is_offline = not in_vain
                raise NotHere(f"{where} is not here, and cannot be fetched: {failure or _NOTHING}") from failure
            await trio.sleep(_AGAIN_S)
            patience = trio.CancelScope(deadline=patience.deadline)

    async def _asked_table(
        self, reference: Reference, path: bytes | None, asked_since: float, patience: trio.CancelScope
    ) -> LeafTable:
        """From an origin, else from the Hub with all of the file. Raises FormatError, OriginError, OSError, and
        TooSlowError where the origins' deadline is over, which each node that comes puts off."""

        def progress() -> None:
            patience.deadline = trio.current_time() + self.patience_s

        try:
            with patience:
                source = await self.having.peers(reference, path)
                return await self.fetcher.table(reference.root, reference.size, progress, from_peers=source)
            raise trio.TooSlowError
        except OriginError as error:
            waits_s = 0.0 if self._is_offline or not error.retry else min(_BACK_S, self.patience_s / 2)
            if path is None or trio.current_time() < asked_since + waits_s:
                raise
            try:
                return await self.recutting.table(reference, path)
            except OriginError as from_hub:
                # Where there is nobody to ask, and no file of the Hub is known, waiting is no use.
                kind = NoOrigin if isinstance(error, NoOrigin) and not from_hub.retry else OriginError
                raise kind(f"{error}; {from_hub}", hint=from_hub.hint or error.hint, said=error.said) from error

    def _work(self, load: Load) -> None:
        """See that what a load wants is being fetched."""
        if not load.is_quiet and not load.is_retired and self._fetching[load] < _AT_ONCE:
            self._fetching[load] += 1
            self.tasks.start(self._fetch, load)

    async def _fetch(self, load: Load) -> None:
        """Fetch batches until nothing is wanted."""
        try:
            while not load.is_quiet and not load.is_retired and (batch := load.next_batch()):
                if load.wants_more:
                    self._work(load)
                failure = await self._fetch_batch(load, batch)
                load.ended(batch, failure)
                if failure is not None:
                    await trio.sleep(_AGAIN_S)
        finally:
            self._fetching[load] -= 1
            load.wake()
            self._release(load)

    async def _fetch_batch(self, load: Load, batch: list[int]) -> IpfsfsError | None:
        """Returns why not all of it came. The Hub is asked where nobody else has it, once it is known what for."""
        was_known = load.on_hub is not None
        failure = await self._ask_for_batch(load, batch)
        if (was_known and not load.sha256) or not isinstance(failure, OriginError):
            return failure
        if await self.having.find_others(load) and not load.is_quiet and not load.is_retired:
            return await self._ask_for_batch(load, [index for index in batch if load.missing(index, index)])
        return failure

    async def _ask_for_batch(self, load: Load, batch: list[int]) -> IpfsfsError | None:
        provenance = self.provenance.begin(*_key(load.reference), len(load.table))
        try:
            sources = [load.sources.get(index) for index in batch]
            await self.having.find(load)
            records, on_hub, name = load.table.part(batch), load.on_hub or (), self.name(load)
            async with self.fetcher.leaves(name, records, sources, on_hub, from_peers=load.from_peers) as arriving:
                async for leaf in arriving:
                    index = load.table.index_at(leaf.offset)
                    provenance.came(index, load.table[index].length, leaf.by, leaf.refused)
                    load.arrived(leaf)
                    self._is_offline = self._is_offline and not leaf.is_given
                    if load.whole.is_set():
                        self.complete(load)
        except IpfsfsError as error:
            self._failed(load.reference, error)
            return error
        return None

    def _failed(self, reference: Reference, error: IpfsfsError) -> None:
        """Note for `why` that something of a file did not come."""
        said = error.said if isinstance(error, OriginError) else ()
        why = "no origin gives what was asked for" if said else str(error)
        self.provenance.begin(*_key(reference)).failed(why, said)

    def _release(self, load: Load) -> None:
        """Close a load that nobody reads and nothing is fetched for."""
        if load.readers or self._fetching[load]:
            return
        if load.is_unwanted and not load.is_retired:
            self.extents.discard(*_key(load.reference))
        del self._fetching[load]
        if not load.is_retired:
            with suppress(OSError):
                os.utime(load.fd)  # when it was used last: what is oldest is removed first
            self.follower.ended(load)
        self._take_out(load)
        os.close(load.fd)
        self.idle.set()


def _key(reference: Reference) -> _Key:
    return reference.root, reference.size
