"""What is known of a sealed file: its identity when it was sealed, its leaves, and a checksum per unit."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from ipfsfs.identity import Identity
from ipfsfs.unixfs.chunk import Chunker
from ipfsfs.unixfs.cid import raw_cid
from ipfsfs.unixfs.file import build

UNIT: Final = 131_072
"""Bytes under one XXH3-64 checksum: what the kernel reads ahead, so that most READs are whole units (H19)."""

SUM_SIZE: Final = 8
"""Bytes of one checksum in `Seal.sums`: XXH3-64, little-endian."""

LEAF_SIZE: Final = 36
"""Bytes of one leaf in `Seal.leaves`: its length (4, big-endian) and the sha2-256 of its bytes (32)."""

TABLES_MAX: Final = 64 << 20
"""The most bytes of `Seal.leaves` and `Seal.sums` together: those of a file of some 700 GB (docs/decisions/0025). They
are in memory while the file is sealed, verified or open."""

_LEAF: Final = struct.Struct(">I32s")
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """What tells this boot of the machine from all others (36 characters)."""
    return _BOOT_ID.read_text("ascii").strip()


@dataclass(slots=True, frozen=True)
class Seal:
    """A file as it was when it was sealed. Frozen: a change makes a new one.

    `identity` is what the file was then. `seal_id` is random, 62 bits, new for each sealing. `root` is the raw CID of
    the file. `sha256` is the digest of the whole file, empty where it was not computed. `leased`: before and after
    hashing the kernel granted a read lease, so no program wrote meanwhile. `settled`: the bytes that were hashed are
    known to be on disk. `boot`: the boot it was made in.
    """

    identity: Identity
    seal_id: int
    root: bytes
    chunker: Chunker
    leaves: bytes
    sums: bytes
    sha256: bytes
    leased: bool
    settled: bool
    boot: str

    @property
    def ino(self) -> int:
        """The inode of the file."""
        return self.identity.ino

    @property
    def size(self) -> int:
        """The size of the file in bytes."""
        return self.identity.size

    @property
    def needs_mark(self) -> bool:
        """Whether it could be wrong in a file whose identity agrees, when it was broken and a power cut brought it
        back. That of an empty file never is: no file of that size has another content."""
        return self.identity.size > 0

    def says_the_same(self, other: Seal) -> bool:
        """Whether another seal of the file speaks of the same state of it, the same content, cut in the same way."""
        mine = self.identity, self.root, self.chunker, self.leaves, self.sums
        return mine == (other.identity, other.root, other.chunker, other.leaves, other.sums)

    def merged(self, before: Seal) -> Seal:
        """This seal as a continuation of one `before` it that says the same: by its `seal_id`, so that a mark of that
        one in the ledger means this one as well, and with what either is known by."""
        return replace(
            self,
            seal_id=before.seal_id,
            sha256=self.sha256 or before.sha256,
            leased=self.leased or before.leased,
            settled=self.settled or before.settled,
        )

    def vouches(self, boot: str) -> bool:
        """Whether bytes that do not match, in a file whose identity still agrees, are rot.

        The sealer hashes what is in the page cache. After a power cut the disk may hold less than that under the very
        same identity, so that a seal from an earlier boot counts only if the bytes were seen to reach the disk.
        """
        return self.leased and (self.settled or boot == self.boot)

    def iter_leaves(self) -> Iterator[tuple[int, bytes]]:
        """Yields the length and the sha2-256 of each leaf, in order."""
        return unpack_leaves(self.leaves)


def pack_leaf(length: int, digest: bytes) -> bytes:
    """One leaf as it stands in `Seal.leaves`."""
    return _LEAF.pack(length, digest)


def unpack_leaves(leaves: bytes | bytearray) -> Iterator[tuple[int, bytes]]:
    """Yields the length and the sha2-256 of each leaf in `Seal.leaves`."""
    return _LEAF.iter_unpack(leaves)


def root_of(leaves: bytes | bytearray) -> bytes:
    """The raw CID of the file that has these packed leaves."""
    return build((raw_cid(digest), length) for length, digest in unpack_leaves(leaves)).cid


def sums_size(size: int) -> int:
    """The bytes of `Seal.sums` for a file of `size` bytes."""
    return -(-size // UNIT) * SUM_SIZE
