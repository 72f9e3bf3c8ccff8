"""From the root of a directory to all that is below it, without I/O: says which blocks it needs, and takes them.

    walk = TreeWalk(root)
    while wanted := walk.wanted():
        for cid in wanted:
            for entry in walk.give(cid, <its block, from anywhere>): ...

Names, sizes and depth come from whoever made the tree. They are bounded here; which of the entries may be made on a
disk, and where a symbolic link may lead, is for the caller to decide.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import islice
from typing import Final, Literal

from ipfsfs.errors import FormatError
from ipfsfs.unixfs import cid as cids
from ipfsfs.unixfs import dagpb, reading
from ipfsfs.unixfs.dagpb import Link, Metadata
from ipfsfs.unixfs.hamt import Place
from ipfsfs.unixfs.reading import Directory, File, Node, Shard, Symlink, fault

DEPTH_MAX: Final = 100
"""Directories in each other. A cache has fewer than 10; tools that recurse give up at about 1,000."""

PATH_MAX: Final = 4095
"""Bytes: the kernel's PATH_MAX without the NUL."""

ENTRIES_MAX: Final = 1_000_000
"""Entries of a tree, and shards; what is linked from several places counts in each. They take some 300 bytes each."""

PATHS_MAX: Final = 512 << 20
"""Bytes of all paths together: a few directories with long names, linked often, would make gigabytes of them."""

DIRECTORIES_MAX: Final = 512 << 20
"""Bytes of directories and shards that are read: a million entries with names of 255 bytes have 330 MiB.
Blocks of files and symbolic links are not counted: whoever wants the file needs them in any case."""

WANTED_MAX: Final = 64
"""So many blocks are asked for at once: more need no fetcher in parallel, and a caller's list stays short."""

Kind = Literal["directory", "file", "symlink"]
_MODES: Final[dict[Kind, int]] = {"directory": 0o755, "file": 0o644, "symlink": 0o777}


@dataclass(slots=True, frozen=True)
class TreeEntry:
    """A name below the root.

    `path`: from the root, with "/" between names. `tsize`: what the directory's link says, proven by nothing. `target`:
    of a symbolic link, else empty. `mode`: permission bits; usual ones where the tree has none.

    `size`: bytes of a file, else None. Of a dag-pb root it is what the root's own block says. Of a raw block it is the
    link's tsize, *unproven*: a directory can say any number, and only the block tells. Where the link says nothing of a
    raw block (0, and it is not the empty one), `size` is None.
    """

    path: bytes
    kind: Kind
    cid: bytes
    size: int | None
    tsize: int
    target: bytes
    mode: int


@dataclass(slots=True, frozen=True)
class _Entry:
    """A place in the tree where a block is awaited that tells what it is."""

    path: bytes
    tsize: int


@dataclass(slots=True, frozen=True)
class _Below:
    """A place where a shard is awaited that holds more of the directory at `path`."""

    path: bytes
    place: Place


class TreeWalk:
    """Finds all that is below a directory. `root`: its CID; the root has no entry of its own. `levels`: how many
    directories deep it goes; with 1 it finds the names in the root, and enters none of the directories there.

    A directory's entry comes before those in it, else in any order. Raises FormatError, with a CID, here and in `give`.
    """

    def __init__(self, root: bytes, levels: float = math.inf) -> None:
        if reading.linkable(root) != cids.DAG_PB:
            raise fault(root, "not a directory, but a raw block")
        self._levels = levels
        self._root = _Entry(b"", 0)
        self._awaited: dict[bytes, list[_Entry | _Below]] = {root: [self._root]}
        self._files: dict[bytes, tuple[int, int]] = {}  # size and mode of dag-pb files that were read
        self._entries = 0
        self._paths = 0
        self._bytes = 0

    def wanted(self) -> list[bytes]:
        """The CIDs of blocks that are needed now, at most `WANTED_MAX`; none when the walk is at its end.

        The same ones again until they are given. A directory that is linked from several places may come to be wanted
        again; it counts as often. Of a dag-pb file the root's block is wanted: it says size and mode.
        """
        return list(islice(self._awaited, WANTED_MAX))

    def give(self, cid: bytes, block: bytes) -> list[TreeEntry]:
        """Takes a block, and returns the entries that it makes known. One that is not wanted is ignored.

        Bytes that are not the block of `cid` change nothing; after any other FormatError the walk is over.
        """
        if cid not in self._awaited:
            return []
        node = reading.read(cid, block)
        places = self._awaited.pop(cid)
        if isinstance(node, Directory | Shard):
            self._count(cid, node, len(block), [place for place in places if self._is_entered(place)])
        elif isinstance(node, File):
            self._files[cid] = node.size, _mode(node.metadata, "file")
        found: list[TreeEntry] = []
        for place in places:
            self._place(cid, node, place, found)
        return found

    def _count(self, cid: bytes, node: Directory | Shard, size: int, places: list[_Entry | _Below]) -> None:
        """Counts what a directory adds to the tree, before anything is made of it."""
        links = node.entries if isinstance(node, Directory) else node.slots
        self._entries += len(links) * len(places)
        if self._entries > ENTRIES_MAX:
            raise fault(cid, f"a tree with {self._entries} entries or more; at most {ENTRIES_MAX} are read")
        self._paths += len(places) * sum([len(link.name) for link in links])
        self._paths += len(links) * sum([len(place.path) + 1 for place in places])
        if self._paths > PATHS_MAX:
            raise fault(cid, f"a tree whose paths have {self._paths} bytes or more; at most {PATHS_MAX} are read")
        self._bytes += size
        if self._bytes > DIRECTORIES_MAX:
            raise fault(cid, f"a tree whose directories have more than {DIRECTORIES_MAX} bytes")

    def _place(self, cid: bytes, node: Node, place: _Entry | _Below, found: list[TreeEntry]) -> None:
        """Enters what was read of a block at one of the places where it was awaited."""
        if isinstance(place, _Below):
            if not isinstance(node, Shard) or node.fanout != place.place.fanout or not node.slots:
                raise fault(cid, f"not the shard of fanout {place.place.fanout} that its parent says it is")
            self._shard(cid, node, place.path, place.place, found)
            return
        if isinstance(node, File):
            size, mode = self._files[cid]
            self._enter(TreeEntry(place.path, "file", cid, size, place.tsize, b"", mode), found)
            return
        if isinstance(node, Symlink):
            mode = _mode(node.metadata, "symlink")
            self._enter(TreeEntry(place.path, "symlink", cid, None, place.tsize, node.target, mode), found)
            return
        if place is not self._root:
            mode = _mode(node.metadata, "directory")
            self._enter(TreeEntry(place.path, "directory", cid, None, place.tsize, b"", mode), found)
        if not self._is_entered(place):
            return
        if isinstance(node, Directory):
            for link in node.entries:
                self._link(cid, link, place.path, found)
        else:
            self._shard(cid, node, place.path, Place(node.fanout), found)

    def _is_entered(self, place: _Entry | _Below) -> bool:
        """Whether the names in the directory at a place are wanted."""
        return not place.path or isinstance(place, _Below) or place.path.count(b"/") + 1 < self._levels

    def _enter(self, entry: TreeEntry, found: list[TreeEntry]) -> None:
        if not entry.path:
            raise fault(entry.cid, f"not a directory, but a {entry.kind}")
        found.append(entry)

    def _shard(self, cid: bytes, node: Shard, path: bytes, place: Place, found: list[TreeEntry]) -> None:
        for slot in node.slots:
            try:
                below = place.below(slot.number)
            except FormatError as error:
                raise fault(cid, str(error)) from None
            if not slot.name:
                self._awaited.setdefault(slot.cid, []).append(_Below(path, below))
            elif below.has(slot.name):
                self._link(cid, Link(slot.cid, slot.name, slot.tsize), path, found)
            else:
                raise fault(cid, f"a shard with the name {slot.name!r}, whose hash has another place")

    def _link(self, cid: bytes, link: Link, parent: bytes, found: list[TreeEntry]) -> None:
        """Enters the link of a directory, or awaits the block that tells what it leads to."""
        path = parent + b"/" + link.name if parent else link.name
        if len(path) > PATH_MAX or path.count(b"/") >= DEPTH_MAX:
            raise fault(cid, f"a path of {path.count(b'/') + 1} names and {len(path)} bytes: {path[:80]!r}")
        if cids.unixfs_codec(link.cid) == cids.RAW:
            size = _raw_size(link)
            found.append(TreeEntry(path, "file", link.cid, size, link.tsize, b"", _MODES["file"]))
        elif (known := self._files.get(link.cid)) is not None:
            found.append(TreeEntry(path, "file", link.cid, known[0], link.tsize, b"", known[1]))
        else:
            self._awaited.setdefault(link.cid, []).append(_Entry(path, link.tsize))


def _raw_size(link: Link) -> int | None:
    """The bytes of a raw block, by what the link to it says."""
    if link.tsize > dagpb.BLOCK_MAX or (link.cid == cids.EMPTY and link.tsize):
        raise fault(link.cid, f"a raw block that is said to have {link.tsize} bytes")
    return link.tsize if link.tsize or link.cid == cids.EMPTY else None


def _mode(metadata: Metadata, kind: Kind) -> int:
    """The permission bits that a node says, without set-user-ID and its like; the usual ones where it says none."""
    return _MODES[kind] if metadata.mode is None else metadata.mode & 0o777
