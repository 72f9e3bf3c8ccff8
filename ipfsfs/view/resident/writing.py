"""Writes: a system call on the plain file, after the seal that it breaks has been broken."""

from __future__ import annotations

import errno
import time
from dataclasses import dataclass, field
from typing import Final

import trio

from ipfsfs.plain import content
from ipfsfs.plain.ownership import Ownership
from ipfsfs.view.backing import Caller
from ipfsfs.view.open_files import OpenFile
from ipfsfs.view.resident.breaking import Breaker
from ipfsfs.view.upkeep.upkeep import Upkeep

_SLOW_S: Final = 0.005
"""A write that took longer than this slept for the disk (dirty throttling, H6): the next ones go to a thread."""
_WARY: Final = 16
"""How many writes go to a thread after a slow one, before one is tried inline again."""
_THREADS: Final = 8
_AGAIN_S: Final = 0.01


@dataclass(slots=True)
class Writer:
    """Serves WRITEs to all resident files."""

    ownership: Ownership
    breaker: Breaker
    upkeep: Upkeep
    _wary: int = 0
    _limiter: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(_THREADS))

    def write_nowait(self, file: OpenFile, fd: int, opener: Caller, offset: int, data: bytes) -> int | None:
        """Write at once and return how much was written; None where that could wait, and `write` has to do it."""
        if self._wary or not self.breaker.may_change(file):
            return None
        began = time.perf_counter()
        try:
            written = self.ownership.pwrite(fd, data, offset, opener.uid, opener.gid)
        except OSError as error:
            if error.errno == errno.ENOSPC and self.upkeep.room_to_come():
                return None
            raise
        if time.perf_counter() - began > _SLOW_S:
            self._wary = _WARY
        self._note(file, fd, opener, offset, written)
        return written

    async def write(self, file: OpenFile, fd: int, opener: Caller, offset: int, data: bytes) -> int:
        """Break the seal if there is one, then write. Raises OSError; then the file is due for sealing again."""
        await self.breaker.before_change(file, opener.pid)
        self._wary = max(0, self._wary - 1)
        while True:
            try:
                written = await self._pwrite(fd, opener, offset, data)
                break
            except OSError as error:
                # On plain disk, what was removed before this write would have made room for it.
                if error.errno != errno.ENOSPC or not self.upkeep.room_to_come():
                    file.written = True
                    raise
            await trio.sleep(_AGAIN_S)
        self._note(file, fd, opener, offset, written)
        return written

    async def _pwrite(self, fd: int, opener: Caller, offset: int, data: bytes) -> int:
        return await trio.to_thread.run_sync(
            self.ownership.pwrite, fd, data, offset, opener.uid, opener.gid, limiter=self._limiter
        )

    def _note(self, file: OpenFile, fd: int, opener: Caller, offset: int, written: int) -> None:
        file.written = True
        file.node.cache.changed(content.stat(fd))
        self.upkeep.written(file.node, offset, written)
        if file.broken is not None:
            self.breaker.changed(file, opener.pid)
