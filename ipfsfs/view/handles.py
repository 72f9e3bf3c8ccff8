"""Open files: what is shared by all handles of one inode, and the handles.

State belongs to the inode, not to the handle: a download is written through one descriptor while another, opened
earlier, is still held (workload.md, trap 1).
"""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

import trio

from ipfsfs.plain import entries, held
from ipfsfs.store.seal import Seal
from ipfsfs.view.nodes import Node, NodeTable, stale

PASSED_ON: Final = os.O_ACCMODE | os.O_TRUNC | os.O_SYNC | os.O_DSYNC
"""O_APPEND would send a shared mapping's page to the end of the file (H11); the kernel has dealt with the others."""

_DAY_NS: Final = 86_400 * 1_000_000_000


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


@dataclass(slots=True, eq=False)
class OpenFile:
    """What all handles of one inode share: a descriptor to read by, and what is known of the content."""

    node: Node
    fd: int = -1
    writing: int = -1
    """The descriptor of one of the writers; -1 while there is none."""
    readers: int = 0
    writers: int = 0
    seal: Seal | None = None
    """The seal that reads are checked against; None when there is none, or nothing holds any more."""
    sums: memoryview | None = None
    cold: trio.CapacityLimiter | None = None
    """Those who wait for the disk; made with the first of them."""
    how: int = os.RWF_NOWAIT
    """Flags of a read that must not wait; none where the filesystem knows no such thing (H9)."""
    next: int = 0
    """Where the last READ ended: one that begins about there is part of a sequential read, whoever makes it."""
    asked: int = 0
    """Up to here the disk was asked to read ahead, for a reader that met what was not in the page cache."""
    written: bool = False
    """Written since it was opened by its first writer: to be sealed when the last one has gone."""
    breaking: trio.Event | None = None
    """Set while a seal is being broken: nobody may write before that is on disk."""
    who: int = 0
    """The process that wrote last."""
    guarded: bool = False
    """Its mode or its owner was changed since: who opens it is to be judged by the filesystem again."""

    @property
    def own(self) -> int:
        """A descriptor of the file, whatever has become of its name; -1 where nobody has it open."""
        return self.fd if self.fd >= 0 else self.writing


@dataclass(slots=True, eq=False)
class Handle:
    """One open of a file."""

    file: OpenFile
    fd: int
    writable: bool
    pid: int
    uid: int
    gid: int


def stamp(st: os.stat_result) -> int:
    """A number that changes with size or times of a file; never 0 or 1. mtime can be set back, ctime not."""
    return hash((st.st_mtime_ns, st.st_size, st.st_ctime_ns)) | 2


def carry_over(node: Node, before: os.stat_result, after: os.stat_result) -> None:
    """A call through the view changed a file's ctime and not its content: what the kernel has cached is still right,
    and so is the seal that reads are checked against."""
    if (after.st_mtime_ns, after.st_size) != (before.st_mtime_ns, before.st_size):
        return
    if node.told == stamp(before):
        node.told = stamp(after)
    file = node.file
    if file is not None and file.seal is not None and file.seal.agrees(before):
        file.seal = replace(file.seal, ctime_ns=after.st_ctime_ns)


@dataclass(slots=True)
class Handles:
    """All handles, by the number the kernel knows them by."""

    nodes: NodeTable
    _next: int = 1
    _files: dict[int, Handle] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._files)

    def file(self, number: int) -> Handle:
        """The handle of an open file."""
        return self._files[number]

    def shared(self, node: Node) -> OpenFile:
        """What the handles of a node share, made with the first of them."""
        if node.file is None:
            node.file = OpenFile(node)
        return node.file

    @contextmanager
    def shared_for_now(self, node: Node) -> Iterator[OpenFile]:
        """The same for as long as the block runs, where there are no handles: who opens it meanwhile finds it."""
        file = self.shared(node)
        try:
            yield file
        finally:
            if node.file is file and not file.readers and not file.writers:
                node.file = None

    async def descriptor(self, node: Node, flags: int) -> int:
        """A descriptor of a node's own file, opened as `flags` ask. Raises OSError; ESTALE where its name is another's.

        A lease on the file, the sealer's for an instant or somebody else's, makes the open wait as on plain disk.
        """
        while True:
            try:
                return self.descriptor_now(node, flags)
            except BlockingIOError:
                await trio.sleep(0.001)

    def descriptor_now(self, node: Node, flags: int) -> int:
        """The same without waiting. Raises BlockingIOError where that would be needed."""
        flags &= PASSED_ON
        if node.withdrawn:
            raise stale()
        if flags & os.O_TRUNC or node.held >= 0:
            # Only the file that was meant may lose its content: it is held first, then opened by no name.
            look = self.nodes.for_worker(self.nodes.look(node))
            try:
                return held.reopen(look, flags)
            finally:
                os.close(look)
        if node.parent is None:
            raise stale()
        try:
            fd = entries.open_file(self.nodes.directory_fd(node.parent), node.name, flags)
        except FileNotFoundError:
            raise stale() from None
        st = os.fstat(fd)
        if st.st_ino != node.ino or st.st_dev != node.dev:
            os.close(fd)
            raise stale()
        return self.nodes.for_worker(fd)

    def add(self, node: Node, fd: int, flags: int, caller: Caller) -> int:
        """Enter a freshly opened descriptor, ours from now on; returns the handle's number."""
        file = self.shared(node)
        writable = flags & os.O_ACCMODE != os.O_RDONLY
        if writable:
            file.writers += 1
            file.writing = fd
            file.who = caller.pid
        else:
            if file.fd < 0:
                file.fd = fd
            elif file.fd != fd:
                os.close(fd)
            file.readers += 1
            fd = file.fd
        number = self._next
        self._next += 1
        self._files[number] = Handle(file, fd, writable, caller.pid, caller.uid, caller.gid)
        return number

    def release(self, number: int) -> OpenFile | None:
        """Close a handle. Returns the file when its last writer has gone with it."""
        handle = self._files.pop(number)
        file = handle.file
        last_writer = False
        if handle.writable:
            os.close(handle.fd)
            file.writers -= 1
            last_writer = file.writers == 0
            if file.writing == handle.fd:
                others = (other.fd for other in self._files.values() if other.file is file and other.writable)
                file.writing = -1 if last_writer else next(others)
        else:
            file.readers -= 1
            if file.readers == 0:
                os.close(file.fd)
                file.fd = -1
        if file.readers == 0 and file.writers == 0:
            file.node.file = None
            if file.node.lookups <= 0:
                descriptor = self.nodes.drop(file.node)
                if descriptor >= 0:
                    os.close(descriptor)
        return file if last_writer else None

    def open_for_writing(self) -> list[Node]:
        """Files that somebody has open for writing now."""
        return [handle.file.node for handle in self._files.values() if handle.writable]


def count_as_access(fd: int, st: os.stat_result) -> None:
    """Set a file's access time as the filesystem's own rule (relatime) would at a read (H21).

    Reads that the kernel answers from its cache never reach the file. Mapping it does what reading it does to its
    access time, without reading, and without the new ctime that setting the time would bring.
    """
    if st.st_size and (
        st.st_atime_ns <= st.st_mtime_ns
        or st.st_atime_ns <= st.st_ctime_ns
        or time.time_ns() - st.st_atime_ns > _DAY_NS
    ):
        with suppress(OSError):  # some filesystems map no file: theirs keep no time of access either, then
            mmap.mmap(fd, 1, mmap.MAP_SHARED, mmap.PROT_READ).close()
