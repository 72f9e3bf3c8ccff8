"""Files that are open: what all contents of one file share.

State belongs to the file, not to the handle: a download is written through one descriptor while another, opened
earlier, is still held.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Final

import trio

from ipfsfs.identity import Stat
from ipfsfs.store.seal import Seal
from ipfsfs.view.backing import Node
from ipfsfs.view.kernel_cache import stamp
from ipfsfs.view.streams import Streams

_lending: Final = threading.Lock()
"""Of all files: held for less than a microsecond."""


@dataclass(slots=True, frozen=True)
class Broken:
    """A seal that was broken because its bytes are about to change. `kept_as`: the name in the quarantine of a copy of
    the old content; empty where there is none."""

    seal: Seal
    kept_as: str


@dataclass(slots=True, eq=False)
class OpenFile:
    """What all contents of one file share: a descriptor to read by, and what is known of the content."""

    node: Node
    fd: int = -1
    """The descriptor that all readers share; -1 while there are none."""
    readers: int = 0
    writing: list[int] = field(default_factory=list)
    """The descriptors of the writers."""
    seal: Seal | None = None
    """The seal that reads are checked against; None when there is none, or it holds no longer."""
    sums: memoryview | None = None
    cold: trio.CapacityLimiter | None = None
    """Those who wait for the disk; made with the first of them."""
    nowait: int = os.RWF_NOWAIT
    """The flag of a read that must not wait; 0 where the filesystem does not know it (H9)."""
    streams: Streams = field(default_factory=Streams)
    lent: dict[int, int] = field(default_factory=dict)
    """How many READs in threads use a descriptor."""
    leaving: set[int] = field(default_factory=set)
    """Descriptors that are closed when the last of these is done."""
    written: bool = False
    """Written since its first writer opened it: to be sealed when the last one has gone."""
    breaking: trio.Event | None = None
    """Set while a seal is being broken: no write before that is on disk, and no seal is entered."""
    broken: Broken | None = None
    """The seal that was broken for a change that has not succeeded yet."""
    borrowed: int = 0
    """How many uses of it go on that need no content, such as a truncation by name."""
    backing: int = 0
    """The kernel's number of the file while its handles are native; 0 while the daemon serves them."""
    before: Stat | None = None
    """What the file was like when the first of its native writers was about to open it."""
    guarded: bool = False
    """Its mode or owner was changed since it was opened: the filesystem is to judge the next open again."""

    @property
    def writers(self) -> int:
        """How many contents can write."""
        return len(self.writing)

    def attach(self, seal: Seal | None) -> None:
        """Check reads against a seal, or no longer."""
        self.seal = seal
        self.sums = memoryview(seal.sums).cast("Q") if seal is not None else None

    def carry_over(self, before: Stat, after: Stat) -> None:
        """A call changed the ctime and left the content alone: the seal that is attached goes on holding."""
        if self.seal is not None and self.seal.identity.agrees(before):
            identity = self.seal.identity.after(after)
            if identity is not None:
                self.seal = replace(self.seal, identity=identity)
        if self.before is not None and stamp(self.before) == stamp(before):
            self.before = after

    def add_reader(self, fd: int) -> int:
        """A content that reads has come, with a descriptor that is ours from now on; returns the one to read by."""
        if self.fd < 0:
            self.fd = fd
        elif self.fd != fd:
            os.close(fd)
        self.readers += 1
        self._show()
        return self.fd

    def add_writer(self, fd: int) -> None:
        """A content that writes has come, with its own descriptor."""
        self.writing.append(fd)
        self._show()

    def replace_writer(self, fd: int, by: int) -> None:
        """A content that writes has another descriptor from now on."""
        self.writing[self.writing.index(fd)] = by
        self._close(fd)
        self._show()

    def remove_reader(self) -> None:
        """A content that reads has gone."""
        self.readers -= 1
        if not self.readers:
            self._close(self.fd)
            self.fd = -1
        self._show()

    def remove_writer(self, fd: int) -> None:
        """A content that writes has gone."""
        self.writing.remove(fd)
        self._close(fd)
        self._show()

    def lend(self, fd: int) -> None:
        """A READ in a thread uses a descriptor, which stays open meanwhile."""
        with _lending:
            self.lent[fd] = self.lent.get(fd, 0) + 1

    def give_back(self, fd: int) -> None:
        """It uses it no longer. Any thread may call this."""
        with _lending:
            self.lent[fd] -= 1
            is_free = not self.lent[fd]
            if is_free:
                del self.lent[fd]
            is_last = is_free and fd in self.leaving
            if is_last:
                self.leaving.remove(fd)
        if is_last:
            _let_go(fd)

    def _close(self, fd: int) -> None:
        with _lending:
            is_lent = fd in self.lent
            if is_lent:
                self.leaving.add(fd)
        if not is_lent:
            _let_go(fd)

    def _show(self) -> None:
        self.node.own = self.fd if self.fd >= 0 else self.writing[0] if self.writing else -1


def _let_go(fd: int) -> None:
    """Close a descriptor. Its number is free afterwards whatever the filesystem says at that, as those of networks may;
    nobody waits to hear it, and whoever asks for a sync is told."""
    with suppress(OSError):
        os.close(fd)


@dataclass(slots=True)
class OpenFiles:
    """All files that are open, by node."""

    _files: dict[Node, OpenFile] = field(default_factory=dict)

    def of(self, node: Node) -> OpenFile | None:
        """What the contents of a node's file share; None while it is not open."""
        return self._files.get(node)

    def shared(self, node: Node) -> OpenFile:
        """The same, made with the first content."""
        file = self._files.get(node)
        if file is None:
            file = self._files[node] = OpenFile(node)
        return file

    @contextmanager
    def shared_for_now(self, node: Node) -> Iterator[OpenFile]:
        """The same for as long as the block runs, where the file is not open: an open meanwhile finds it."""
        file = self.shared(node)
        file.borrowed += 1
        try:
            yield file
        finally:
            file.borrowed -= 1
            self.release(file)

    def release(self, file: OpenFile) -> None:
        """A use of the file has ended: it is open no longer if that was the last."""
        if not file.readers and not file.writers and not file.borrowed and self._files.get(file.node) is file:
            del self._files[file.node]

    def open_for_writing(self) -> list[Node]:
        """The nodes whose files are open for writing."""
        return [node for node, file in self._files.items() if file.writers]
