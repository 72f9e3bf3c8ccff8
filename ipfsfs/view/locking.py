"""Where machines that start at once meet: the client's own lock.

huggingface_hub downloads a blob under an flock, and asks whether the blob is there once it has it. While another
machine downloads that blob, the keeper (`ipfsfs.workers.keeper`) holds the lock: the client polls, says that it waits,
and ends on Ctrl-C, as it would for another process of this machine (docs/decisions/0072).

The keeper must have the lock before the client asks for it, and cannot open the lock file by its name while the kernel
creates it: the kernel holds the directory. So while the client's open is not answered yet, the keeper opens a name in
the root that is told to it alone, and that a lookup answers with the lock file itself.
"""

from __future__ import annotations

import errno
import logging
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import trio

from ipfsfs.caches.place import Guarded
from ipfsfs.plain import syscalls
from ipfsfs.view.background import Background
from ipfsfs.view.backing import Caller, Node, ReadJob
from ipfsfs.view.names import Entry
from ipfsfs.view.nodes import ROOT, NodeTable
from ipfsfs.workers.keeper.client import Keeper

log = logging.getLogger(__name__)

WITHIN_S: Final = 0.02
"""How long an open may wait, for what is known of the blob and then for the keeper: the kernel holds the directory of a
file that it creates."""
UNASKED_S: Final = 2.0
"""A lock that no client has asked for in so long is not waited for: clients poll every 50 ms."""
_PREFIX: Final = b".ipfsfs-keep-"
_NOTHING: Final = memoryview(b"")


class Leasing(Protocol):
    """What is known of downloads on other machines. Nothing here raises."""

    async def lock_opened(self, sha256: bytes) -> bool:
        """A client of this machine is about to download a blob: whether it is to wait, for another machine does so.
        Answers within 20 ms."""

    async def until_free(self, sha256: bytes) -> None:
        """Return when clients of this machine are to wait for a blob no longer: it can be had, or they are to download
        it."""


@dataclass(slots=True, eq=False)
class _Kept:
    """A lock file whose lock the keeper takes or holds. `number`: that of the lock, while it is held."""

    node: Node
    guarded: Guarded
    decided: trio.Event = field(default_factory=trio.Event)
    """Set when it is known whether the keeper has the lock."""
    free: trio.Event = field(default_factory=trio.Event)
    """Set when the lock is to be held no longer."""
    number: int = -1
    asked: float = 0.0
    """When a client opened the lock file last."""


@dataclass(slots=True, eq=False)
class KeptContent:
    """What the keeper's handle on a lock file holds: nothing. It is no reader, and no use of the file."""

    def read_nowait(self, offset: int, size: int) -> memoryview | None:
        """As `Content`."""
        return _NOTHING

    def job(self, offset: int, size: int) -> ReadJob | None:
        """As `Content`."""
        return None

    async def read(self, offset: int, size: int) -> memoryview:
        """As `Content`."""
        return _NOTHING

    def write_nowait(self, offset: int, data: bytes) -> int | None:
        """As `Content`."""
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    async def write(self, offset: int, data: bytes) -> int:
        """As `Content`."""
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    async def sync(self, *, data_only: bool) -> None:
        """As `Content`."""

    def close(self) -> None:
        """As `Content`."""


@dataclass(slots=True)
class Locking:
    """Has clients wait at their locks for blobs that another machine downloads. Without `leasing` or a keeper it does
    nothing."""

    nodes: NodeTable
    background: Background
    leasing: Leasing | None = None
    keeper: Keeper | None = None
    within_s: float = WITHIN_S
    unasked_s: float = UNASKED_S
    _kept: dict[Node, _Kept] = field(default_factory=dict)
    _named: dict[bytes, Node] = field(default_factory=dict)
    """The names by which the keeper opens lock files at this moment."""
    _is_over: bool = False

    @property
    def kept(self) -> Sequence[bytes]:
        """The digests of the blobs whose locks are held."""
        return [kept.guarded.sha256 for kept in self._kept.values() if kept.number >= 0]

    def is_keeper(self, caller: Caller) -> bool:
        """Whether it is the keeper that asks."""
        return self.keeper is not None and caller.pid == self.keeper.process.pid

    async def opened(self, node: Node) -> None:
        """A client has opened a file for writing, and waits for the answer. If it is the lock file of a blob that
        another machine downloads, the keeper has the lock when this returns, unless it is another process's."""
        if self.leasing is None or self.keeper is None or self._is_over:
            return
        if (kept := self._kept.get(node)) is None:
            guarded = self._awaited(node)
            if guarded is None:
                return
            kept = self._kept[node] = _Kept(node, guarded)
            self.background.start(self._keep, kept, self.leasing, self.keeper)
        kept.asked = trio.current_time()
        with trio.move_on_after(2 * self.within_s):
            await kept.decided.wait()

    def _awaited(self, node: Node) -> Guarded | None:
        """The blob that a file is the lock of, where both are in the view. None where the blob is here, be it as a
        link: its client takes the lock for a moment, to link to it."""
        if not node.has_name or (parent := node.parent) is None:
            return None
        guarded = self.nodes.place(parent).guarded(parent.name, node.name)
        above = parent.parent.parent if guarded is not None and parent.parent is not None else None
        if guarded is None or above is None:
            return None
        try:
            found = syscalls.open_beneath(self.nodes.directory_fd(above), guarded.path, os.O_PATH | os.O_NOFOLLOW)
        except OSError:
            return guarded
        os.close(found)
        return None

    def entry(self, parent: Node, name: bytes, caller: Caller) -> Entry | None:
        """What the keeper is answered, once, for a name that is told to it alone: the lock file that this stands for.
        Raises OSError."""
        if not self._named or parent.number != ROOT or not self.is_keeper(caller):
            return None
        node = self._named.pop(name, None)
        return None if node is None else Entry(node, node.backing.attributes(node), 0.0)

    async def _keep(self, kept: _Kept, leasing: Leasing, keeper: Keeper) -> None:
        try:
            if not await leasing.lock_opened(kept.guarded.sha256) or self._is_over:
                return
            name = _PREFIX + secrets.token_hex(16).encode()
            self._named[name] = kept.node
            try:
                number = await keeper.keep(name)
            finally:
                self._named.pop(name, None)
            if number is None:
                return
            kept.number = number
            kept.decided.set()
            log.info("%s waits for another machine", os.fsdecode(self.nodes.path(kept.node)))
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_free_in_time, kept, leasing)
                    await _until_over(kept, number, keeper, self.unasked_s)
                    nursery.cancel_scope.cancel()
            finally:  # whatever went wrong, no lock is held for ever
                await keeper.drop(number)
        finally:
            kept.decided.set()
            if self._kept.get(kept.node) is kept:
                del self._kept[kept.node]

    async def stop(self) -> None:
        """Let go of all locks, and hold none any more: the view is about to be unmounted."""
        self._is_over = True
        for kept in self._kept.values():
            kept.free.set()
        if self.keeper is not None:
            await self.keeper.drop_all()

    def go_on(self) -> None:
        """The view stays mounted after all."""
        self._is_over = False


async def _free_in_time(kept: _Kept, leasing: Leasing) -> None:
    await leasing.until_free(kept.guarded.sha256)
    kept.free.set()


async def _until_over(kept: _Kept, number: int, keeper: Keeper, unasked_s: float) -> None:
    """Return when a lock is to be held no longer, or is held no longer."""
    while not kept.free.is_set() and keeper.holds(number):
        left_s = kept.asked + unasked_s - trio.current_time()
        if left_s <= 0:
            return
        with trio.move_on_after(left_s):
            await kept.free.wait()
