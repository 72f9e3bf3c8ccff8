"""What one block says: part of a file, a directory, a shard of one, a symbolic link. Hostile until checked.

`read` refuses whatever no writer of UnixFS makes, and whatever has no meaning on a filesystem of Linux. What it returns
is true of the block alone: sizes of what is linked are claims until that was read too. Links are to sha2-256, raw or
dag-pb, only. An identity CID, which holds its block, is refused: no writer of the profile unixfs-v1-2025 makes one, and
a placeholder cannot name one.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from ipfsfs.errors import FormatError
from ipfsfs.unixfs import cid as cids
from ipfsfs.unixfs import dagpb, hamt
from ipfsfs.unixfs.dagpb import NO_METADATA, Link, Metadata, Type, Unixfs
from ipfsfs.unixfs.hamt import Slot

FILE_MAX: Final = (1 << 63) - 1
"""Bytes: what an offset of Linux can say."""

NAME_MAX: Final = 255
TARGET_MAX: Final = 4095
"""Bytes of a symbolic link's target: PATH_MAX without the NUL."""


@dataclass(slots=True, frozen=True)
class FilePart:
    """A link of a file's node: to `size` bytes of the file."""

    cid: bytes
    size: int


@dataclass(slots=True, frozen=True)
class File:
    """A file, or a part of one: `data`, then what `parts` name; together `size` bytes. A leaf has no parts."""

    size: int
    data: bytes
    parts: list[FilePart]
    metadata: Metadata = NO_METADATA


@dataclass(slots=True, frozen=True)
class Directory:
    """A directory in one block. Names are distinct, and fit for a filesystem."""

    entries: list[Link]
    metadata: Metadata


@dataclass(slots=True, frozen=True)
class Shard:
    """One shard of a directory. Whether the names in it belong there is for whoever knows its `hamt.Place`."""

    fanout: int
    slots: list[Slot]
    metadata: Metadata


@dataclass(slots=True, frozen=True)
class Symlink:
    """A symbolic link. `target` may lead anywhere."""

    target: bytes
    metadata: Metadata


Node = File | Directory | Shard | Symlink


def read(cid: bytes, block: bytes) -> Node:
    """What `block` says. Raises FormatError, with the CID, if it is not the block that `cid` names, or malformed."""
    codec = linkable(cid)
    if len(block) > dagpb.BLOCK_MAX:
        raise fault(cid, f"a block of {len(block)} bytes; at most {dagpb.BLOCK_MAX} are allowed")
    if sha256(block).digest() != cid[-32:]:
        raise fault(cid, f"{len(block)} bytes came for it that have another hash")
    if codec == cids.RAW:
        return File(len(block), block, [])
    try:
        links, data = dagpb.decode_node(block)
        message = dagpb.decode_unixfs(data or b"")
        _check_fields(message)
        if message.type is Type.DIRECTORY:
            return _directory(links, message)
        if message.type is Type.HAMT_SHARD:
            return _shard(links, message)
        if message.type is Type.SYMLINK:
            return _symlink(links, message)
        return _file(links, message)
    except FormatError as error:
        raise fault(cid, str(error)) from None


def content(cid: bytes, block: bytes) -> bytes:
    """The bytes of a file that a leaf's block holds, be it raw or dag-pb. Raises FormatError as `read` does."""
    node = read(cid, block)
    if not isinstance(node, File):
        raise fault(cid, "not part of a file")
    return node.data


def linkable(cid: bytes) -> int:
    """`cids.RAW` or `cids.DAG_PB`. Raises FormatError for all other CIDs."""
    codec = cids.unixfs_codec(cid)
    if codec is None:
        raise fault(cid, "a link to what is not sha2-256, raw or dag-pb")
    return codec


def fault(cid: bytes, what: str) -> FormatError:
    """The error that names a block and says what is wrong with it."""
    return FormatError(f"{cids.to_text(cid[:64])}: {what}")


def _check_fields(message: Unixfs) -> None:
    """That a message has no field which means nothing for its type."""
    if message.type is not Type.HAMT_SHARD and (message.hash_type is not None or message.fanout is not None):
        raise FormatError("UnixFS: a hash or fanout in what is no shard")
    if message.type not in (Type.FILE, Type.RAW) and message.blocksizes:
        raise FormatError("UnixFS: sizes of blocks in what is no file")
    if message.type in (Type.DIRECTORY, Type.HAMT_SHARD) and message.filesize:
        raise FormatError("UnixFS: a directory with a size")


def _file(links: list[Link], message: Unixfs) -> File:
    if message.type is Type.METADATA or (message.type is Type.RAW and links):
        raise FormatError(f"UnixFS: a node of type {message.type.name.lower()} with {len(links)} links is no file")
    if len(links) != len(message.blocksizes):
        raise FormatError(f"UnixFS: a file with {len(links)} links and {len(message.blocksizes)} sizes of blocks")
    data = message.data or b""
    size = len(data) + sum(message.blocksizes)
    if size != (message.filesize or 0):
        raise FormatError(f"UnixFS: a file said to have {message.filesize or 0} bytes, with blocks of {size}")
    if size > FILE_MAX:
        raise FormatError(f"UnixFS: a file of {size} bytes")
    parts: list[FilePart] = []
    for link, length in zip(links, message.blocksizes, strict=True):
        if link.name:
            raise FormatError(f"UnixFS: a file with a link that has a name: {link.name[:80]!r}")
        if length == 0:
            raise FormatError("UnixFS: a file with a link to no bytes")
        if linkable(link.cid) == cids.RAW and length > dagpb.BLOCK_MAX:
            raise FormatError(f"UnixFS: a file with a raw block of {length} bytes")
        parts.append(FilePart(link.cid, length))
    return File(size, data, parts, message.metadata)


def _directory(links: list[Link], message: Unixfs) -> Directory:
    if message.data:
        raise FormatError("UnixFS: a directory with data")
    names: set[bytes] = set()
    for link in links:
        _check_name(link.name)
        if link.name in names:
            raise FormatError(f"UnixFS: a directory with two entries named {link.name!r}")
        names.add(link.name)
        linkable(link.cid)
    return Directory(links, message.metadata)


def _shard(links: list[Link], message: Unixfs) -> Shard:
    slots = hamt.slots(links, message)
    for slot in slots:
        codec = linkable(slot.cid)
        if slot.name:
            _check_name(slot.name)
        elif codec == cids.RAW:
            raise FormatError("UnixFS: a shard with a raw block in place of a shard")
    return Shard(message.fanout or 0, slots, message.metadata)


def _symlink(links: list[Link], message: Unixfs) -> Symlink:
    target = message.data or b""
    if links or not 0 < len(target) <= TARGET_MAX or b"\0" in target or message.filesize not in (None, len(target)):
        raise FormatError(f"UnixFS: no symbolic link has this target: {target[:80]!r} ({len(target)} bytes)")
    return Symlink(target, message.metadata)


def _check_name(name: bytes) -> None:
    if not 0 < len(name) <= NAME_MAX or name in (b".", b"..") or b"/" in name or b"\0" in name:
        raise FormatError(f"UnixFS: no file can have this name: {name[:80]!r} ({len(name)} bytes)")
