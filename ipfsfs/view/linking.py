"""Having promised blobs of one content be one inode, where a user asked for it (`ipfsfs dedup`)."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

import trio

from ipfsfs.caches.beside import linking_name
from ipfsfs.caches.place import locate
from ipfsfs.plain import linking
from ipfsfs.plain.tree import Found
from ipfsfs.view.records import Records


@dataclass(slots=True)
class Linking:
    """Puts one file in the place of another, and keeps what is known of both in step."""

    records: Records
    _limiter: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(1))

    async def link(self, kept: Found, other: Found) -> None:
        """Have the name of `other` stand for the file `kept`. Raises linking.Refused, OSError.

        The kernel learns of it as of any change beneath the view: at the next open.
        """
        nodes = self.records.nodes
        beside = linking_name(other.path.rpartition(b"/")[2], secrets.token_hex(4))
        # In a thread: whoever wants to write meanwhile waits for this, and in the event loop it would wait for itself.
        done = await trio.to_thread.run_sync(
            linking.replace, nodes.plain.fd, kept, other, beside, limiter=self._limiter
        )
        self.records.named(done.before, done.after, locate(kept.path, nodes.root_place)[1])
        node = nodes.find(nodes.plain.dev, other.ino)
        known = node is not None and self.records.files.of(node) is not None
        self.records.upkeep.removed(other.ino, known=known)

    async def remove_left_over(self, found: Found) -> None:
        """Remove what a daemon that ended while it linked left beside a name. Raises OSError."""
        nodes, seals = self.records.nodes, self.records.seals
        seal = seals.get(found.ino)
        identity = None if seal is None else seal.identity
        await trio.to_thread.run_sync(linking.remove_left_over, nodes.plain.fd, found, identity, limiter=self._limiter)
