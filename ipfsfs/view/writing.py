"""Writes: a system call on the plain file, after the seal that it breaks has been broken."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

import trio

from ipfsfs.plain.ownership import Ownership
from ipfsfs.store.seal import Seal
from ipfsfs.view.handles import Handle, OpenFile, stamp
from ipfsfs.view.nodes import Node
from ipfsfs.view.reading import attach
from ipfsfs.view.seals import Seals

_SLOW_S: Final = 0.005
"""A write that took longer than this slept for the disk (dirty throttling, H6): the next ones go to a thread."""
_WARY: Final = 16
"""How many writes go to a thread after a slow one, before one is tried inline again."""
_THREADS: Final = 8
_AGAIN_S: Final = 0.01


@dataclass(slots=True)
class Writer:
    """Serves WRITEs and truncation. `on_written` hears of every span, `on_broken` of a promise about to be broken.
    `room_to_come` says whether a full disk may have room in a moment."""

    seals: Seals
    ownership: Ownership
    on_written: Callable[[OpenFile, int, int], None]
    on_broken: Callable[[Node, Seal, int], Awaitable[None]]
    room_to_come: Callable[[], bool]
    _wary: int = 0
    _limiter: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(_THREADS))

    def now(self, handle: Handle, offset: int, data: bytes) -> int | None:
        """Write at once and return how much was written; None when that could wait, and `later` has to do it."""
        file = handle.file
        if file.seal is not None or file.breaking is not None or self._wary:
            return None
        began = time.perf_counter()
        try:
            written = self.ownership.pwrite(handle.fd, data, offset, handle.uid, handle.gid)
        except OSError as error:
            if error.errno == errno.ENOSPC and self.room_to_come():
                return None
            raise
        if time.perf_counter() - began > _SLOW_S:
            self._wary = _WARY
        self._note(handle, offset, written)
        return written

    async def later(self, handle: Handle, offset: int, data: bytes) -> int:
        """Break the seal if there is one, then write. Raises OSError."""
        file = handle.file
        await self.unseal(file, handle.pid, below=offset)
        self._wary = max(0, self._wary - 1)
        while True:
            try:
                written = await self._pwrite(handle, offset, data)
                break
            except OSError as error:
                # On plain disk, what was removed before this write would have made room for it.
                if error.errno != errno.ENOSPC or not self.room_to_come():
                    raise
            await trio.sleep(_AGAIN_S)
        self._note(handle, offset, written)
        return written

    async def _pwrite(self, handle: Handle, offset: int, data: bytes) -> int:
        return await trio.to_thread.run_sync(
            self.ownership.pwrite, handle.fd, data, offset, handle.uid, handle.gid, limiter=self._limiter
        )

    async def unseal(self, file: OpenFile, pid: int, *, below: int) -> None:
        """Break a file's seal before bytes from `below` on change, durably where sealed ones are among them (H17).

        Nobody writes before that is done, whoever began it.
        """
        while file.breaking is not None:
            await file.breaking.wait()
        seal = file.seal
        if seal is None:
            return
        file.breaking = trio.Event()
        attach(file, None)
        try:
            overwrites = below < seal.size
            if overwrites:
                await self.on_broken(file.node, seal, pid)
            await self.seals.unseal(seal, durably=overwrites)
        finally:
            file.breaking.set()
            file.breaking = None

    async def unseal_to_truncate(self, file: OpenFile, before: os.stat_result, pid: int, *, below: int) -> None:
        """The same for a file that is truncated, by whoever may not even have it open: `before` is what it is now."""
        if file.seal is None and file.breaking is None:
            attach(file, self.seals.agreeing(before))
        await self.unseal(file, pid, below=below)

    def _note(self, handle: Handle, offset: int, written: int) -> None:
        file = handle.file
        file.written = True
        file.who = handle.pid
        file.node.told = stamp(os.fstat(handle.fd))
        file.node.renew = True
        self.on_written(file, offset, written)
