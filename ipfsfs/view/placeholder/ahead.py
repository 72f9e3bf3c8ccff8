"""Bringing ahead what appeared: who was told that a blob is here would else have downloaded it, and may go offline.

What a LOOKUP made a placeholder of is fetched a moment later, few files at a time, while the disk has room for it as
`Room` keeps it. What readers wait for goes first, as always; a file that they load meanwhile is the same load.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from dataclasses import dataclass, field
from typing import Final

import trio

from ipfsfs.errors import IpfsfsError
from ipfsfs.view.background import Background
from ipfsfs.view.placeholder.bringing import Bringing

log = logging.getLogger(__name__)

_SOON_S: Final = 2.0
"""A client that loads what it was told of reads it before that."""
_AT_ONCE: Final = 2
_WAITING_MOST: Final = 100_000
_FREE_LEAST: Final = 0.1
"""The share of the disk that stays free."""


@dataclass(slots=True)
class Ahead:
    """Files that are about to be brought. `cache_size`: how many bytes may be kept of what others have; None for what
    the disk has room for."""

    bringing: Bringing
    background: Background
    extents_fd: int
    cache_size: int | None
    _waiting: deque[tuple[bytes, int]] = field(default_factory=deque)
    _workers: int = 0

    def bring(self, path: bytes, size: int) -> None:
        """Have a file brought, by its path from the plain root. Never waits."""
        if len(self._waiting) < _WAITING_MOST:
            self._waiting.append((path, size))
            if self._workers < _AT_ONCE:
                self._workers += 1
                self.background.start(self._work)

    async def _work(self) -> None:
        try:
            await trio.sleep(_SOON_S)
            while self._waiting:
                path, size = self._waiting.popleft()
                if self._has_room(size):
                    await self._bring(path)
                else:
                    log.info("%s: not brought ahead, for want of room; it comes when it is read", os.fsdecode(path))
        finally:
            self._workers -= 1

    async def _bring(self, path: bytes) -> None:
        try:
            with self.bringing.node(path) as node:
                await node.backing.resident(node)
        except (OSError, IpfsfsError) as error:  # it was removed, or cannot be had, which was logged
            log.info("%s: not brought ahead: %s", os.fsdecode(path), error)

    def _has_room(self, size: int) -> bool:
        if self.cache_size is not None:
            return size <= self.cache_size
        disk = os.fstatvfs(self.extents_fd)
        return (disk.f_bavail * disk.f_frsize) - size > _FREE_LEAST * disk.f_blocks * disk.f_frsize
