"""CARv1, blocks in a row (https://ipld.io/specs/transport/car/carv1/): writing, and reading what comes from anywhere.

A CAR is a header, which names roots, then frames: length, CID, block. Nothing ends it: a CAR that was cut off between
two frames looks whole. Its reader must know which blocks it needs, and roots are not to be relied on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from ipfsfs.errors import FormatError
from ipfsfs.unixfs import cid as cids
from ipfsfs.unixfs import dagpb

HEADER_MAX: Final = 1 << 20
"""Bytes. Room for 25,000 roots; CARs in use have one."""

FRAME_MAX: Final = dagpb.BLOCK_MAX + 160
"""Bytes after a frame's length: the largest block, and the longest CID (an identity CID of 128 bytes, 18 before it)."""

_PIECE: Final = 64 << 10
_LENGTH_MAX: Final = 4
"""Bytes of the varint before a header or a frame: both limits are below 2^28."""

# The header is the DAG-CBOR of {"roots": [CID, ...], "version": 1}: it has one spelling.
_MAP: Final = b"\xa2\x65roots"
_VERSION: Final = b"\x67version\x01"
_LINK: Final = b"\xd8\x2a"
_ARRAY, _BYTES = 4, 2


def header(roots: Iterable[bytes]) -> bytes:
    """The beginning of a CAR with these roots."""
    links = [_LINK + _head(_BYTES, len(root) + 1) + b"\x00" + root for root in roots]
    body = _MAP + _head(_ARRAY, len(links)) + b"".join(links) + _VERSION
    return dagpb.varint(len(body)) + body


def frame(cid: bytes, block: bytes) -> bytes:
    """A block as it stands in a CAR."""
    return before(cid, len(block)) + block


def before(cid: bytes, size: int) -> bytes:
    """What stands in a CAR before a block of `size` bytes."""
    return dagpb.varint(len(cid) + size) + cid


class Reader:
    """Takes a CAR in pieces of any length, gives its blocks, each checked against its CID.

    Keeps no more than one frame and 64 KiB. `roots` is None until the header was read, then what that says. After a
    FormatError the rest of the CAR cannot be read.
    """

    def __init__(self) -> None:
        self.roots: list[bytes] | None = None
        self._pending = bytearray()
        self._length: int | None = None  # of what `_pending` begins with; None while the length itself is incomplete

    def feed(self, data: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yields the (CID, block) of each frame that ends within `data`; take them all before the next piece.

        CIDs are of sha2-256 with any codec, or hold their block. Raises FormatError for a header that is not CARv1's,
        a frame that is longer than `FRAME_MAX`, any other CID, and a block that is not the one which its CID names.
        """
        view = memoryview(data)
        for at in range(0, len(data), _PIECE):
            self._pending += view[at : at + _PIECE]
            while (body := self._complete()) is not None:
                if self.roots is None:
                    self.roots = _roots(body)
                else:
                    yield _block(body)

    def finish(self) -> None:
        """Says that no more comes. Raises FormatError if that is within a frame, or before the header's end."""
        if self.roots is None:
            raise FormatError("a CAR that ends within its header")
        if self._pending or self._length is not None:
            raise FormatError(f"a CAR that ends within a frame: {len(self._pending)} bytes of it came")

    def _complete(self) -> bytes | None:
        """Takes the header or frame that has wholly come; None if there is none yet."""
        if self._length is None:
            self._length = self._take_length()
        if self._length is None or len(self._pending) < self._length:
            return None
        body = bytes(memoryview(self._pending)[: self._length])
        del self._pending[: self._length]
        self._length = None
        return body

    def _take_length(self) -> int | None:
        length = 0
        for at, byte in enumerate(self._pending[:_LENGTH_MAX]):
            length |= (byte & 0x7F) << 7 * at
            if byte < 0x80:
                if byte == 0:  # nothing, or a number longer than it needs to be
                    raise FormatError("a CAR with a header or frame of no bytes, or a length that is not minimal")
                if length > (HEADER_MAX if self.roots is None else FRAME_MAX):
                    raise FormatError(f"a CAR with a header or frame of {length} bytes")
                del self._pending[: at + 1]
                return length
        if len(self._pending) >= _LENGTH_MAX:
            raise FormatError("a CAR with a header or frame of 256 MiB or more")
        return None


def _block(body: bytes) -> tuple[bytes, bytes]:
    cid = cids.leading(body)
    block = body[len(cid) :]
    if len(block) > dagpb.BLOCK_MAX:
        raise FormatError(f"{cids.to_text(cid)}: a block of {len(block)} bytes in a CAR")
    cids.check(cid, block)
    return cid, block


def _roots(body: bytes) -> list[bytes]:
    """The roots that a header names. Its one spelling is found by writing it again."""
    roots: list[bytes] = []
    count, at = _count(body, len(_MAP), _ARRAY)
    for _ in range(count):
        length, at = _count(body, at + len(_LINK), _BYTES)
        roots.append(body[at + 1 : at + length])
        at += length
    written = header(roots)
    if written != dagpb.varint(len(body)) + body:
        raise _not_a_header()
    for root in roots:
        if cids.leading(root) != root:
            raise FormatError(f"a CAR with a root that is no CID: {root[:40].hex()}")
    return roots


def _head(major: int, value: int) -> bytes:
    """The head of a CBOR item: its major type, and a value in as few bytes as hold it."""
    if value < 24:
        return bytes((major << 5 | value,))
    size = 0
    while value >> (8 << size):
        size += 1
    return bytes((major << 5 | 24 + size,)) + value.to_bytes(1 << size, "big")


def _count(body: bytes, at: int, major: int) -> tuple[int, int]:
    """The value of the head at `at`, and where that ends. What it counts must fit into the rest of `body`."""
    first = body[at] if at < len(body) else 0
    value, at = first & 0x1F, at + 1
    if 24 <= value < 28:
        size = 1 << value - 24
        value, at = int.from_bytes(body[at : at + size], "big"), at + size
    if first >> 5 != major or value > len(body) - at:
        raise _not_a_header()
    return value, at


def _not_a_header() -> FormatError:
    return FormatError("not the header of a CARv1", hint="A CARv2, or no CAR at all, cannot be read.")
