"""What pins hold, as an origin of blocks: what is pinned can be attached and read though no other origin is there."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import trio

from ipfsfs.errors import FormatError, NotHeld
from ipfsfs.store import kept
from ipfsfs.store.kept import Kept
from ipfsfs.store.names import names_in
from ipfsfs.unixfs import car, cid, file
from ipfsfs.workers.fetcher.table import LeafTable

_PIECE: Final = 1 << 20


class _Place(NamedTuple):
    """Where a leaf lies: in which file of the directory, and where in that."""

    name: str
    offset: int
    length: int


@dataclass(slots=True, eq=False)
class KeptBlocks:
    """Fills `Origin`. What is kept is looked through once, when the first block is asked for."""

    kept: Kept
    _nodes: dict[bytes, bytes] = field(default_factory=dict)
    _leaves: dict[bytes, _Place] = field(default_factory=dict)
    _is_known: bool = False
    _looking: trio.Lock = field(default_factory=trio.Lock)

    @property
    def name(self) -> str:
        """As `Origin`."""
        return "the pins of this store"

    async def block(self, wanted: bytes) -> bytes:
        """As `Origin`: compared with its CID. Raises NotHeld."""
        await self._look()
        digest = cid.digest(wanted)
        found = self._nodes.get(digest)
        if found is None and (place := self._leaves.get(digest)) is not None:
            found = await trio.to_thread.run_sync(self._leaf, place, digest)
        if found is None or hashlib.sha256(found).digest() != digest:
            raise NotHeld(f"no pin of this store holds {cid.to_text(wanted)}")
        return found

    async def has(self, wanted: bytes) -> bool:
        """As `Origin`."""
        await self._look()
        digest = cid.digest(wanted)
        return digest in self._nodes or digest in self._leaves

    async def aclose(self) -> None:
        """As `Origin`."""

    async def _look(self) -> None:
        async with self._looking:
            if not self._is_known:
                await trio.to_thread.run_sync(self._look_through)
                self._is_known = True

    def _look_through(self) -> None:
        for name in names_in(self.kept.fd):
            with suppress(OSError, FormatError):  # what is damaged is no block
                if name.endswith(kept.CAR):
                    self._nodes.update((cid.digest(one), block) for one, block in self._frames(name))
                elif (file := kept.file_of(name)) is not None:
                    self._leaves.update(self._leaves_of(name, file.root, file.size))

    def _frames(self, name: str) -> Iterator[tuple[bytes, bytes]]:
        reader = car.Reader()
        with open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.kept.fd), "rb") as file:
            while data := file.read(_PIECE):
                yield from reader.feed(data)

    def _leaves_of(self, name: str, root: bytes, size: int) -> Iterator[tuple[bytes, _Place]]:
        if cid.codec(root) == cid.RAW:
            yield cid.digest(root), _Place(name, 0, size)
        elif (records := self.kept.tables.read_table(root, size)) is not None:
            for leaf in LeafTable(records):
                yield cid.digest(leaf.cid), _Place(name, leaf.offset, leaf.length)

    def _leaf(self, place: _Place, digest: bytes) -> bytes | None:
        """The block that holds a leaf, be it raw or dag-pb; None where its bytes are not what they were."""
        try:
            fd = os.open(place.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.kept.fd)
        except OSError:
            return None
        try:
            data = os.pread(fd, place.length, place.offset)
        except OSError:
            return None
        finally:
            os.close(fd)
        blocks = (data, *file.leaf_blocks(data))
        return next((block for block in blocks if hashlib.sha256(block).digest() == digest), None)
