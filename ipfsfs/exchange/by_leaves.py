"""A damaged file made right again by its leaves: those that are right are taken over, the others are had anew."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import trio

from ipfsfs.errors import FetcherLost, IntegrityError
from ipfsfs.origins.hub_file import HubFile
from ipfsfs.store.extents import Extents
from ipfsfs.workers.fetcher.client import Fetcher
from ipfsfs.workers.fetcher.table import LeafTable, Source
from ipfsfs.workers.fetcher.zeros import ZEROS

_BATCH: Final = 256
"""Leaves that are asked for in one job."""
TRIES: Final = 3
"""How often a job is given again to a fetcher that died with it."""


@dataclass(slots=True)
class Origins:
    """Where leaves are had from besides the view's origins: by index, from files of this machine (`here`), and files on
    the Hub that have them at their offsets."""

    here: Mapping[int, Source] = field(default_factory=dict)
    on_hub: Sequence[HubFile] = ()


@dataclass(slots=True, frozen=True)
class Whole:
    """A file that is whole, compared and on disk: `extent` is its path from the directory of extents, `sources` names
    who gave leaves of it."""

    extent: str
    sha256: bytes
    sources: str


@dataclass(slots=True)
class ByLeaves:
    """Makes files right again in the directory of extents."""

    fetcher: Fetcher
    extents: Extents

    async def mended(
        self,
        key: str,
        table: LeafTable,
        copy: Callable[[int], None],
        origins: Origins,
        progress: Callable[[int], None],
    ) -> Whole:
        """A file with these leaves, under a name that `key` tells; what an earlier try left there is gone on with, else
        `copy` puts a copy of the damaged file into an empty one. `progress` is told how many bytes are right.

        Raises IpfsfsError, also where a leaf cannot be had; OSError.
        """
        extent = self.extents.healing_name(key)
        await trio.to_thread.run_sync(self._begin, key, copy, table.size)
        checksums = [0] * len(table)
        sources: dict[str, None] = {}
        for first in range(0, len(table), _BATCH):
            indexes = list(range(first, min(first + _BATCH, len(table))))
            sources |= await self._fetch(extent, table, indexes, origins, checksums)
            progress(table[indexes[-1]].offset + table[indexes[-1]].length)
        finished = await self.fetcher.finish(extent, table, checksums)
        if finished.lost:
            self.extents.drop_healing(key)
            raise IntegrityError("what came of it rots in the store as soon as it is there")
        return Whole(extent, finished.sha256, ", ".join(sources) or "the store")

    async def _fetch(
        self, extent: str, table: LeafTable, indexes: list[int], origins: Origins, checksums: list[int]
    ) -> dict[str, None]:
        """Fetch leaves, and enter their checksums; returns the names of the origins that gave some."""
        sources: dict[str, None] = {}
        here = [origins.here.get(index) for index in indexes]
        for left in range(TRIES - 1, -1, -1):
            try:
                async with self.fetcher.leaves(extent, table.part(indexes), here, origins.on_hub) as arriving:
                    async for leaf in arriving:
                        checksums[table.index_at(leaf.offset)] = leaf.checksum
                        sources |= {leaf.by: None} if leaf.by not in ("", ZEROS) else {}
                break
            except FetcherLost:
                if not left:
                    raise
        return sources

    def _begin(self, key: str, copy: Callable[[int], None], size: int) -> None:
        """Make a copy of a damaged file to begin with, unless one was made before: most of its leaves are right."""
        fd = self.extents.open_healing(key)
        try:
            if os.fstat(fd).st_size == size:
                return
            with suppress(OSError):  # what cannot be read is fetched
                copy(fd)
            os.ftruncate(fd, size)
        finally:
            os.close(fd)
