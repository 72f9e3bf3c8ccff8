"""The files the kernel knows: one table from (device, inode) to the number shown (H12).

A node knows one name of its file, not a descriptor: a million of them must fit (H13). Its path is read off its parents
when it is needed, so renaming a directory costs nothing. What a name reaches is compared with the node each time; a
file that somebody replaced beneath the view answers ESTALE, at which the kernel looks up again (H22).
"""

from __future__ import annotations

import errno
import os
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from ipfsfs.caches.place import Place
from ipfsfs.plain import entries
from ipfsfs.plain.directory import PlainDirectory
from ipfsfs.view.backing import Backing, Node, stale

ROOT: Final = 1
"""The number of the root, fixed by the FUSE protocol."""

_OURS: Final = 1 << 52
"""Numbers we make up start here: above any inode number seen on ext4 or XFS, below 2^53, where doubles are exact."""

_DIRECTORIES_MOST: Final = 4096
"""Descriptors of directories kept open; and no more than a quarter of what the process may have."""
_RESERVED: Final = 32
"""Descriptors that no worker gets: commands, the sealer's start, and calls that need one for a moment live on them."""


@dataclass(slots=True)
class NodeTable:
    """All nodes, and how to reach their files."""

    plain: PlainDirectory
    root_place: Place
    descriptor_limit: int = 1024
    """How many descriptors the process may have."""
    moves: int = 0
    """How often a directory or a placeholder was renamed: who walked meanwhile may have missed it in both places."""
    root: Node = field(init=False)
    _numbers: dict[int, Node] = field(default_factory=dict)
    _aliases: dict[tuple[int, int], Node] = field(default_factory=dict)
    _descriptors: OrderedDict[Node, int] = field(default_factory=OrderedDict)
    _next: int = _OURS
    _epoch: int = 0

    def begin(self, backing: Backing) -> None:
        """Enter the root, which has this backing; before anything else."""
        self.root = Node(ROOT, self.plain.ino, self.plain.dev, None, b"", backing, lookups=1, held=self.plain.fd)
        self._numbers[ROOT] = self.root
        self._aliases[(self.plain.dev, self.plain.ino)] = self.root

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, number: int) -> Node:
        try:
            return self._numbers[number]
        except KeyError:
            raise stale() from None

    def find(self, dev: int, ino: int) -> Node | None:
        """The node of a file, if the kernel knows it."""
        if dev == self.plain.dev:
            node = self._numbers.get(ino)
            if node is not None and node.ino == ino and node.dev == dev:
                return node
        return self._aliases.get((dev, ino)) if self._aliases else None

    def adopt(self, parent: Node, name: bytes, st: os.stat_result, backing: Backing) -> Node:
        """The node of what was just found under a name; made where there is none, and told its newest name."""
        node = self.find(st.st_dev, st.st_ino)
        if node is None:
            return self._add(parent, name, st, backing)
        node.backing = backing
        if node.parent is not parent or node.name != name:
            if node is self.root:
                return node
            node.parent, node.name = parent, name
            node.epoch = -1
        if node is not self.root:
            self._has_name(node)
        return node

    def _has_name(self, node: Node) -> None:
        """The name that a node is known by stands for its file: nothing else is needed to reach it."""
        node.withdrawn = False
        if node.held >= 0:
            os.close(node.held)
            node.held = -1

    def _add(self, parent: Node, name: bytes, st: os.stat_result, backing: Backing) -> Node:
        ino, dev = st.st_ino, st.st_dev
        if dev == self.plain.dev and ROOT < ino < _OURS and ino not in self._numbers:
            node = Node(ino, ino, dev, parent, name, backing)
        else:
            node = Node(self._next, ino, dev, parent, name, backing)
            self._next += 1
            self._aliases[(dev, ino)] = node
        self._numbers[node.number] = node
        return node

    def detach(self, node: Node) -> None:
        """The names by which the kernel knows a node must not reach its file any more: where that is found again, by
        whatever name, it is another node. The node keeps its number, and what it holds."""
        if self._aliases.get((node.dev, node.ino)) is node:
            del self._aliases[(node.dev, node.ino)]
        node.ino = 0

    def knows(self, node: Node) -> bool:
        """Whether the kernel has references to a node."""
        return self._numbers.get(node.number) is node

    def rebind(self, node: Node, st: os.stat_result) -> None:
        """Another file, as `st` says, took the place of a node's at its name: it goes on as this node, by its number
        (H12)."""
        if self._aliases.get((node.dev, node.ino)) is node:
            del self._aliases[(node.dev, node.ino)]
        node.dev, node.ino, node.own = st.st_dev, st.st_ino, -1
        if node.number != node.ino or node.dev != self.plain.dev:
            self._aliases[(node.dev, node.ino)] = node

    def forget(self, number: int, lookups: int) -> int:
        """Give back references of the kernel's; returns a descriptor to close, or -1."""
        node = self._numbers.get(number)
        if node is None or node is self.root:
            return -1
        node.lookups -= lookups
        if node.lookups > 0 or node.own >= 0:
            return -1
        return self.drop(node)

    def closed(self, node: Node) -> None:
        """The file of a node is open no longer: that may have been the last reference to it."""
        if node.lookups <= 0:
            descriptor = self.drop(node)
            if descriptor >= 0:
                os.close(descriptor)

    def drop(self, node: Node) -> int:
        """Take a node without references out of the table; returns a descriptor to close, or -1."""
        if self._numbers.get(node.number) is node:
            del self._numbers[node.number]
        if self._aliases.get((node.dev, node.ino)) is node:
            del self._aliases[(node.dev, node.ino)]
        cached = self._descriptors.pop(node, -1)
        if cached >= 0:
            os.close(cached)
        held, node.held = node.held, -1
        if held >= 0:
            node.ino = 0  # as `detach`: its name is gone, and tasks that know the node must see that
        return held

    def directory_fd(self, node: Node) -> int:
        """A descriptor of a directory node to make calls by. Raises OSError; ESTALE where another stands there now."""
        missing: list[Node] = []  # a tree may be deeper than Python's stack
        at = node
        while (fd := self._known_fd(at)) < 0:
            missing.append(at)
            if at.parent is None:
                raise stale()
            at = at.parent
        for below in reversed(missing):
            fd = self._look_directory(fd, below)
        return fd

    def _known_fd(self, node: Node) -> int:
        if node.held >= 0:
            return node.held
        fd = self._descriptors.get(node, -1)
        if fd >= 0:
            self._descriptors.move_to_end(node)
        return fd

    def _look_directory(self, parent_fd: int, node: Node) -> int:
        try:
            fd = entries.look_directory(parent_fd, node.name)
        except (FileNotFoundError, NotADirectoryError):
            raise stale() from None
        st = os.fstat(fd)
        if st.st_ino != node.ino or st.st_dev != node.dev:
            os.close(fd)
            raise stale()
        self._descriptors[node] = fd
        self.make_room(fd)
        return fd

    def confirm(self, node: Node) -> os.stat_result:
        """The attributes of a directory that still has the path it is known by. Raises OSError; ESTALE where it, or one
        above it, was removed, renamed or replaced beneath the view."""
        if node.held >= 0:
            return os.fstat(node.held)
        found = None
        at = node
        try:
            while at.parent is not None and at.held < 0:
                st = self.stat(at)
                found = found or st
                at = at.parent
        except OSError:
            self._release_descriptors(node)
            raise
        if found is None:
            raise stale()
        return found

    def _release_descriptors(self, node: Node) -> None:
        """Close the cached descriptors of a directory and of those above it, some of which reach what is gone."""
        at: Node | None = node
        while at is not None:
            fd = self._descriptors.pop(at, -1)
            if fd >= 0:
                os.close(fd)
            at = at.parent

    def two_directory_fds(self, one: Node, other: Node) -> tuple[int, int]:
        """Descriptors of two directories, for one call by both. Raises OSError; EMFILE where there is no room for the
        paths of both, which are deeper than any that are of use."""
        for _ in range(2):
            first, second = self.directory_fd(one), self.directory_fd(other)
            if first in (one.held, self._descriptors.get(one)):
                return first, second
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    def make_room(self, fd: int) -> None:
        """A descriptor was opened: close the longest unused ones of directories where they are too many, or where
        descriptors run out. The kernel gives the lowest free number, so a high one shows that (H14)."""
        most = min(_DIRECTORIES_MOST, self.descriptor_limit // 4)
        if fd >= self.descriptor_limit - self.descriptor_limit // 8:
            most = min(most, len(self._descriptors) * 3 // 4)  # room for the next ones too
        while len(self._descriptors) > max(most, 1):
            os.close(self._descriptors.popitem(last=False)[1])

    def for_worker(self, fd: int) -> int:
        """A descriptor that was opened for a worker, who may keep it. Raises OSError, and closes it: EMFILE where it is
        one of the last."""
        self.make_room(fd)
        if fd >= self.descriptor_limit - _RESERVED:
            os.close(fd)
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return fd

    def stat(self, node: Node) -> os.stat_result:
        """The attributes of a node's file, as they are now. Raises OSError; ESTALE where its name reaches another."""
        if node.held >= 0:
            return os.fstat(node.held)
        if node.own >= 0:
            return os.fstat(node.own)
        if node.parent is None:
            raise stale()
        try:
            st = entries.stat(self.directory_fd(node.parent), node.name)
        except FileNotFoundError:
            raise stale() from None
        if st.st_ino != node.ino or st.st_dev != node.dev:
            raise stale()
        return st

    def look(self, node: Node) -> int:
        """A new O_PATH descriptor of a node's file; the caller closes it. Raises OSError as `stat`."""
        if node.held >= 0:
            return os.dup(node.held)
        if node.parent is None:
            raise stale()
        try:
            fd = entries.look(self.directory_fd(node.parent), node.name)
        except FileNotFoundError:
            raise stale() from None
        st = os.fstat(fd)
        if st.st_ino != node.ino or st.st_dev != node.dev:
            os.close(fd)
            raise stale()
        return fd

    @contextmanager
    def looked(self, node: Node) -> Iterator[int]:
        """The same for as long as the block runs. Raises OSError."""
        fd = self.look(node)
        try:
            yield fd
        finally:
            os.close(fd)

    @contextmanager
    def held_at(self, parent: Node, name: bytes) -> Iterator[int]:
        """An O_PATH descriptor of what stands at a name, for as long as the block runs. Raises OSError."""
        fd = entries.look(self.directory_fd(parent), name)
        try:
            yield fd
        finally:
            os.close(fd)

    @contextmanager
    def reached(self, node: Node) -> Iterator[int]:
        """A descriptor of a node's file to set attributes by while the block runs, also where it is open and the name
        is another file's. Raises OSError as `stat`."""
        fd = os.dup(node.own) if node.own >= 0 else self.look(node)
        try:
            yield fd
        finally:
            os.close(fd)

    def unnamed(self, node: Node, held: int) -> None:
        """The name a node was known by is gone: hold on to its file by a descriptor, which becomes ours."""
        if node.held >= 0:
            os.close(held)
        else:
            node.held = held

    def moved(self, node: Node, parent: Node, name: bytes, *, directory: bool) -> None:
        """A node was renamed; below a directory every place may have changed with it."""
        node.parent, node.name = parent, name
        self._has_name(node)
        self.moves += directory or not node.backing.is_settled
        if directory:
            self._epoch += 1

    def place(self, node: Node) -> Place:
        """What part of a Hugging Face cache a directory node is."""
        if node.epoch == self._epoch and node.place is not None:
            return node.place
        unknown: list[Node] = []  # a tree may be deeper than Python's stack
        at: Node | None = node
        while at is not None and (at.epoch != self._epoch or at.place is None):
            unknown.append(at)
            at = at.parent
        place = at.place if at is not None and at.place is not None else self.root_place
        for below in reversed(unknown):
            if below.parent is not None:
                place = place.enter(below.name)
            below.place, below.epoch = place, self._epoch
        return place

    def path(self, node: Node) -> bytes:
        """The path from the root to a node, by the name it was last known by; empty for the root."""
        parts: list[bytes] = []
        at: Node | None = node
        while at is not None and at.parent is not None:
            parts.append(at.name)
            at = at.parent
        return b"/".join(reversed(parts))

    def path_of(self, parent: Node, name: bytes) -> bytes:
        """The path from the root to a name in a directory."""
        above = self.path(parent)
        return above + b"/" + name if above else name

    def close(self) -> None:
        """Close every descriptor held for a node."""
        for fd in self._descriptors.values():
            os.close(fd)
        self._descriptors.clear()
        for node in self._numbers.values():
            if node.held >= 0 and node is not self.root:
                os.close(node.held)
                node.held = -1
