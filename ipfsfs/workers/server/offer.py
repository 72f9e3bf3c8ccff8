"""What the daemon tells the server that it may give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from ipfsfs.store.seal import LEAF_SIZE
from ipfsfs.workers import wire
from ipfsfs.workers.wire import Header

Place = Literal["plain", "extent"]
"""Where a file's bytes lie: at a path below the plain root, or in the extent of its root, as far as they are here."""
_PLACES: Final[tuple[Place, ...]] = ("plain", "extent")
_SHA256_SIZE: Final = 32


@dataclass(slots=True, frozen=True)
class Offer:
    """A file that may be given to others. `leaves`: packed as `Seal.leaves`, all raw; the balanced tree over them has
    `root`. `sha256`: of the whole, empty where that is not known. `public`: whether anyone may have it, and not only
    machines with the site's token. `path`: from the plain root; empty for an extent."""

    root: bytes
    size: int
    sha256: bytes
    public: bool
    leaves: bytes
    place: Place = "plain"
    path: bytes = b""

    @property
    def key(self) -> tuple[bytes, int]:
        """What the offer is withdrawn by."""
        return self.root, self.size

    def header(self) -> Header:
        """As it goes through the pipe; the leaves are the bytes behind it."""
        return {
            "do": "offer",
            "root": self.root.hex(),
            "size": self.size,
            "sha256": self.sha256.hex(),
            "public": self.public,
            "place": self.place,
            "path": wire.text(self.path),
        }

    @classmethod
    def of(cls, header: Header, leaves: bytes) -> Offer:
        """The reverse of `header`. Raises LookupError, TypeError, ValueError."""
        place = next(place for place in _PLACES if place == header["place"])
        if len(leaves) % LEAF_SIZE:
            raise ValueError("no leaves")
        return cls(
            bytes.fromhex(header["root"]),
            int(header["size"]),
            bytes.fromhex(header["sha256"]),
            bool(header["public"]),
            leaves,
            place,
            wire.path(header["path"]),
        )


@dataclass(slots=True, frozen=True)
class NodesOffer:
    """Nodes of a tree that was published, which lie in the store's directory of blocks. `root`: what the offer is
    withdrawn by. `digests`: the sha2-256 of each node, dag-pb all, one after the other."""

    root: bytes
    digests: bytes
    public: bool

    def header(self) -> Header:
        """As it goes through the pipe; the digests are the bytes behind it."""
        return {"do": "offer nodes", "root": self.root.hex(), "public": self.public}

    @classmethod
    def of(cls, header: Header, digests: bytes) -> NodesOffer:
        """The reverse of `header`. Raises LookupError, TypeError, ValueError."""
        if len(digests) % _SHA256_SIZE:
            raise ValueError("no digests")
        return cls(bytes.fromhex(header["root"]), digests, bool(header["public"]))

    def each(self) -> list[bytes]:
        """The digests."""
        return [self.digests[at : at + _SHA256_SIZE] for at in range(0, len(self.digests), _SHA256_SIZE)]
