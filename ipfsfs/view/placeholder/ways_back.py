"""Ways back: who has a file that is to be evicted, at this moment and all of it, and how it is had again from there."""

from __future__ import annotations

import stat as stat_
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVarTuple

import trio

from ipfsfs.errors import FetcherLost, FormatError, IpfsfsError, OriginError
from ipfsfs.exchange.below import Item
from ipfsfs.exchange.on_hub import OnHub, Token
from ipfsfs.store.seal import Seal
from ipfsfs.store.tables.brought import BroughtFile
from ipfsfs.unixfs import cid, file, reference
from ipfsfs.unixfs.reference import Reference
from ipfsfs.workers.fetcher.client import Fetcher
from ipfsfs.workers.fetcher.table import table_of
from ipfsfs.workers.sealer.client import Sealer
from ipfsfs.workers.sealer.outcome import Digest

Ts = TypeVarTuple("Ts")


class Stays(IpfsfsError):
    """A file is not evicted; the text says why, in words that go on from its path."""


@dataclass(slots=True, frozen=True)
class WayBack:
    """By what a link can name a file's content. `table`: of its leaves, which the store has to keep where those who
    have the file have no nodes; empty where they have."""

    reference: Reference
    table: bytes = b""


@dataclass(slots=True)
class WaysBack:
    """Asks origins, and then the Hub. `has_origins`, `has_hub`: who there is to be asked. `token`: for whom files are
    had from the Hub when they are read."""

    fetcher: Fetcher
    on_hub: OnHub
    sealer: Sealer
    token: Token
    has_origins: bool
    has_hub: bool
    _limiter: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(2))

    async def find(self, item: Item, seal: Seal, came: BroughtFile | None) -> WayBack:
        """How a sealed file can be had again by a link in its place, as those say who have it. `came`: how it came
        here. Raises Stays."""
        said: list[str] = []
        if self.has_origins:
            try:
                return await self._by_origins(item, seal, came)
            except OriginError as error:
                said.append(str(error))
        if self.has_hub and item.promise is not None:
            try:
                return await self._by_hub(item, seal, came, item.promise)
            except OriginError as error:
                said.append(str(error))
        only_hub = "the Hub has nothing by CID, and no name promises the sha256 of this file"
        raise Stays(f"no origin has all of it now: {'; '.join(said) or only_hub}")

    async def _by_origins(self, item: Item, seal: Seal, came: BroughtFile | None) -> WayBack:
        wanted = item.promise if came is None else came.sha256
        if (came is None or came.root != seal.root) and wanted is not None:
            await self._prove(item, seal, seal.sha256, wanted)
        mode = stat_.S_IMODE(item.st.st_mode)
        named: list[Reference] = []
        if came is not None and came.root != seal.root:
            named.append(Reference(came.root, seal.size, mode, came.tsize))
        named.append(await self._by_seal(item, seal))
        failures: list[OriginError] = []
        for one in named:
            try:
                reference.text(one)
                await _again(self.fetcher.held, one.root, one.size)
                return WayBack(one)
            except OriginError as error:
                failures.append(error)
            except FormatError as error:
                failures.append(OriginError(str(error)))
        raise failures[0]

    async def _by_hub(self, item: Item, seal: Seal, came: BroughtFile | None, promise: bytes) -> WayBack:
        """The Hub has files by name: the store keeps the leaves, and without its table the name leads back."""
        files, _ = await self.on_hub.find(item.path, promise.hex(), self.token)
        table = await trio.to_thread.run_sync(table_of, seal.iter_leaves(), limiter=self._limiter)
        await _again(self.fetcher.given, table, promise, files)
        known = seal.sha256 or (came.sha256 if came is not None and came.root == seal.root else b"")
        await self._prove(item, seal, known, promise)  # last, for all of it may have to be read
        return WayBack(await self._by_seal(item, seal), table.records if cid.codec(seal.root) != cid.RAW else b"")

    async def _by_seal(self, item: Item, seal: Seal) -> Reference:
        tsize = await trio.to_thread.run_sync(_tsize, seal, limiter=self._limiter)
        return Reference(seal.root, seal.size, stat_.S_IMODE(item.st.st_mode), tsize)

    async def _prove(self, item: Item, seal: Seal, known: bytes, wanted: bytes) -> None:
        """Compare all of a file with a sha256, unless it is known to have that one. Raises Stays."""
        if known == wanted:
            return
        found = await self.sealer.digest(item.path, seal.ino, wanted)
        self.sealer.unfollow(seal.ino)
        if not isinstance(found, Digest) or found.identity != seal.identity or found.sha256 != wanted:
            raise Stays("it was changed since it came")


async def _again(ask: Callable[[*Ts], Awaitable[object]], *arguments: *Ts) -> None:
    try:
        await ask(*arguments)
    except FetcherLost:  # with the question of another file: once more
        await ask(*arguments)


def _tsize(seal: Seal) -> int:
    return file.build((cid.raw_cid(digest), length) for length, digest in seal.iter_leaves()).tsize
