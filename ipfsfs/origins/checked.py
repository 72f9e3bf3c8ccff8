"""An origin whose blocks are what their CIDs say: the only way in which blocks leave this room."""

from __future__ import annotations

import hashlib
import math
import os
from dataclasses import dataclass, field
from typing import Final

import trio

from ipfsfs.errors import FormatError, OriginError
from ipfsfs.origins.origin import Origin
from ipfsfs.unixfs import cid as cids

DISTRUST_S: Final = 60.0
"""How long an origin that gave other bytes is not asked: time to fetch from others, and not too long after a repair."""
_IN_THREAD: Final = 64 << 10
"""Bytes from which on a block is hashed in a thread: that takes 50 µs, and hashing as long as that without one."""
_IDENTITY: Final = 0x00
_SHA2_256: Final = 0x12
_IDENTITY_MAX: Final = 128
_LONGEST_VARINT: Final = 9


@dataclass(slots=True, eq=False)
class Checked:
    """`origin`, checked. Bytes that do not match are an OriginError, and the origin is not asked for a minute."""

    origin: Origin
    _asked_again_at: float = -math.inf
    _lie: str = ""
    _hashing: trio.CapacityLimiter = field(
        default_factory=lambda: trio.CapacityLimiter(os.cpu_count() or 1), repr=False
    )

    @property
    def name(self) -> str:
        return self.origin.name

    async def block(self, cid: bytes) -> bytes:
        """The block. Raises FormatError, without asking, for a CID whose hash function cannot be checked."""
        multihash = _multihash(cid)
        if multihash[0] == _IDENTITY:
            return multihash[2:] if len(multihash) <= 2 + 127 else multihash[3:]
        self._refuse_a_liar()
        block = await self.origin.block(cid)
        if await self._digest(block) == multihash[2:]:
            return block
        self._lie = f"{self.name} gave {len(block)} bytes that are not {cids.to_text(cid)}"
        self._asked_again_at = trio.current_time() + DISTRUST_S
        raise OriginError(self._lie, hint="Its bytes are dropped; the origin is asked again in a minute.")

    async def has(self, cid: bytes) -> bool:
        """What the origin says: proof is only the block."""
        _multihash(cid)
        self._refuse_a_liar()
        return await self.origin.has(cid)

    async def aclose(self) -> None:
        await self.origin.aclose()

    async def _digest(self, block: bytes) -> bytes:
        if len(block) < _IN_THREAD:
            return _sha256(block)
        return await trio.to_thread.run_sync(_sha256, block, limiter=self._hashing)

    def _refuse_a_liar(self) -> None:
        left_s = self._asked_again_at - trio.current_time()
        if left_s > 0:
            raise OriginError(f"{self._lie}; it is not asked for another {math.ceil(left_s)} s")


def _sha256(block: bytes) -> bytes:
    return hashlib.sha256(block).digest()


def _multihash(cid: bytes) -> bytes:
    """The multihash of a CID, if it is one that can be checked: sha2-256, or identity of at most 128 bytes."""
    at = 0
    if not (len(cid) == 34 and cid.startswith(b"\x12\x20")):
        version, at = _varint(cid, 0)
        _, at = _varint(cid, at)
        if version != 1:
            raise FormatError(f"not a CID: {cid[:40].hex()}")
    function, after = _varint(cid, at)
    size, start = _varint(cid, after)
    if size != len(cid) - start:
        raise FormatError(f"not a CID: {cid[:40].hex()}")
    if (function, size) == (_SHA2_256, 32) or (function == _IDENTITY and size <= _IDENTITY_MAX):
        return cid[at:]
    raise FormatError(f"{cids.to_text(cid[:80])} is named by a hash that is not supported; sha2-256 is")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The number at `at`, and where it ends."""
    value = 0
    for place, byte in enumerate(data[at : at + _LONGEST_VARINT]):
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value, at + place + 1
    raise FormatError(f"not a CID: {data[:40].hex()}")
