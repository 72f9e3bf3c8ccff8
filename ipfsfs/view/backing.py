"""A node, what its file is, and what a handle holds: the protocols behind which kinds of files differ.

A file is *resident*, an ordinary file in the plain directory (`ipfsfs.view.resident`), or a *placeholder*, a link there
that stands for a file which is known by its CID and not wholly here (`ipfsfs.view.placeholder`). Lookups and listings
decide which kind an entry is (`Names.found`); nowhere else do the two differ.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from ipfsfs.caches.place import Place
from ipfsfs.plain.into_memory import IntoMemory
from ipfsfs.unixfs.reference import Reference
from ipfsfs.view.access import Access
from ipfsfs.view.attributes import Attributes, Changes
from ipfsfs.view.kernel_cache import KernelCache


class Caller(Protocol):
    """Who asks: the process, and the user and group it acts for."""

    @property
    def uid(self) -> int: ...
    @property
    def gid(self) -> int: ...
    @property
    def pid(self) -> int: ...
    @property
    def umask(self) -> int: ...


class ReadJob(Protocol):
    """A READ that a thread can do. The bytes lie in the `buffer` that is given, which has room for them. `at_hand`,
    `waited_for` and `bring` raise OSError where the file cannot be read."""

    @property
    def file(self) -> Hashable:
        """What the jobs of one file have in common: as many of these wait at once as one file is allowed."""

    def at_hand(self, buffer: memoryview) -> memoryview | None:
        """The bytes, if they are in memory and are right; else None. Never waits for a disk."""

    def bring(self, into_memory: IntoMemory) -> bool:
        """Have the bytes in memory, waiting for the disk: then they are at hand, unless the kernel has taken the memory
        for something else by then. To be called once. False where that cannot be: they are to be `waited_for`."""

    def waited_for(self, buffer: memoryview) -> memoryview | None:
        """The bytes from the disk; None where they are not right, and `Content.read` is to judge that."""

    @property
    def wants_more(self) -> bool:
        """Whether the file should be read ahead, once this is answered."""

    def read_ahead(self, into_memory: IntoMemory) -> None:
        """Do that, waiting for the disk. What cannot be read is for the next READ to find."""

    def over(self) -> None:
        """Let go of the file. Always called, once."""


class Content(Protocol):
    """What a handle holds: the content of one open file. A `_nowait` method returns None where it would have to wait;
    the one without does the whole then. All raise OSError, reading also IntegrityError."""

    def read_nowait(self, offset: int, size: int) -> memoryview | None:
        """Bytes that are at hand; valid until the next call of any content."""

    def job(self, offset: int, size: int) -> ReadJob | None:
        """The same for a thread; None where there is nothing that threads can do for it."""

    async def read(self, offset: int, size: int) -> memoryview:
        """Bytes, fewer than asked for at the end of the file only."""

    def write_nowait(self, offset: int, data: bytes) -> int | None:
        """Write; returns how many bytes were."""

    async def write(self, offset: int, data: bytes) -> int:
        """Write; returns how many bytes were."""

    async def sync(self, *, data_only: bool) -> None:
        """Have the content on disk."""

    def close(self) -> None:
        """Let go of it. Never raises."""


class Opened(NamedTuple):
    """A file that was opened. `keep`: whether the kernel may keep the pages it has of it; `backing`: the kernel's
    number of the file beneath where it is to read that itself, else 0."""

    content: Content
    keep: bool
    backing: int = 0


class Backing(Protocol):
    """What a node's file is. One object may back many nodes. All methods raise OSError; ESTALE where the node's name
    reaches another file by now."""

    @property
    def is_settled(self) -> bool:
        """Whether the file stays of this kind for as long as its name stands for it: the kernel may trust it then."""

    @property
    def stands_for(self) -> Reference | None:
        """What the link of a file says that is not wholly here; None for every other file."""

    def shown(self, st: os.stat_result) -> Attributes:
        """What stat shows of a file whose entry in the plain directory is as `st` says."""

    def attributes(self, node: Node) -> Attributes:
        """What stat shows."""

    def allows(self, node: Node, mode: int) -> bool:
        """Whether this process, which is its only user's, may use the file as access(2) asks."""

    async def resident(self, node: Node) -> None:
        """Return when the node's file is wholly here, as an ordinary file. Raises also IpfsfsError."""

    async def change(self, node: Node, changes: Changes, content: Content | None, caller: Caller) -> Attributes:
        """Set attributes; `content` is the handle's where the call came by one. Returns all of them."""

    async def get_xattr(self, node: Node, name: bytes, caller: Caller) -> bytes:
        """The value of an extended attribute."""

    async def set_xattr(self, node: Node, name: bytes, value: bytes, caller: Caller) -> None:
        """Set an extended attribute."""

    def list_xattrs(self, node: Node) -> list[bytes]:
        """The names of the extended attributes."""

    def remove_xattr(self, node: Node, name: bytes) -> None:
        """Remove an extended attribute."""

    def open_nowait(self, node: Node, access: Access, caller: Caller) -> Opened | None:
        """Open the file. None where that has to wait."""

    async def open(self, node: Node, access: Access, caller: Caller) -> Opened:
        """The same, waiting where need be."""


class Elsewhere(Protocol):
    """Which links stand for files that are not wholly here."""

    def at(self, node: Node | None, dir_fd: int, name: bytes, st: os.stat_result) -> Backing | None:
        """The backing of a link at a name where a place allows for such a file; None where it is an ordinary link.
        `node`: the node that the link is known by, if it is. Raises OSError."""

    def may_be_one(self, st: os.stat_result) -> bool:
        """Whether a link with these attributes may stand for such a file, wherever it is: most do not."""

    def is_reference(self, text: bytes) -> bool:
        """Whether a link with this text stands for such a file, where its place allows for that."""


@dataclass(slots=True, eq=False, weakref_slot=True)
class Node:
    """A file, directory or link that the kernel holds a reference to."""

    number: int
    ino: int
    dev: int
    parent: Node | None
    name: bytes
    backing: Backing
    """What the file is; decided by lookups and listings."""
    lookups: int = 0
    held: int = -1
    """An O_PATH descriptor, from the moment the last name known here goes until the kernel forgets the node."""
    own: int = -1
    """A descriptor of the file that survives rename and unlink; -1 while the file is not open. Its content's."""
    withdrawn: bool = False
    """Moved to quarantine: no open by a name that the kernel has not forgotten yet reaches it (H23)."""
    cache: KernelCache = field(default_factory=KernelCache)
    listed: int = 0
    """For a directory: its `stamp` when the listing that the kernel keeps was made; 0 where there is none."""
    place: Place | None = None
    epoch: int = -1

    @property
    def has_name(self) -> bool:
        """Whether the name that the node is known by stands for its file, as far as is known here. False for good
        once the kernel has forgotten a node whose name is gone."""
        return self.held < 0 and self.ino != 0


def stale() -> OSError:
    """What makes the kernel look a name up again."""
    return OSError(errno.ESTALE, os.strerror(errno.ESTALE))
