"""Sealed files of one content come to share their blocks by themselves, where the filesystem can do that.

One pair at a time, by the sealer that takes only what nobody else wants of processor and disk, and for a fraction of
the time. The kernel compares: nothing is taken on trust, and no file changes.
"""

from __future__ import annotations

import logging
import math
import os
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

import trio

from ipfsfs.errors import SealerLost, StoreError
from ipfsfs.plain import sharing
from ipfsfs.plain.tree import Found
from ipfsfs.store.index import Index
from ipfsfs.store.seal import UNIT, Seal
from ipfsfs.store.seals import Seals
from ipfsfs.view.nodes import NodeTable
from ipfsfs.workers.sealer.client import Sealer
from ipfsfs.workers.sealer.outcome import Failed, Shared

log = logging.getLogger(__name__)

_REST_S: Final = 1.0
"""How long a sealed file waits at least: others like it may be sealed meanwhile."""
_SHARE: Final = 4
"""The work takes a fifth of the time at most."""
_WAITING_MOST: Final = 10_000
"""Files that wait: `ipfsfs dedup` finds those that are beyond."""


@dataclass(slots=True)
class Sharing:
    """Has sealed files share blocks with those that were there before."""

    nodes: NodeTable
    seals: Seals
    sealer: Sealer
    _is_of_use: bool = field(init=False)
    _waiting: OrderedDict[int, bytes] = field(default_factory=OrderedDict)
    """By inode, where files were sealed."""
    _wake: trio.Event = field(default_factory=trio.Event)

    def __post_init__(self) -> None:
        self._is_of_use = sharing.may_share(self.nodes.plain.fd)

    def sealed(self, seal: Seal, path: bytes) -> None:
        """A file was sealed. Never waits."""
        if self._is_of_use and seal.size >= UNIT and len(self._waiting) < _WAITING_MOST:
            self._waiting[seal.ino] = path
            self._wake.set()

    async def run(self) -> None:
        """Share, until cancelled."""
        while self._is_of_use:
            while not self._waiting:
                self._wake = trio.Event()
                await self._wake.wait()
            await trio.sleep(_REST_S)
            began = trio.current_time()
            ino, path = self._waiting.popitem(last=False)
            try:
                await self._share(ino, path)
            except (StoreError, SealerLost) as error:
                log.info("%s: shares no blocks: %s", os.fsdecode(path), error)
            await trio.sleep(min(_SHARE * (trio.current_time() - began), 60.0))
        await trio.sleep(math.inf)

    async def _share(self, ino: int, path: bytes) -> None:
        """Have a file share the blocks of one that was sealed with the same content. Raises StoreError, SealerLost."""
        await self.seals.flush()
        seal, index = self.seals.get(ino), self.seals.index
        if seal is None or index is None:
            return
        kept = await trio.to_thread.run_sync(_another, index, seal)
        if kept is None:
            return
        node = self.nodes.find(self.nodes.plain.dev, ino)
        if node is not None and node.held < 0:
            path = self.nodes.path(node)  # it may have been renamed since
        outcome = await self.sealer.share(kept, Found(path, seal.identity))
        match outcome:
            case Shared(bytes=count) if count:
                log.info("%s: shares %d bytes with %s", os.fsdecode(path), count, os.fsdecode(kept.path))
            case Failed(errno=code) if code in sharing.CANNOT:
                self._is_of_use = False
            case _:
                pass  # `ipfsfs dedup` says why a file stays as it is


def _another(index: Index, seal: Seal) -> Found | None:
    """A file with the content of a sealed one."""
    for ino in index.files_with_root(seal.root):
        other, path = index.get(ino), index.path_of(ino)
        if ino != seal.ino and path is not None and other is not None and other.size == seal.size:
            return Found(path, other.identity)
    return None
