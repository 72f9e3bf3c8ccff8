"""What an origin and a publisher are. Kubo is both, a gateway is an origin; wrappers are origins over origins."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Protocol

from ipfsfs.errors import NotHeld, Unreachable


class Origin(Protocol):
    """Where blocks can be had by CID. Calls may run side by side, and a cancelled one leaves the others alone."""

    @property
    def name(self) -> str:
        """What users are told: kind and address, never credentials."""

    async def block(self, cid: bytes) -> bytes:
        """The bytes that the origin gives as this block: at most 2 MiB, unchecked (`checked.Checked` checks).

        Raises NotHeld, Unreachable, or OriginError where the origin fails otherwise or makes no sense.
        """

    async def has(self, cid: bytes) -> bool:
        """Whether the origin has the block itself, without asking others. Raises Unreachable or OriginError."""

    async def aclose(self) -> None:
        """Close the connections that are kept; no call may be running. The origin can be used again."""


class Publisher(Protocol):
    """A node that takes content, keeps it and publishes names for it. All may raise Unreachable and OriginError."""

    @property
    def name(self) -> str:
        """What users are told: kind and address, never credentials."""

    async def missing(self, cids: Iterable[bytes]) -> set[bytes]:
        """Which of these blocks the node does not have itself."""

    async def put(self, car: AsyncIterator[bytes]) -> None:
        """Store the blocks of one CARv1, streamed. What the iterator raises comes out as it is; a generator is closed.

        After an error some of the blocks may be stored. Nothing is pinned.
        """

    async def pin(self, cid: bytes, name: str) -> None:
        """Pin all that is below `cid` under a name of at most 255 bytes. Raises NotHeld where the node lacks a block;
        the text names it."""

    async def publish_name(self, key: str, cid: bytes) -> str:
        """Publish `cid` under the node's key of that name, made where there is none. Returns the IPNS name."""

    async def resolve_name(self, name: str) -> bytes:
        """The CID that an IPNS name (or `/ipns/NAME`) stands for. Raises NotHeld where it stands for nothing."""

    async def aclose(self) -> None:
        """Close the connections that are kept; no call may be running. The publisher can be used again."""


class Busy(Unreachable):
    """An origin answers that it is to be asked later. `after_s`: not before so many seconds, where it said."""

    def __init__(self, message: str, *, hint: str = "", after_s: float = 0.0) -> None:
        super().__init__(message, hint=hint)
        self.after_s = after_s


async def gives(origin: Origin, cid: bytes) -> bool:
    """Whether an origin gives a block, for those that can be asked in no other way (`has`). Raises OriginError."""
    try:
        await origin.block(cid)
    except NotHeld:
        return False
    return True
