"""dag-pb nodes and the UnixFS message inside them: one way to write, a strict and bounded way to read.

Formats: https://ipld.io/specs/codecs/dag-pb/spec/ and https://specs.ipfs.tech/unixfs/. What is written is canonical:
links before data, Hash, Name and Tsize always there, fields of the UnixFS message in ascending order.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum

from ipfsfs.errors import FormatError

BLOCK_MAX = 2 << 20
"""No block that is read may be larger (bytes): the limit of Bitswap and of trustless gateways."""

LINKS_MAX = 1 << 16
"""No node that is read may have more links. A block has room for 55,188 that hold the hash of a block (38 bytes each);
links that are shorter mean nothing, and would take fifty times the memory of the block that they stand in."""


class Type(IntEnum):
    """What a UnixFS node is."""

    RAW = 0
    DIRECTORY = 1
    FILE = 2
    METADATA = 3
    SYMLINK = 4
    HAMT_SHARD = 5


@dataclass(slots=True, frozen=True)
class Metadata:
    """The optional mode (permission bits) and mtime (seconds, nanoseconds) of UnixFS 1.5."""

    mode: int | None = None
    mtime: tuple[int, int] | None = None

    def __bool__(self) -> bool:
        return self.mode is not None or self.mtime is not None


NO_METADATA = Metadata()


@dataclass(slots=True, frozen=True)
class Link:
    """A link of a node. `tsize`: bytes of all blocks below it, counted once for each time they are linked."""

    cid: bytes
    name: bytes
    tsize: int


@dataclass(slots=True)
class Unixfs:
    """The UnixFS message. `filesize` is None where absent; `blocksizes` has one entry for each link of a file."""

    type: Type
    data: bytes | None = None
    filesize: int | None = None
    blocksizes: list[int] = field(default_factory=list)
    hash_type: int | None = None
    fanout: int | None = None
    metadata: Metadata = NO_METADATA


def varint(value: int) -> bytes:
    """An unsigned LEB128 of `value`; a negative one as its 64-bit two's complement, as protobuf's int64."""
    if 0 <= value < 0x80:
        return bytes((value,))
    value &= 0xFFFF_FFFF_FFFF_FFFF
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def encode_link(cid: bytes, name: bytes, tsize: int) -> bytes:
    """One link as it stands in a node."""
    body = b"\x0a" + varint(len(cid)) + cid + b"\x12" + varint(len(name)) + name + b"\x18" + varint(tsize)
    return b"\x12" + varint(len(body)) + body


def encode_node(links: Iterable[bytes], data: bytes) -> bytes:
    """The block of a node: `links` from `encode_link`, in order, and the UnixFS message `data`."""
    return b"".join(links) + b"\x0a" + varint(len(data)) + data


def encode_metadata(metadata: Metadata) -> bytes:
    """The last fields of a UnixFS message: mode and mtime, where they are set."""
    out = b""
    if metadata.mode is not None:
        out += b"\x38" + varint(metadata.mode)
    if metadata.mtime is not None:
        seconds, nanoseconds = metadata.mtime
        time = b"\x08" + varint(seconds)
        if nanoseconds:
            time += b"\x15" + nanoseconds.to_bytes(4, "little")
        out += b"\x42" + varint(len(time)) + time
    return out


def encode_unixfs(message: Unixfs) -> bytes:
    """The UnixFS message as it stands in a node's data."""
    out = [b"\x08", varint(message.type)]
    if message.data is not None:
        out += (b"\x12", varint(len(message.data)), message.data)
    if message.filesize is not None:
        out += (b"\x18", varint(message.filesize))
    for size in message.blocksizes:
        out += (b"\x20", varint(size))
    if message.hash_type is not None:
        out += (b"\x28", varint(message.hash_type))
    if message.fanout is not None:
        out += (b"\x30", varint(message.fanout))
    out.append(encode_metadata(message.metadata))
    return b"".join(out)


def decode_node(block: bytes) -> tuple[list[Link], bytes | None]:
    """The links and the data of a dag-pb block. Raises FormatError for anything that the format does not allow.

    Data may stand before the links, as some old writers have it, but not between them. Time and memory are linear in
    the size of the block, which is at most `BLOCK_MAX`.
    """
    if len(block) > BLOCK_MAX:
        raise FormatError(f"a dag-pb block of {len(block)} bytes; at most {BLOCK_MAX} are allowed")
    links: list[Link] = []
    data: bytes | None = None
    ended = False
    at = 0
    while at < len(block):
        tag = block[at]
        if tag not in (0x0A, 0x12):
            raise FormatError(f"dag-pb: unexpected field {tag:#04x} in a node")
        body, at = _length_delimited(block, at + 1)
        if tag == 0x0A:
            if data is not None:
                raise FormatError("dag-pb: a node with its data twice")
            data = body
            ended = bool(links)
        elif ended:
            raise FormatError("dag-pb: data between links")
        elif len(links) == LINKS_MAX:
            raise FormatError(f"dag-pb: a node with more than {LINKS_MAX} links")
        else:
            links.append(_decode_link(body))
    return links, data


def _decode_link(body: bytes) -> Link:
    cid = name = None
    tsize = None
    at = last = 0
    while at < len(body):
        tag = body[at]
        if tag <= last:
            raise FormatError("dag-pb: fields of a link twice or out of order")
        last = tag
        if tag == 0x0A:
            cid, at = _length_delimited(body, at + 1)
        elif tag == 0x12:
            name, at = _length_delimited(body, at + 1)
        elif tag == 0x18:
            tsize, at = _varint(body, at + 1)
        else:
            raise FormatError(f"dag-pb: unexpected field {tag:#04x} in a link")
    if not cid:
        raise FormatError("dag-pb: a link without a CID")
    return Link(cid, name or b"", tsize or 0)


def decode_unixfs(data: bytes) -> Unixfs:
    """The UnixFS message in a node's data. Raises FormatError for anything that the format does not allow.

    Fields that come once stand in ascending order, as every writer has them; fields we do not know are refused: a node
    that means more than we understand must not be taken for less.
    """
    values: dict[int, int] = {}
    content: bytes | None = None
    blocksizes: list[int] = []
    mtime: tuple[int, int] | None = None
    at = last = 0
    while at < len(data):
        tag = data[at]
        if tag < last or (tag == last and tag != 0x20):
            raise FormatError("UnixFS: fields twice or out of order")
        last = tag
        if tag == 0x12:
            content, at = _length_delimited(data, at + 1)
        elif tag == 0x20:
            size, at = _varint(data, at + 1)
            blocksizes.append(size)
        elif tag in (0x08, 0x18, 0x28, 0x30, 0x38):
            values[tag], at = _varint(data, at + 1)
        elif tag == 0x42:
            time, at = _length_delimited(data, at + 1)
            mtime = _decode_time(time)
        else:
            raise FormatError(f"UnixFS: unexpected field {tag:#04x}")
    if values.get(0x08) not in Type.__members__.values():
        raise FormatError(f"UnixFS: type {values.get(0x08)} is none that is known")
    return Unixfs(
        Type(values[0x08]),
        content,
        values.get(0x18),
        blocksizes,
        values.get(0x28),
        values.get(0x30),
        Metadata(values.get(0x38), mtime),
    )


def _decode_time(body: bytes) -> tuple[int, int]:
    if body[:1] != b"\x08":
        raise FormatError("UnixFS: mtime without seconds")
    seconds, at = _varint(body, 1)
    if seconds >= 1 << 63:
        seconds -= 1 << 64
    rest = body[at:]
    if not rest:
        return seconds, 0
    nanoseconds = int.from_bytes(rest[1:], "little")
    if len(rest) != 5 or rest[0] != 0x15 or not 1 <= nanoseconds <= 999_999_999:
        raise FormatError("UnixFS: nanoseconds of mtime are not 1 to 999,999,999")
    return seconds, nanoseconds


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >= 1 << 64 or (byte == 0 and shift):
                break
            return value, at
        shift += 7
    raise FormatError("protobuf: a number cut short, too large, or longer than it needs to be")


def _length_delimited(data: bytes, at: int) -> tuple[bytes, int]:
    length, at = _varint(data, at)
    if length > len(data) - at:
        raise FormatError(f"protobuf: {length} bytes announced, {len(data) - at} there")
    return data[at : at + length], at + length
