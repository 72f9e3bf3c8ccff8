"""When files are sealed: soon after their last writer has gone, and, for what was there before, when nobody is waiting.

The work is the sealer's; here it is decided what is due, and what comes of it.
"""

from __future__ import annotations

import heapq
import logging
import math
import os
import secrets
import stat as stat_
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import trio

from ipfsfs.errors import IpfsfsError, SealerLost
from ipfsfs.hubcache.classify import Kind, kind, locate, promise
from ipfsfs.plain.identity import Identity
from ipfsfs.plain.tree import Found
from ipfsfs.sealer.client import Sealer, Urgency
from ipfsfs.sealer.outcome import Busy, Changed, Failed, Gone, Sealed, Secret
from ipfsfs.store.seal import Seal
from ipfsfs.unixfs.chunk import Chunker
from ipfsfs.view.nodes import Node, NodeTable
from ipfsfs.view.promises import Promises
from ipfsfs.view.reading import attach
from ipfsfs.view.seals import Seals

log = logging.getLogger(__name__)

_QUIET_S: Final = 0.3
"""How long a file must have been left alone before it is sealed: longer than the clock's tick hides a change."""
_BURST_S: Final = 5.0
"""While files are made one after the other, as by tar, how long the first of them waits: sealing takes from whoever
makes them a quarter of two cores."""
_SETTLED_S: Final = 0.1
"""How long somebody who waits is kept waiting for a file to be old enough to be sealed at all."""
_WAY_S: Final = 1.0
"""How long sealing rests after a worker has opened a file to read."""
_AGAIN_S: Final = 1.0
_AGAIN_MOST_S: Final = 60.0
_AT_ONCE: Final = 4
"""Jobs at the sealer at the same time: enough to hide the pipe's latency with small files."""
_SETTLE_S: Final = 40.0
"""When the kernel's own writeback (30 s) has written a file, asking for it costs next to nothing."""

_SEALED: Final = (Kind.CONTENT, Kind.PROMISE)
_WALK_AGAIN_MOST_S: Final = 3600.0


@dataclass(slots=True)
class Progress:
    """What a `seal` command waits for."""

    files: int = 0
    files_done: int = 0
    bytes: int = 0
    bytes_done: int = 0
    failed: int = 0


@dataclass(slots=True)
class Sealing:
    """Decides what to seal, and enters what was sealed."""

    nodes: NodeTable
    seals: Seals
    promises: Promises
    sealer: Sealer
    chunker: Chunker
    boot: str
    walked: bool = False
    """Whether everything that was there at mounting has been looked at once."""
    waiting: int = 0
    """Files known to lack a seal, of those that are to have one."""
    secret: set[int] = field(default_factory=set)
    """Inodes of files that are secret by their content."""
    _due: dict[int, tuple[Node, float, float]] = field(default_factory=dict)
    _changed_at: float = -math.inf
    _made_way: float = -math.inf
    _at_work: set[Node] = field(default_factory=set)
    _settle: list[tuple[float, int, bytes]] = field(default_factory=list)
    _wake: trio.Event = field(default_factory=trio.Event)
    _sealed: trio.Event = field(default_factory=trio.Event)
    _limiter: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(_AT_ONCE))

    @property
    def unsealed(self) -> int:
        """How many files still wait for their seal, as far as is known."""
        return self.waiting + len(self._due)

    def changed(self, node: Node) -> None:
        """A file was made, written, renamed or found changed: seal it when it has been left alone for a moment."""
        self._changed_at = trio.current_time()
        self._later(node, _QUIET_S, _AGAIN_S)

    def make_way(self) -> None:
        """A worker opens files, and is about to load them: two busy processors are each slower than one."""
        now = trio.current_time()
        if now > self._made_way + _WAY_S / 2:
            self._made_way = now
            self.sealer.make_way(_WAY_S)

    def _later(self, node: Node, wait_s: float, again_s: float) -> None:
        if node.dev != self.nodes.plain.dev or node.parent is None:
            return
        self.secret.discard(node.ino)
        self._due[node.ino] = (node, trio.current_time() + wait_s, again_s)
        self._wake.set()

    def _wanted(self, node: Node) -> bool:
        if node.parent is None or node.held >= 0:
            return False
        return kind(self.nodes.place(node.parent), node.name) in _SEALED

    async def run(self) -> None:
        """Seal what becomes due, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._run_settling)
            while True:
                now = trio.current_time()
                due = [ino for ino, (_, at, _) in self._due.items() if at <= now]
                for ino in due:
                    node, _, again_s = self._due.pop(ino)
                    if not self._wanted(node) or self.seals.index is None:
                        continue
                    if node in self._at_work:  # changed while it is being hashed: once more after that
                        self._later(node, _AGAIN_S, again_s)
                        continue
                    self._at_work.add(node)
                    await self._limiter.acquire_on_behalf_of(node)
                    nursery.start_soon(self._seal_node, node, again_s)
                await self._until_due()

    async def _until_due(self) -> None:
        """Wait until something is due and no more is being made, or the first of it has waited long enough."""
        while True:
            earliest = min((at for _, at, _ in self._due.values()), default=math.inf)
            begin = min(max(earliest, self._changed_at + _QUIET_S), earliest + _BURST_S)
            now = trio.current_time()
            if begin <= now:
                return
            if begin <= now + _QUIET_S:  # nothing that is changed meanwhile can be due earlier
                await trio.sleep_until(begin)
                continue
            self._wake = trio.Event()
            with trio.move_on_at(begin):
                await self._wake.wait()

    async def _seal_node(self, node: Node, again_s: float) -> None:
        try:
            await self._seal_one(node, again_s)
        except Exception:  # a bug met with one file must not end the view
            log.exception("a bug in sealing %s", os.fsdecode(self.nodes.path(node)))
        finally:
            self._at_work.discard(node)
            self._limiter.release_on_behalf_of(node)

    async def _seal_one(self, node: Node, again_s: float) -> None:
        if node.file is not None and node.file.writers:
            node.file.written = True  # its last writer's going makes it due again
            return
        try:
            st = self.nodes.stat(node)
        except OSError:
            return
        if not stat_.S_ISREG(st.st_mode) or self.seals.agreeing(st) is not None or node.parent is None:
            return
        path, ino = self.nodes.path(node), node.ino
        outcome = await self._hash(path, ino, background=False)
        match outcome:
            case Sealed():
                await self._enter(path, outcome)
            case Busy() | Changed() | None:
                self._later(node, again_s, min(2 * again_s, _AGAIN_MOST_S))
            case Gone() | Secret() | Failed():
                pass

    async def _hash(
        self, path: bytes, ino: int, *, background: bool
    ) -> Sealed | Busy | Changed | Gone | Secret | Failed | None:
        """What the sealer says of a file; None when it was lost meanwhile."""
        place, _ = locate(path, self.nodes.root_place)
        promised = promise(place, path.rpartition(b"/")[2])
        try:
            outcome = await self.sealer.seal(
                path,
                ino,
                chunker=self.chunker,
                whole=promised is not None and not self.promises.knows(ino),
                urgency=Urgency.IDLE if background else Urgency.SOON,
            )
        except IpfsfsError as error:
            log.warning("%s: %s", os.fsdecode(path), error)
            return None
        if isinstance(outcome, Sealed) and promised is not None:
            if not (outcome.sha256 or self.promises.digest_of(outcome.identity)):
                self.promises.forget_digest(ino)
                return Changed()  # since its rename: the whole has to be hashed after all
        elif isinstance(outcome, Secret):
            self.secret.add(ino)
        elif isinstance(outcome, Failed):
            log.warning("%s: not sealed: %s", os.fsdecode(path), outcome.message)
        return outcome

    async def _enter(self, path: bytes, sealed: Sealed) -> None:
        """Enter a sealed file, unless it broke a promise, and was withdrawn, has become a secret meanwhile, or is open
        for writing: a write looks for the seal to break where the file is open, and finds none there."""
        identity = sealed.identity
        node = self.nodes.find(self.nodes.plain.dev, identity.ino)
        if node is not None and not self._wanted(node):
            return
        seal = Seal(
            ino=identity.ino,
            born_ns=identity.born_ns,
            size=identity.size,
            mtime_ns=identity.mtime_ns,
            ctime_ns=identity.ctime_ns,
            seal_id=secrets.randbits(62),
            root=sealed.root,
            chunker=self.chunker,
            leaves=sealed.leaves,
            sums=sealed.sums,
            sha256=sealed.sha256 or self.promises.digest_of(identity),
            leased=sealed.leased,
            settled=False,
            boot=self.boot,
        )
        place, name_kind = locate(path, self.nodes.root_place)
        if name_kind is Kind.PROMISE and not await self.promises.sealed(path, place, seal):
            return
        node = self.nodes.find(self.nodes.plain.dev, seal.ino)
        if node is not None and not self._wanted(node):
            return
        file = node.file if node is not None else None
        if file is not None and file.writers:
            file.written = True  # its last writer's going makes it due again
            return
        if file is not None and file.breaking is not None:
            return  # it is being truncated, which makes it due again
        self.promises.finished(seal.ino)
        self.seals.put(seal)
        if file is not None and file.fd >= 0 and seal.agrees(os.fstat(file.fd)):
            attach(file, seal)
        await self.seals.mended(path, "rot")
        quiet_s = min(_SETTLE_S, _SETTLE_S - (time.time_ns() - seal.ctime_ns) / 1e9)
        if quiet_s > 0:
            self._settle_later(quiet_s, seal.ino, path)
        else:  # of what was there before there may be a million: they are not to wait in memory
            await self._settle_now(seal, path)

    def _settle_later(self, wait_s: float, ino: int, path: bytes) -> None:
        heapq.heappush(self._settle, (trio.current_time() + wait_s, ino, path))
        self._sealed.set()

    async def _settle_now(self, seal: Seal, path: bytes) -> None:
        try:
            if await self.sealer.settle(path, self._identity(seal)):
                self.seals.settled(seal)
        except IpfsfsError as error:
            log.info("%s: not known to be on disk yet: %s", os.fsdecode(path), error)
            self._settle_later(_SETTLE_S, seal.ino, path)

    async def _run_settling(self) -> None:
        while True:
            while not self._settle:
                self._sealed = trio.Event()
                await self._sealed.wait()
            at, ino, path = heapq.heappop(self._settle)
            await trio.sleep_until(at)
            seal = self.seals.get(ino)
            if seal is None or seal.settled:
                continue
            node = self.nodes.find(self.nodes.plain.dev, ino)
            if node is not None and node.held < 0:
                path = self.nodes.path(node)  # it may have been renamed since
            await self._settle_now(seal, path)

    async def seal_tree(
        self, prefix: bytes, *, background: bool, report: Callable[[Progress], None] = lambda _: None
    ) -> Progress:
        """Seal all below `prefix` that is content and has no seal that agrees; returns when all was tried.

        Raises SealerLost where not all was found.
        """
        progress = Progress()
        limiter = trio.CapacityLimiter(2 if background else _AT_ONCE)
        urgency = Urgency.IDLE if background else Urgency.SOON
        lost: SealerLost | None = None
        async with trio.open_nursery() as nursery, self.sealer.walk(prefix, urgency=urgency) as batches:
            try:
                async for batch in batches:
                    for found in batch:
                        if not self._wants(found):
                            await self._hold_to_its_name(found)
                            continue
                        progress.files += 1
                        progress.bytes += found.size
                        self.waiting += 1
                        await limiter.acquire_on_behalf_of(found)
                        nursery.start_soon(self._seal_found, found, background, limiter, progress, report)
                    report(progress)
            except SealerLost as error:  # out of the nursery it would come in a group
                lost = error
        if lost is not None:
            raise lost
        return progress

    def _wants(self, found: Found) -> bool:
        name_kind = locate(found.path, self.nodes.root_place)[1]
        if name_kind not in _SEALED:
            self.seals.drop(found.ino)  # it was content, until somebody gave it this name
            return False
        seal = self.seals.get(found.ino)
        return found.ino not in self.secret and (
            seal is None
            or (name_kind is Kind.PROMISE and not seal.sha256)  # it came here with its directory
            or (seal.size, seal.mtime_ns, seal.ctime_ns, seal.born_ns)
            != (found.size, found.mtime_ns, found.ctime_ns, found.born_ns)
        )

    async def _hold_to_its_name(self, found: Found) -> None:
        """A sealed file may have come to a name that promises something else with its directory."""
        place, name_kind = locate(found.path, self.nodes.root_place)
        if name_kind is Kind.PROMISE and not self.seals.is_found(found.path):
            seal = self.seals.get(found.ino)
            if seal is not None:
                await self.promises.sealed(found.path, place, seal)

    async def _seal_found(
        self,
        found: Found,
        background: bool,
        limiter: trio.CapacityLimiter,
        progress: Progress,
        report: Callable[[Progress], None],
    ) -> None:
        try:
            outcome = await self._hash(found.path, found.ino, background=background)
            if isinstance(outcome, Busy | Changed) and not background:
                await trio.sleep(_SETTLED_S)  # most often it was only just written
                outcome = await self._hash(found.path, found.ino, background=background)
            if isinstance(outcome, Sealed):
                await self._enter(found.path, outcome)
            elif not isinstance(outcome, Secret | Gone):
                progress.failed += 1
            progress.files_done += 1
            progress.bytes_done += found.size
            report(progress)
        finally:
            self.waiting -= 1
            limiter.release_on_behalf_of(found)

    async def seal_what_was_there(self) -> None:
        """Seal, when the machine has nothing better to do, what was there at mounting; until all of it is."""
        pause_s = _AGAIN_S
        while True:
            try:
                progress = await self.seal_tree(b"", background=True)
                self.walked = True
                if not progress.failed:
                    return
            except SealerLost as error:
                log.warning("the first look at what there is begins again: %s", error)
            await trio.sleep(pause_s)
            pause_s = min(2 * pause_s, _WALK_AGAIN_MOST_S)

    def _identity(self, seal: Seal) -> Identity:
        return Identity(self.nodes.plain.dev, seal.ino, seal.born_ns, seal.size, seal.mtime_ns, seal.ctime_ns)
