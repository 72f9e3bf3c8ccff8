"""Where processes beside the daemon have content from by CID: what is in the store and in the files of a view, then the
view's origins.

They ask and read themselves; the daemon tells where files are.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ipfsfs.daemon import mounts
from ipfsfs.daemon.client import ask
from ipfsfs.daemon.config import OriginConfig
from ipfsfs.daemon.questions import find, status
from ipfsfs.errors import StoreError
from ipfsfs.exchange import naming
from ipfsfs.exchange.here import Here, Sealed
from ipfsfs.exchange.kept_blocks import KeptBlocks
from ipfsfs.exchange.naming import ContentName
from ipfsfs.origins.ordered import Ordered
from ipfsfs.origins.origin import Origin
from ipfsfs.origins.registry import open_ordered
from ipfsfs.origins.settings import OriginSettings
from ipfsfs.store.blocks import Blocks
from ipfsfs.store.directory import open_directory
from ipfsfs.store.extents import Extents
from ipfsfs.store.kept import Kept
from ipfsfs.unixfs import cid
from ipfsfs.workers.memory import bound_memory, end_in_words

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(slots=True, frozen=True)
class Known:
    """The files that a view knows as sealed (fills `ipfsfs.exchange.here.Residents`)."""

    view: mounts.Mount

    def find(self, roots: Sequence[bytes]) -> list[Sealed]:
        """As `Residents`."""
        found: list[Sealed] = []
        for at in range(0, len(roots), find.ROOTS_MOST):
            texts = tuple(cid.to_text(root) for root in roots[at : at + find.ROOTS_MOST])
            for held in ask(self.view.store, find.Question(texts, "leaves")).files:
                path = self.view.mountpoint / os.fsdecode(held.path)
                found.append(Sealed(cid.from_text(held.root), path, held.size, bytes.fromhex(held.leaves)))
        return found


@dataclass(slots=True, frozen=True)
class Sources:
    """What is `here`, and all that content can be had from, in order (`origin`). `nodes`: which resolve IPNS names."""

    here: Here
    origins: Ordered
    origin: Origin
    nodes: tuple[OriginSettings, ...]

    async def resolve(self, name: ContentName) -> bytes:
        """The CID that a name stands for; what is here of it is learnt. Raises UsageError, OriginError, FormatError."""
        return await self._resolve(name, self.origin)

    async def resolve_here(self, name: ContentName) -> bytes:
        """The same, and no origin is asked for what lies on the way. Raises NotHeld where it is not here."""
        return await self._resolve(name, self.here)

    async def _resolve(self, name: ContentName, origin: Origin) -> bytes:
        if name.kind == "ipfs":
            await self.here.learn([cid.from_text(name.text)])
        found = await naming.resolved(name, self.nodes, origin)
        await self.here.learn([found])
        return found


@asynccontextmanager
async def sources(view: mounts.Mount) -> AsyncIterator[Sources]:
    """The sources of a view, for a command, while the block runs. This process has bounded memory from then on.

    Raises StoreError, NoAnswer, UsageError."""
    bound_memory(end_in_words)
    async with open_sources(view) as found:
        yield found


@asynccontextmanager
async def open_sources(view: mounts.Mount) -> AsyncIterator[Sources]:
    """The same, for a process whose memory is bounded already."""
    configured: tuple[OriginConfig, ...] = ask(view.store, status.Question()).origins
    settings = [one.settings() for one in configured]
    origins = open_ordered(settings)
    with Blocks.of(view.store) as blocks, Kept.of(view.store) as kept:
        extents = _open_extents(view.store)
        try:
            here = Here(blocks, Extents(extents), Known(view), KeptBlocks(kept))
            nodes = tuple(one for one in settings if one.kind == "kubo")
            # What nodes have themselves is not searched for.
            first = origins.quick if any(one.kind == "routing" for one in settings) else ()
            yield Sources(here, origins, Ordered([here, *first, *origins.origins]), nodes)
        finally:
            os.close(extents)
            await origins.aclose()


def _open_extents(store: Path) -> int:
    try:
        directory = open_directory(store)
        try:
            return os.open("extents", _DIRECTORY, dir_fd=directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise StoreError(f"the extents of the store {store} cannot be read: {error.strerror}") from error
