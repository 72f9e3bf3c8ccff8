"""The blocks of the store as the first of all origins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ipfsfs.origins.ordered import Given, Ordered
from ipfsfs.store.blocks import Blocks

IMPORTED: Final = "the store (imported)"
"""Stands for the name of an origin."""


@dataclass(slots=True, eq=False)
class StoredFirst:
    """`origin`, which is asked only for what the store does not hold."""

    blocks: Blocks
    origin: Ordered

    @property
    def name(self) -> str:
        """As `Origin`."""
        return self.origin.name

    async def block(self, cid: bytes) -> bytes:
        """As `Origin`; a block of the store was compared with its CID."""
        return (await self.given(cid)).block

    async def given(self, cid: bytes) -> Given:
        """As `Ordered`."""
        stored = self.blocks.read(cid)
        return await self.origin.given(cid) if stored is None else Given(stored, IMPORTED)

    async def has(self, cid: bytes) -> bool:
        """As `Origin`."""
        return self.blocks.has(cid) or await self.origin.has(cid)

    async def aclose(self) -> None:
        """As `Origin`."""
        await self.origin.aclose()
