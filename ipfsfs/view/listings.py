"""Listings of directories, and whether the kernel may go on with the one it keeps.

Told so (FOPEN_CACHE_DIR), the kernel keeps what a listing brought, and serves later ones without asking. It may do so
for as long as the directory's ctime is what it was then (H22). A reader that finds the kernel's listing gone halfway,
because memory was short, goes on here by a position; so positions depend on the name and nothing else. One that began
here does not go on in the kernel's, which knows the positions of what is in it only: of those who have a directory
open, one at a time has the kernel keep what it reads, or reads what the kernel keeps.
"""

from __future__ import annotations

import bisect
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import trio

from ipfsfs.caches.place import Kind
from ipfsfs.plain import entries, held
from ipfsfs.plain.identities import hides_changes
from ipfsfs.view.backing import Caller, Node
from ipfsfs.view.kernel_cache import stamp
from ipfsfs.view.names import SHORT_S, Entry, Names
from ipfsfs.view.nodes import NodeTable
from ipfsfs.view.team import Team

DOTS: Final = 2
"""The positions behind `.` and `..`, with which a listing begins."""
_POSITIONS: Final = (1 << 62) - 1
"""They are file offsets, so that they must not be negative."""
_CHANGING: Final = 1
"""`Node.listed` where nothing is known that could be compared: no stamp has this value."""


class OpenedDirectory(NamedTuple):
    """A directory that was opened: the handle's number, whether the kernel is to keep its listing, and whether it may
    go on with the one it has."""

    number: int
    keep: bool
    unchanged: bool


@dataclass(slots=True, eq=False)
class Listing:
    """One open of a directory, by a user. `names`, with the position behind each, are those of when reading began."""

    node: Node
    keep: bool
    uid: int
    fd: int = -1
    names: list[tuple[int, bytes]] | None = None


@dataclass(slots=True)
class Listings:
    """All open directories, by the number the kernel knows them by."""

    nodes: NodeTable
    names: Names
    team: Team | None = None
    _next: int = 1
    _open: dict[int, Listing] = field(default_factory=dict)
    _keeping: set[Node] = field(default_factory=set)
    _fsync_limiter: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(8))

    def open(self, node: Node, caller: Caller) -> OpenedDirectory:
        """Open a directory for listing. Raises OSError; ESTALE where another directory has its path by now, at which
        the kernel looks the path up again (H22)."""
        unchanged = node.listed == stamp(self.nodes.confirm(node))
        # Unchanged, it is not opened either: most likely nobody will ask.
        listing = Listing(node, node not in self._keeping, caller.uid, -1 if unchanged else self._reach(node))
        if not unchanged:
            node.listed = 0
        if listing.keep:
            self._keeping.add(node)
        number = self._next
        self._next += 1
        self._open[number] = listing
        return OpenedDirectory(number, listing.keep, unchanged)

    def release(self, number: int) -> None:
        """Close a directory."""
        listing = self._open.pop(number)
        if listing.fd >= 0:
            os.close(listing.fd)
        if listing.keep:
            self._keeping.discard(listing.node)

    def descriptor(self, number: int) -> int:
        """The descriptor of an open directory, which stays ours. Raises OSError."""
        return self._descriptor(self._open[number])

    async def sync(self, number: int) -> None:
        """Have a directory's names on disk. Raises OSError."""
        await trio.to_thread.run_sync(os.fsync, self.descriptor(number), limiter=self._fsync_limiter)

    def read(self, number: int, start: int) -> Iterator[tuple[int, bytes, Entry]]:
        """The entries of an open directory from position `start` on, each with the position behind it.

        Names that vanish meanwhile are left out. Raises OSError.
        """
        listing = self._open[number]
        fd = self._descriptor(listing)
        names = listing.names
        if names is None or start == 0:
            names = self._look(listing, fd, keep=listing.keep and start == 0)
        for at in range(bisect.bisect_left(names, (start + 1,)), len(names)):
            position, name = names[at]
            if position <= DOTS:
                yield position, name, self._dots(listing, fd, name)
                continue
            try:
                st = entries.stat(fd, name)
            except FileNotFoundError:
                continue
            if self.team is not None and self.team.hides(self.nodes.place(listing.node), name, st, listing.uid):
                continue
            entry = self.names.found(listing.node, name, st)
            if entry.node.number != st.st_ino:  # it may have another number once the kernel has forgotten it
                listing.node.listed = _CHANGING
            yield position, name, entry

    def _look(self, listing: Listing, fd: int, *, keep: bool) -> list[tuple[int, bytes]]:
        if keep:
            st = os.fstat(fd)
            listing.node.listed = _CHANGING if hides_changes(st.st_ctime_ns) else stamp(st)
        names = [(1, b"."), (DOTS, b"..")]
        last = DOTS
        found = entries.listing(fd)
        if keep and self.team is not None and self._depends_on_user(listing.node, found):
            listing.node.listed = _CHANGING
        for position, name in sorted((hash(name) & _POSITIONS, name) for name in found):
            last = max(last + 1, position)
            names.append((last, name))
        listing.names = names
        return names

    def _depends_on_user(self, node: Node, names: list[bytes]) -> bool:
        """Whether a name may be there for some users only: the kernel keeps one listing for all."""
        place = self.nodes.place(node)
        return any(place.classify(name).kind is Kind.SECRET for name in names)

    def _dots(self, listing: Listing, fd: int, name: bytes) -> Entry:
        """What `.` and `..` are, of which the kernel takes no reference and looks at type and number only.

        They are never asked of the filesystem: `..` of a directory right below the root is the mount point, and the way
        there leads through the view, to us (H7).
        """
        node = listing.node
        if name == b".." and node.parent is not None:
            node = node.parent
        return Entry(node, os.fstat(fd), SHORT_S)

    def _descriptor(self, listing: Listing) -> int:
        if listing.fd < 0:
            listing.fd = self._reach(listing.node)
        return listing.fd

    def _reach(self, node: Node) -> int:
        if node.parent is None or node.held >= 0:
            fd = held.reopen(self.nodes.directory_fd(node), os.O_RDONLY | os.O_DIRECTORY)
        else:
            fd = entries.open_listing(self.nodes.directory_fd(node), b".")
        return self.nodes.for_worker(fd)
