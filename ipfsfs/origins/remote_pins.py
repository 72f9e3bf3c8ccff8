"""Pins that others hold: what a pinning service and a cluster have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

RemoteState = Literal["queued", "pinning", "pinned", "failed"]
"""Of the Pinning Service API: it waits for its turn, is being fetched, is held, or was given up."""


@dataclass(slots=True, frozen=True)
class RemotePin:
    """A pin.

    `cid`: empty where it is of no kind that files have. `handle`: what its keeper knows it by. `why`: in its keeper's
    words, why it failed; empty where it says nothing. `delegates`: multiaddrs of the nodes that fetch the content, to
    which its holder may connect.
    """

    cid: bytes
    name: str
    state: RemoteState
    handle: str
    why: str = ""
    delegates: tuple[str, ...] = ()


class PinKeeper(Protocol):
    """Who pins for others. All may raise Unreachable and OriginError."""

    @property
    def name(self) -> str:
        """What users are told: kind and address, never credentials."""

    async def add(self, cid: bytes, name: str) -> RemotePin:
        """Ask for a pin under a name of at most 255 bytes; one that is there already is asked for no second time, but
        where it failed."""

    async def look(self, cid: bytes) -> RemotePin | None:
        """The pin of a CID as it is now; None where there is none."""

    async def all(self) -> list[RemotePin]:
        """All pins."""

    async def remove(self, cid: bytes) -> bool:
        """Remove all pins of a CID. Returns whether there was one."""

    async def aclose(self) -> None:
        """Close the connections that are kept."""
