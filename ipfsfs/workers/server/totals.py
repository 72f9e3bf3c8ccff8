"""What the server has and has given, as it tells the daemon and its peers."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

_PEERS_MOST: Final = 1_024
"""Addresses that are counted apart; of more, those that were not heard of for longest go."""


@dataclass(slots=True)
class Given:
    """What one address got: blocks, and bytes of blocks."""

    blocks: int = 0
    bytes: int = 0


@dataclass(slots=True)
class Totals:
    """`blobs`, `blob_bytes`: files that are offered, and bytes of them. `gave_blocks`, `gave_bytes`: since the process
    began. `refused`: requests answered 401. `busy`: answered 429. `missed`: answered 404 or 412. `had_from_holders`,
    `had_from_hub`: bytes that were had for others."""

    blobs: int = 0
    blob_bytes: int = 0
    gave_blocks: int = 0
    gave_bytes: int = 0
    refused: int = 0
    busy: int = 0
    missed: int = 0
    connections: int = 0
    had_from_holders: int = 0
    had_from_hub: int = 0
    by_peer: OrderedDict[str, Given] = field(default_factory=OrderedDict)

    def gave(self, host: str, size: int, blocks: int = 1) -> None:
        """Blocks went to an address."""
        self.gave_blocks += blocks
        self.gave_bytes += size
        given = self.by_peer.pop(host, None) or Given()
        given.blocks += blocks
        given.bytes += size
        self.by_peer[host] = given
        if len(self.by_peer) > _PEERS_MOST:
            self.by_peer.popitem(last=False)
