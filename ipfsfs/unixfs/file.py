"""From a file's leaves to its root: the balanced layout, and the nodes that have no links (leaves, symlinks)."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from itertools import islice
from typing import Final, TypeVar

from ipfsfs.unixfs import cid, dagpb
from ipfsfs.unixfs.dagpb import NO_METADATA, Metadata, Type, Unixfs
from ipfsfs.unixfs.profile import V1_2025, Profile

T = TypeVar("T")

_STEP: Final = 1024
"""Leaves that are prepared in one step."""

_SOME_CID: Final = cid.raw_cid(bytes(32))


@dataclass(slots=True, frozen=True)
class Dag:
    """A file or directory as a DAG.

    `size`: bytes of the file, 0 for a directory. `tsize`: bytes of all its blocks, which is what a directory's link to
    it says. `nodes`: the blocks that are not leaves of files, as (CID, block), children before parents.
    """

    cid: bytes
    size: int
    tsize: int
    nodes: list[tuple[bytes, bytes]]


def node_cid(block: bytes, profile: Profile) -> bytes:
    """The CID of a dag-pb block, of the version that `profile` asks for."""
    digest = sha256(block).digest()
    return cid.dag_pb_cid(digest) if profile.cid_version else cid.dag_pb_cid_v0(digest)


def leaf(data: bytes, profile: Profile = V1_2025, metadata: Metadata = NO_METADATA) -> tuple[bytes, bytes]:
    """The leaf (CID, block) that holds `data`: the data itself where `profile` has raw leaves, else a dag-pb file.

    A raw block cannot say a mode or a time: a file of one leaf that has `metadata` is a dag-pb file in every profile.
    """
    if profile.raw_leaves and not metadata:
        return cid.raw_cid(sha256(data).digest()), data
    message = Unixfs(Type.FILE, data or None, filesize=len(data), metadata=metadata)
    block = dagpb.encode_node((), dagpb.encode_unixfs(message))
    return node_cid(block, profile), block


def symlink(target: bytes, profile: Profile = V1_2025, metadata: Metadata = NO_METADATA) -> tuple[bytes, bytes]:
    """The (CID, block) of a symbolic link to `target`."""
    block = dagpb.encode_node((), dagpb.encode_unixfs(Unixfs(Type.SYMLINK, target, metadata=metadata)))
    return node_cid(block, profile), block


def leaf_blocks(data: bytes) -> Iterator[bytes]:
    """The dag-pb blocks by which bytes of a file may be a leaf, as Kubo makes them without raw leaves, now and before:
    which it is, its CID tells."""
    for kind in (Type.FILE, Type.RAW):
        yield dagpb.encode_node((), dagpb.encode_unixfs(Unixfs(kind, data, filesize=len(data))))


def build(leaves: Iterable[tuple[bytes, int]], profile: Profile = V1_2025, metadata: Metadata = NO_METADATA) -> Dag:
    """The DAG over `leaves`: the (CID, bytes of the file) of each, in order; none for an empty file.

    The tree is balanced: all leaves lie at one depth, every node but the last of a level has `profile.width` links, and
    a last child alone gets a node of its own. A file of one leaf *is* that leaf (so `metadata` must be in it already).
    Takes about 2 seconds for a million leaves.
    """
    return finish(building(leaves, profile, metadata))


def fixed_tsize(size: int) -> int:
    """`build(...).tsize` for a file of `size` bytes that is cut every mebibyte, with the profile unixfs-v1-2025.

    Takes microseconds at any size: in each level of the tree all nodes but the last are alike. No leaf's CID is needed,
    since all have the same length.
    """
    count, rest = divmod(size, V1_2025.chunk)
    alike = (V1_2025.chunk, V1_2025.chunk)  # bytes of the file, and of the blocks
    last = (rest, rest) if rest else alike
    count += bool(rest)
    while count > 1:
        whole, left = divmod(count - 1, V1_2025.width)  # nodes without the last child; those beside it in its node
        last = _above(left, alike, last)
        alike = _above(V1_2025.width - 1, alike, alike)
        count = whole + 1
    return last[1] if size else 0


def _above(count: int, alike: tuple[int, int], last: tuple[int, int]) -> tuple[int, int]:
    """The bytes of the file, and of the blocks, of a node over `count` children that are alike, and a last one."""
    size = count * alike[0] + last[0]
    link, links = (len(dagpb.encode_link(_SOME_CID, b"", child[1])) for child in (alike, last))
    sizes = count * len(_blocksize(alike[0])) + len(_blocksize(last[0]))
    data = len(b"\x08\x02\x18" + dagpb.varint(size)) + sizes
    block = count * link + links + len(b"\x0a" + dagpb.varint(data)) + data
    return size, block + count * alike[1] + last[1]


def finish(steps: Generator[None, None, Dag]) -> Dag:
    """Take all steps of a DAG's building at once."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            dag: Dag = end.value
            return dag


def building(
    leaves: Iterable[tuple[bytes, int]], profile: Profile = V1_2025, metadata: Metadata = NO_METADATA
) -> Generator[None, None, Dag]:
    """`build` in steps of a thousand leaves, for a caller that has other work to do between them. Returns the DAG."""
    level: list[tuple[bytes, int, int]] = []
    for group in _groups(leaves, _STEP):
        level += [(child, size, _leaf_tsize(size, profile)) for child, size in group]
        if len(group) == _STEP:
            yield
    if not level:
        root, block = leaf(b"", profile, metadata)
        return Dag(root, 0, len(block), [])
    if len(level) == 1:
        root, size, _ = level[0]
        return Dag(root, size, _leaf_tsize(size, profile, metadata), [])
    nodes: list[tuple[bytes, bytes]] = []
    while len(level) > 1:
        above = []
        last = len(level) <= profile.width
        for children in _groups(level, profile.width):
            parent, block = node(children, profile, metadata if last else NO_METADATA)
            nodes.append((parent, block))
            size = sum([child[1] for child in children])
            above.append((parent, size, len(block) + sum([child[2] for child in children])))
            yield
        level = above
    root, size, tsize = level[0]
    return Dag(root, size, tsize, nodes)


def _groups(level: Iterable[T], width: int) -> Iterator[list[T]]:
    children = iter(level)
    while group := list(islice(children, width)):
        yield group


def node(
    children: list[tuple[bytes, int, int]], profile: Profile = V1_2025, metadata: Metadata = NO_METADATA
) -> tuple[bytes, bytes]:
    """The (CID, block) of a file's node over `children`: of each its CID, its bytes of the file, and the bytes of all
    its blocks, which of a raw leaf are the same."""
    block = _encode(children, metadata)
    return node_cid(block, profile), block


def _encode(children: list[tuple[bytes, int, int]], metadata: Metadata) -> bytes:
    """The node over `children`: what `encode_node` of links and message gives, without an object for each link."""
    links: list[bytes] = []
    sizes: list[bytes] = []
    for child, size, tsize in children:
        head, tail = _around_cid(len(child), tsize)
        links += (head, child, tail)
        sizes.append(_blocksize(size))
    total = dagpb.varint(sum([child[1] for child in children]))
    data = b"\x08\x02\x18" + total + b"".join(sizes) + dagpb.encode_metadata(metadata)
    return dagpb.encode_node(links, data)


@lru_cache(maxsize=4096)
def _around_cid(length: int, tsize: int) -> tuple[bytes, bytes]:
    """What stands before and after a CID of `length` bytes in a link without a name; most leaves have the same size."""
    link = dagpb.encode_link(bytes(length), b"", tsize)
    start = link.index(bytes(length), 2)
    return link[:start], link[start + length :]


@lru_cache(maxsize=4096)
def _blocksize(size: int) -> bytes:
    return b"\x20" + dagpb.varint(size)


@lru_cache(maxsize=4096)
def _leaf_tsize(size: int, profile: Profile, metadata: Metadata = NO_METADATA) -> int:
    """The bytes of the block of a leaf that holds `size` bytes of the file."""
    if profile.raw_leaves and not metadata:
        return size
    return len(leaf(bytes(size), profile, metadata)[1])
