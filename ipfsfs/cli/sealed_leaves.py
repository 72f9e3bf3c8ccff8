"""The leaves of files that a view has sealed, so that `publish` and `export` do not hash them again."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from ipfsfs.daemon.client import ask
from ipfsfs.daemon.mounts import Mount
from ipfsfs.daemon.questions import leaves
from ipfsfs.exchange.trees import Leaves
from ipfsfs.identity import Identity
from ipfsfs.store.seal import unpack_leaves
from ipfsfs.unixfs.chunk import Chunker

_ASKED_FROM: Final = 4 << 20
"""Bytes from which on the daemon is asked about a file: a smaller one is hashed sooner."""


@dataclass(slots=True, frozen=True)
class SealedFirst:
    """Leaves by the seals of a view, where those were cut by `chunker`; of other files as `otherwise` has them. Fills
    `Leaves`; paths are from `root`, which is read through the view."""

    view: Mount
    root: Path
    chunker: Chunker
    otherwise: Leaves

    def is_secret(self, path: bytes, st: os.stat_result) -> bool:
        """As `Leaves`."""
        return self.otherwise.is_secret(path, st)

    async def of(self, path: bytes, st: os.stat_result) -> Iterable[tuple[int, bytes]] | None:
        """As `Leaves`. A seal counts only where the file is the same, by what the view shows of it, before and after
        the daemon was asked."""
        if st.st_size >= _ASKED_FROM and st.st_dev == self.view.device:
            found = await trio.to_thread.run_sync(self._sealed, path, st)
            if found is not None:
                return found
        return await self.otherwise.of(path, st)

    def _sealed(self, path: bytes, st: os.stat_result) -> list[tuple[int, bytes]] | None:
        at = self.root / os.fsdecode(path)
        if not at.is_relative_to(self.view.mountpoint):
            return None
        said = ask(self.view.store, leaves.Question(os.fsencode(at.relative_to(self.view.mountpoint))))
        if said.leaves is None or said.chunker != self.chunker:
            return None
        found = list(unpack_leaves(bytes.fromhex(said.leaves)))
        is_same = Identity.with_stat(st, 0).agrees(os.stat(at, follow_symlinks=False))
        return found if is_same and sum(length for length, _ in found) == st.st_size else None
