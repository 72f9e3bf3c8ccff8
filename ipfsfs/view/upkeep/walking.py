"""Walks: sealing all that lacks a seal below a directory, and from time to time in the whole tree.

What was there at mounting is found by the first walk. What is made, or changed, beneath the view is found when it is
opened through the view, and else by a later walk: the plain directory tells nobody of its changes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import trio

from ipfsfs.caches.place import locate
from ipfsfs.errors import SealerLost
from ipfsfs.plain.tree import Found
from ipfsfs.store.seals import Seals
from ipfsfs.view.nodes import NodeTable
from ipfsfs.view.upkeep.entering import Entering, Hashed
from ipfsfs.view.upkeep.lanes import BACKGROUND_WIDTHS, WIDTHS, Lanes
from ipfsfs.view.upkeep.promises import Promises
from ipfsfs.workers.sealer.client import Sealer, Urgency
from ipfsfs.workers.sealer.outcome import Busy, Changed, Gone, Sealed, Secret, Unfit

log = logging.getLogger(__name__)

_REST_S: Final = 0.1
"""How much longer than a file must rest the user waits who asked for its seal."""
_RETRY_S: Final = 1.0
_PERIOD_S: Final = 3600.0
"""A walk an hour: a file that nobody opens through the view is read by nobody, so all it lacks is a CID."""
_SHARE: Final = 20
"""Walks take no more than one twentieth of the time, however large the tree is."""
_IN_VAIN_MOST: Final = 2
"""How many walks in a row may be lost with the sealer, without a file sealed meanwhile, before that is an error."""
_SOONEST_S: Final = 60.0
"""How long after a walk another one is begun at the earliest, where somebody asked for it."""


@dataclass(slots=True)
class TreeProgress:
    """What a `seal` command waits for."""

    files: int = 0
    files_done: int = 0
    bytes: int = 0
    bytes_done: int = 0
    failed: int = 0


@dataclass(slots=True)
class _Walk:
    """One walk, which is begun again where the sealer is lost. `retries`: whether a file that has just changed is tried
    once more when it has rested. `failed`: inodes that are not to be tried again. `lost`: files that the sealer was
    lost with twice."""

    lanes: Lanes
    urgency: Urgency
    retries: bool
    report: Callable[[TreeProgress], None]
    progress: TreeProgress = field(default_factory=TreeProgress)
    sealed: int = 0
    failed: set[int] = field(default_factory=set)
    lost: int = 0


@dataclass(slots=True)
class Walking:
    """Seals what walks find. `waiting`: files that were found and are not done. `walked`: whether one walk over
    everything has ended."""

    nodes: NodeTable
    seals: Seals
    promises: Promises
    sealer: Sealer
    entering: Entering
    waiting: int = 0
    walked: bool = False
    _asked: trio.Event = field(default_factory=trio.Event)

    async def seal_tree(
        self, prefix: bytes, *, background: bool, report: Callable[[TreeProgress], None] = lambda _: None
    ) -> TreeProgress:
        """Seal all below `prefix` that is content and has no seal that agrees; returns when all was tried.

        What the sealer was doing when it was lost is begun again. Raises SealerLost where it was lost again and again,
        so that not all was found, or, unless in the `background`, a file has no seal for that.
        """
        urgency = Urgency.IDLE if background else Urgency.SOON
        walk = _Walk(Lanes(BACKGROUND_WIDTHS if background else WIDTHS), urgency, not background, report)
        sealed = in_vain = 0
        while (lost := await self._walk(walk, prefix)) is not None:
            in_vain = in_vain + 1 if walk.sealed == sealed else 0
            if in_vain == _IN_VAIN_MOST:
                raise lost
            sealed = walk.sealed
        if walk.lost and not background:
            raise SealerLost(f"files without a seal, for the sealer was lost twice with each of them: {walk.lost}")
        return walk.progress

    async def _walk(self, walk: _Walk, prefix: bytes) -> SealerLost | None:
        """Seal what is found until all was found, or the sealer is lost; returns when all of that was tried."""
        async with trio.open_nursery() as nursery, self.sealer.walk(prefix, urgency=walk.urgency) as batches:
            try:
                async for batch in batches:
                    for found in batch:
                        await self._found(walk, found, nursery)
                    walk.report(walk.progress)
            except SealerLost as error:  # out of the nursery it would come in a group
                return error
        return None

    async def run(self) -> None:
        """Walk over everything, and again from time to time, until cancelled."""
        retry_s = _RETRY_S
        while True:
            began = trio.current_time()
            if await self._sealed_all():
                retry_s = _RETRY_S
                await self._pause(max(_PERIOD_S, _SHARE * (trio.current_time() - began)))
            else:
                await self._pause(retry_s)
                retry_s = min(2 * retry_s, _PERIOD_S)

    async def _sealed_all(self) -> bool:
        """Walk over everything once; whether no file is left that may be sealed later."""
        try:
            progress = await self.seal_tree(b"", background=True)
        except SealerLost as error:
            log.warning("the walk over everything begins again: %s", error)
            return False
        self.walked = True
        return not progress.failed

    def look_again(self) -> None:
        """A file without a seal was met that no walk has found: begin the next walk soon. Never waits."""
        self._asked.set()

    async def _pause(self, seconds: float) -> None:
        self._asked = trio.Event()
        with trio.move_on_after(seconds):
            await trio.sleep(_SOONEST_S)
            await self._asked.wait()

    async def _found(self, walk: _Walk, found: Found, nursery: trio.Nursery) -> None:
        if found.ino in walk.failed:
            return
        if not self._wants(found):
            await self._hold_to_its_name(found)
            return
        walk.progress.files += 1
        walk.progress.bytes += found.size
        self.waiting += 1
        try:
            await walk.lanes.join(found, found.size)
        except BaseException:
            self.waiting -= 1
            raise
        nursery.start_soon(self._seal, walk, found)

    def _wants(self, found: Found) -> bool:
        name = locate(found.path, self.nodes.root_place)[1]
        if not name.is_sealed:
            self.seals.lapse(found.ino)  # it was content, until somebody gave it this name
            return False
        seal = self.seals.get(found.ino)
        if self.seals.unsealable.holds(found.identity):
            return False
        if seal is None or seal.identity != found.identity:
            return True
        self.seals.seen_at(found.ino, found.path)
        return name.promise is not None and not seal.sha256  # it came here with its directory

    async def _hold_to_its_name(self, found: Found) -> None:
        """A sealed file may have come to a name that promises something else with its directory."""
        promised = locate(found.path, self.nodes.root_place)[1].promise
        if promised is not None and not self.seals.is_found(found.path):
            seal = self.seals.get(found.ino)
            if seal is not None:
                await self.promises.sealed(found.path, promised, seal)

    async def _seal(self, walk: _Walk, found: Found) -> None:
        try:
            async with walk.lanes.turn(found, found.size):
                await self._seal_now(walk, found)
        finally:
            self.waiting -= 1

    async def _seal_now(self, walk: _Walk, found: Found) -> None:
        outcome = await self._hash(walk, found)
        if walk.retries and isinstance(outcome, Busy | Changed):
            await trio.sleep(_REST_S + (outcome.rest_s if isinstance(outcome, Busy) else 0))
            outcome = await self._hash(walk, found)
        progress = walk.progress
        match outcome:
            case Sealed():
                await self.entering.enter(found.path, outcome)
                walk.sealed += 1
            case Secret() | Gone():
                pass
            case Unfit():
                progress.failed += walk.retries  # said to who waits; another walk would not change it
            case _:
                progress.failed += 1
                walk.failed.add(found.ino)
                walk.lost += outcome is None
        progress.files_done += 1
        progress.bytes_done += found.size
        walk.report(progress)

    async def _hash(self, walk: _Walk, found: Found) -> Hashed:
        """What the sealer says of a file; once more, if it is lost with the question."""
        outcome = await self.entering.hash(found.path, found.ino, walk.urgency)
        if outcome is None:
            outcome = await self.entering.hash(found.path, found.ino, walk.urgency)
        return outcome
