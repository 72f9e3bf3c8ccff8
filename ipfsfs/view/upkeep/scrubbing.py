"""Scrubbing: which files were verified in full since the mount, and verifying them again at an interval.

The reads of a file that is read natively pass the daemon, so that none of them is compared with its seal. Where the
filesystem beneath compares nothing either, the file is verified instead: before it is read natively for the first time,
and again before the interval has passed, for as long as it keeps its seal. Rot is then reported within that time, and
not prevented. What is never read natively is not verified: each read of it is checked.

What is verified is what the disk has. The sealer reads past the page cache (O_DIRECT), which keeps all that it holds;
where the filesystem does not know that, the file's pages that no program has mapped leave the page cache first.

A file that is sealed counts as verified, for all its bytes were read for that, and what the page cache has of it since
then is as it was sealed. The disk may have stored other bytes: that is found when the file is due, so within the
interval like all other rot. Time in which the machine sleeps does not count.
"""

from __future__ import annotations

import logging
import math
import os
import time
from dataclasses import dataclass, field
from typing import Final

import trio

from ipfsfs.errors import IpfsfsError
from ipfsfs.exchange.verify import is_unreadable
from ipfsfs.store.seal import UNIT, Seal
from ipfsfs.store.seals import Seals
from ipfsfs.view.backing import Node
from ipfsfs.view.nodes import NodeTable
from ipfsfs.view.open_files import OpenFiles
from ipfsfs.view.upkeep.damage import Damage
from ipfsfs.view.upkeep.scrubbed import Scrubbed
from ipfsfs.workers.sealer.client import Sealer, Urgency
from ipfsfs.workers.sealer.outcome import Failed, Gone, Verified

log = logging.getLogger(__name__)

_DUE: Final = 0.75
"""After which part of the interval a file is verified again: what is left must be enough for those before it, and for
reading it."""
_FILES_MOST: Final = 100_000
"""Files of which anything is known. One takes some 400 bytes; of more, those are forgotten that are due soonest."""
_WANTED_MOST: Final = 10_000
"""Files that wait to be verified. What is opened beyond that is wanted again when it is opened next."""
_AGAIN_S: Final = 1.0
_AGAIN_MOST_S: Final = 3600.0
"""How long a file waits after it could not be verified: twice as long each time, then it is left alone."""


@dataclass(slots=True, eq=False)
class _File:
    """What is known of a sealed file. `due`: when it is to be verified again, where it `is_used`: it is read natively,
    or was opened by who would have it so. `until`: how long it is vouched for. `is_damaged`: it is vouched for no more
    until it is sealed anew. What the page cache has of it may be wrong even where the disk has the right bytes."""

    seal_id: int
    due: float
    until: float = -math.inf
    is_used: bool = False
    is_damaged: bool = False


@dataclass(slots=True)
class _Wanted:
    """A file that waits to be verified. `at`: not before then."""

    at: float
    again_s: float = _AGAIN_S


@dataclass(slots=True)
class Scrubbing:
    """Verifies files, one at a time, while the machine has nothing better to do. What it knows is in memory: each mount
    begins anew."""

    nodes: NodeTable
    files: OpenFiles
    seals: Seals
    sealer: Sealer
    damage: Damage
    boot: str
    interval_s: float | None
    """None: every read of a sealed file is checked, and nothing is to be vouched for."""
    _known: dict[int, _File] = field(default_factory=dict)
    """By inode; those that are due soonest come first, for all of them wait equally long."""
    _wanted: dict[int, _Wanted] = field(default_factory=dict)
    """By inode."""
    _in_hand: int | None = None
    """The inode of the file that is being verified."""
    _up_to_date_at: int | None = None
    _wake: trio.Event = field(default_factory=trio.Event)

    def vouches(self, seal: Seal) -> bool:
        """Whether the file of this seal was verified in full since the mount, and within the interval. By the seal and
        not by the file: one that is sealed anew has to be verified, or sealed, since then."""
        known = self._known.get(seal.ino)
        return known is not None and known.seal_id == seal.seal_id and trio.current_time() < known.until

    def used(self, seal: Seal) -> None:
        """A file that is vouched for is read natively from now on: it is to be verified again and again."""
        known = self._known.get(seal.ino)
        if known is not None and known.seal_id == seal.seal_id:
            known.is_used = True

    def is_damaged(self, seal: Seal) -> bool:
        """Whether bytes of the file of this seal were found to be others than were written there."""
        known = self._known.get(seal.ino)
        return known is not None and known.seal_id == seal.seal_id and known.is_damaged

    def wanted(self, node: Node) -> None:
        """A file was opened that could be read natively, and is not vouched for: verify it soon, once. Never waits."""
        if self.interval_s is None or node.dev != self.seals.dev:
            return
        if node.ino in self._wanted or len(self._wanted) >= _WANTED_MOST:
            return
        seal, known = self.seals.get(node.ino), self._known.get(node.ino)
        if seal is None or self.vouches(seal):
            return
        if known is not None and known.seal_id == seal.seal_id and known.is_damaged:
            return
        self._wanted[node.ino] = _Wanted(trio.current_time())
        self._wake.set()

    def sealed(self, seal: Seal) -> None:
        """A file was sealed, for which all its bytes were read a moment ago."""
        if self.interval_s is not None:
            self._wanted.pop(seal.ino, None)
            now = trio.current_time()
            self._remember(seal.ino, _File(seal.seal_id, now + _DUE * self.interval_s, now + self.interval_s))
            self._wake.set()

    def changed(self, ino: int) -> None:
        """A file is about to change, or is gone: its seal holds no longer."""
        self._known.pop(ino, None)
        self._wanted.pop(ino, None)

    def found_damaged(self, seal: Seal) -> None:
        """Some bytes of a sealed file are not what was written there, whoever read them."""
        if self.interval_s is not None:
            known = self._known.get(seal.ino)
            if known is None or known.seal_id != seal.seal_id:
                known = _File(seal.seal_id, trio.current_time() + _DUE * self.interval_s)
                self._remember(seal.ino, known)
            known.until, known.is_damaged = -math.inf, True

    @property
    def progress(self) -> Scrubbed:
        """How far it is."""
        now = trio.current_time()
        used = {ino: known for ino, known in self._known.items() if known.is_used and not known.is_damaged}
        vouched_for = sum(now < known.until for known in used.values())
        due = {ino for ino, known in used.items() if known.due <= now or ino == self._in_hand}
        return Scrubbed(vouched_for, len(due | self._wanted.keys()), self._up_to_date_at)

    async def run(self) -> None:
        """Verify what is wanted and what is due, until cancelled."""
        while self.interval_s is not None:
            ino = self._next(trio.current_time())
            if ino is None:
                await self._until_due()
                continue
            self._in_hand = ino
            try:
                await self._scrub(ino, self.interval_s)
            except Exception:  # a bug met with one file must not end it for all others
                log.exception("a bug in verifying inode %d", ino)
            self._in_hand = None
            if not self._wanted and self._next(trio.current_time()) is None:
                self._up_to_date_at = int(time.time())

    def _next(self, now: float) -> int | None:
        """The inode of the file that has waited longest of those that are due or wanted."""
        due, ino = next(((known.due, ino) for ino, known in self._known.items()), (math.inf, None))
        for wanted_ino, wanted in self._wanted.items():
            if wanted.at <= now:
                due, ino = min((due, ino), (wanted.at, wanted_ino), key=lambda one: one[0])
                break
        return ino if due <= now else None

    async def _until_due(self) -> None:
        self._wake = trio.Event()
        due = next((known.due for known in self._known.values()), math.inf)
        with trio.move_on_at(min((wanted.at for wanted in self._wanted.values()), default=math.inf)):
            with trio.move_on_at(due):
                await self._wake.wait()

    async def _scrub(self, ino: int, interval_s: float) -> None:
        """Verify a file whose turn it is."""
        began = trio.current_time()
        waited = self._wanted.pop(ino, None)
        seal, known = self.seals.get(ino), self._known.pop(ino, None)
        is_used = waited is not None or (known is not None and known.is_used)
        if seal is None or not is_used:
            await trio.lowlevel.checkpoint()
            return
        if known is None or known.seal_id != seal.seal_id:
            known = _File(seal.seal_id, began)
        known.due, known.is_used = began + _DUE * interval_s, True
        self._remember(ino, known)
        path = await self._path(ino)
        if path is None or known.is_damaged:
            return
        outcome = await self._verified(path, seal)
        current = self.seals.get(ino)
        if self._known.get(ino) is not known:
            return  # it was sealed anew meanwhile, or there are too many
        if current is None or current.seal_id != seal.seal_id:
            del self._known[ino]  # it was written meanwhile, or removed
        elif isinstance(outcome, Verified) and not outcome.unchanged:
            if current.identity == seal.identity:
                del self._known[ino]  # it was changed beneath, which its next open finds
            else:
                self._try_again(ino, waited)  # by a new name or mode
        elif outcome is None or isinstance(outcome, Gone):
            self._try_again(ino, waited)  # the sealer was lost; or it is renamed just now
        elif is_unreadable(outcome):
            self.found_damaged(current)
            self.damage.is_unreadable(path, current)
        elif isinstance(outcome, Failed):
            self._try_again(ino, waited)
        elif outcome.bad_units:
            self._judge(path, current, outcome.bad_units[0] // UNIT)
        elif not known.is_damaged:
            known.until = began + interval_s
            await self.seals.mended(path, "rot")
            await self.seals.mended(path, "unreadable")

    async def _verified(self, path: bytes, seal: Seal) -> Verified | Gone | Failed | None:
        """What the sealer says of a file; None when it was lost meanwhile. The checksums are enough: they are what
        reads are compared with."""
        try:
            return await self.sealer.verify(path, seal.identity, sums=seal.sums, leaves=None, urgency=Urgency.IDLE)
        except IpfsfsError as error:
            log.warning("%s: not verified: %s", os.fsdecode(path), error)
            return None

    def _judge(self, path: bytes, seal: Seal, unit: int) -> None:
        """Bytes differ from what was sealed: did the disk forget, or can nobody tell (H16)?"""
        if seal.vouches(self.boot):
            self.found_damaged(seal)
            self.damage.is_rot(path, seal, unit)
            return
        log.warning("%s: changed or rotten since it was sealed, which of both cannot be told", os.fsdecode(path))
        del self._known[seal.ino]
        node = self.nodes.find(self.seals.dev, seal.ino)
        file = self.files.of(node) if node is not None else None
        if file is not None and file.seal is not None and file.seal.seal_id == seal.seal_id:
            file.attach(None)
        self.seals.lapse(seal.ino)  # it is sealed as it is now when it is opened next, or by a walk

    def _try_again(self, ino: int, waited: _Wanted | None) -> None:
        again_s = waited.again_s if waited is not None else _AGAIN_S
        if again_s <= _AGAIN_MOST_S:
            self._wanted[ino] = _Wanted(trio.current_time() + again_s, 2 * again_s)

    def _remember(self, ino: int, known: _File) -> None:
        """It is due after all that are known."""
        self._known.pop(ino, None)
        self._known[ino] = known
        while len(self._known) > _FILES_MOST:
            del self._known[next(iter(self._known))]

    async def _path(self, ino: int) -> bytes | None:
        """Where a file is: by the name that the kernel knows, else where it was seen last."""
        await trio.lowlevel.checkpoint()
        node, index = self.nodes.find(self.seals.dev, ino), self.seals.index
        if node is not None and node.parent is not None and node.held < 0:
            return self.nodes.path(node)
        if index is None:
            return None
        try:
            return await trio.to_thread.run_sync(index.path_of, ino)
        except IpfsfsError as error:
            log.info("it is not known where inode %d is: %s", ino, error)
            return None
