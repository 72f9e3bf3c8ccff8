"""Who has a file elsewhere that other machines said to be a blob: they, and the Hub."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import trio

from ipfsfs.errors import FormatError, IpfsfsError, NoOrigin, StoreError
from ipfsfs.exchange.load import Load
from ipfsfs.exchange.recutting import Recutting
from ipfsfs.exchange.site import Site
from ipfsfs.unixfs.reference import Reference
from ipfsfs.workers.fetcher.site_messages import PeerSource

_AGAIN_S: Final = 2.0
"""How often it is asked anew which machines have a file, while they do not give it."""
_FOR_GOOD: Final = (FormatError, StoreError, NoOrigin)
"""Failures that no origin that comes back mends: what a link says is not so, there is no room, or nobody to ask."""
_PROMISE: Final = re.compile(rb"[0-9a-f]{64}")


@dataclass(slots=True)
class Having:
    """Finds those out. `site`: None where no other machines are asked."""

    recutting: Recutting
    site: Site | None = None

    def opened(self, load: Load, reference: Reference, path: bytes | None) -> None:
        """A load was opened for a file at a path."""
        if not load.sha256 and self.site is not None:
            load.sha256 = _promised(reference, path)

    async def peers(self, reference: Reference, path: bytes | None) -> PeerSource | None:
        """The machines that have a file which is to be at a path."""
        return await self._peers(reference, _promised(reference, path))

    async def find(self, load: Load) -> None:
        """Find out who has the content of a load, if other machines said that it is a blob: the Hub is asked beside
        them where they are slower."""
        if load.sha256 and load.on_hub is None:
            await self._again(load)
            await self._look(load)

    async def find_others(self, load: Load) -> bool:
        """Nobody of those who were asked has some of a load: find out who else may. Returns whether there are any."""
        if load.sha256:
            await self._again(load)
        await self._look(load)
        return bool(load.on_hub)

    async def _look(self, load: Load) -> None:
        async with load.looking:  # batches are asked for, and fail, beside each other
            if load.on_hub is None:
                load.on_hub = [file for path in list(load.paths) for file in await self.recutting.found(path)]

    async def _again(self, load: Load) -> None:
        now = trio.current_time()
        if now > load.asked_peers + _AGAIN_S:
            load.asked_peers = now
            load.from_peers = await self._peers(load.reference, load.sha256) or load.from_peers

    async def _peers(self, reference: Reference, promise: bytes) -> PeerSource | None:
        if self.site is None or not promise:
            return None
        return await self.site.source(promise, reference.root, reference.size)


def is_for_good(reference: Reference, failure: IpfsfsError | None) -> bool:
    """Whether it is no use to wait for what failed; other machines may come back, or another one have it."""
    return isinstance(failure, _FOR_GOOD) and not (isinstance(failure, NoOrigin) and reference.is_by_name)


def _promised(reference: Reference, path: bytes | None) -> bytes:
    """The sha256 that a file promises by its name, where it is one of which other machines told; else empty."""
    name = path.rpartition(b"/")[2] if path is not None else b""
    return bytes.fromhex(name.decode()) if reference.is_by_name and _PROMISE.fullmatch(name) else b""
