"""Native reads: which files the kernel reads from the plain directory itself, past the daemon.

They are as quick as plain disk, and the daemon sees none of the bytes: only a file that is checked all the same is read
so, by the filesystem beneath or by being verified from time to time. The kernel asks that all handles of a file are of
one kind at one time (H51). So a file is native from an open that finds no other handle of it until its last handle is
closed, be it opened for writing meanwhile: then its seal is broken before that open is answered.
"""

from __future__ import annotations

import errno
import logging
import os
import stat as stat_
from dataclasses import dataclass, field
from typing import Final, Protocol

from ipfsfs.identity import Stat
from ipfsfs.plain.checked import Checker, Checking
from ipfsfs.plain.ownership import Ownership
from ipfsfs.store.seal import Seal
from ipfsfs.view.backing import Node
from ipfsfs.view.open_files import OpenFile
from ipfsfs.view.reads import Reads
from ipfsfs.view.upkeep.scrubbing import Scrubbing

log = logging.getLogger(__name__)

_NOBODY: Final = 65_534
_NEVER: Final = (errno.EPERM, errno.ELOOP, errno.EOPNOTSUPP, errno.ENOTTY)
"""What the kernel answers about any file of a filesystem, and only files of one are sealed: this process may not (a
container's root), that filesystem is stacked on another already, or cannot do it."""


class Kernel(Protocol):
    """The kernel, which reads files beneath the view that it is told of."""

    def register(self, fd: int) -> int:
        """The kernel's number of an open file. Raises OSError."""

    def unregister(self, number: int) -> None:
        """Let go of it; no handle is open. Never raises."""


@dataclass(slots=True)
class Native:
    """Decides which files are native."""

    checking: Checking
    scrubbing: Scrubbing
    ownership: Ownership
    least_size: int
    """The size in bytes from which a file is read natively."""
    _kernel: Kernel | None = None
    _refused: str = ""
    """Why the kernel does it for no file of this directory, once it has said so."""
    _served: dict[Node, int] = field(default_factory=dict)
    """How many handles each file has that the daemon serves."""

    def begin(self, kernel: Kernel) -> None:
        """The kernel can be told of files from now on."""
        self._kernel = kernel

    def end(self) -> None:
        """The connection is about to be closed, with which the kernel lets go of all files."""
        self._kernel = None

    def serve(self, node: Node) -> None:
        """A handle was opened that the daemon serves: until `served`, none of the file's is native."""
        self._served[node] = self._served.get(node, 0) + 1

    def served(self, node: Node) -> None:
        """Such a handle was closed."""
        count = self._served[node] - 1
        if count:
            self._served[node] = count
        else:
            del self._served[node]

    def opened(self, file: OpenFile, fd: int, st: os.stat_result) -> None:
        """A file was opened as `fd` to be read: it is native from now on where that may be.

        Raises OSError for one that is native, and was found damaged: nobody compares what would be read of it.
        """
        seal = file.seal
        if file.backing and seal is not None and self.scrubbing.is_damaged(seal):
            raise OSError(errno.EIO, "it was found damaged while it was open")
        if self._kernel is None or self._refused or seal is None or st.st_size < self.least_size:
            return
        if file.backing or self._is_in_use(file):
            return
        checker, _ = self._checker(fd, st, seal)
        if checker == "read":
            if self.scrubbing.interval_s is None and seal.leased and not seal.vouches(self.scrubbing.boot):
                self.scrubbing.seals.lapse(seal.ino)  # it is sealed as it is now when it is opened next, or by a walk
            self.scrubbing.wanted(file.node)
            return
        try:
            with self.ownership.acting(_account(st), st.st_gid):
                file.backing = self._kernel.register(fd)
            if checker == "scrub":
                self.scrubbing.used(seal)
        except OSError as error:  # the daemon serves it, then
            if error.errno in _NEVER:
                self._refused = f"the kernel refuses to: {error.strerror}"
            log.info("no native read: %s", error.strerror)

    def closed(self, file: OpenFile) -> None:
        """The last handle of a file was closed."""
        if file.backing and self._kernel is not None:
            self._kernel.unregister(file.backing)
        file.backing = 0

    def _is_in_use(self, file: OpenFile) -> bool:
        return file.writers > 0 or file.written or file.breaking is not None or file.node in self._served

    def reads(self, fd: int, st: Stat, seal: Seal | None, file: OpenFile | None) -> Reads:
        """How a file is read that is opened as `fd`. `seal`: the one that agrees with it, if there is one; `file`: what
        its handles share, if there are any."""
        if seal is None:
            checker: Checker = "nothing" if self.checking.why_not(fd, st) else "filesystem"
            return Reads(checker, False, "it is not sealed")
        checker, why = self._checker(fd, st, seal)
        if checker != "read" and st.st_size < self.least_size:
            return Reads("read", False, f"it is smaller than {self.least_size:,} bytes, where that would gain nothing")
        if checker != "read" and file is not None and not file.backing and self._is_in_use(file):
            return Reads("read", False, "it is open, and was opened when it could not be; once it is closed, it can")
        return Reads(checker, checker != "read", why)

    def usually(self) -> Reads:
        """How large sealed files are read that nothing of their own keeps from it."""
        if impossible := self._impossible():
            return Reads("read", False, impossible)
        if not self.checking.never:
            return Reads("filesystem", True, "the filesystem checks what it reads")
        if self.scrubbing.interval_s is None:
            return Reads("read", False, self.checking.never)
        return Reads("scrub", True, "each is verified in full before, and again from time to time")

    def _impossible(self) -> str:
        """Why the kernel reads none; empty where it may."""
        if self._kernel is None and not self.ownership.root:
            return "the kernel reads files past the daemon in views that root mounted alone"
        if self._kernel is None:
            return "the kernel was not asked to, or cannot: that takes Linux 6.9 with CONFIG_FUSE_PASSTHROUGH"
        return self._refused

    def _checker(self, fd: int, st: Stat, seal: Seal) -> tuple[Checker, str]:
        """Who checks a sealed file from its next open on, and why that is so."""
        if impossible := self._impossible():
            return "read", impossible
        why_not = self.checking.why_not(fd, st)
        if not why_not:
            if seal.vouches(self.scrubbing.boot):
                return "filesystem", "its filesystem checks what it reads"
            why_not = "whether all that was sealed had reached the disk when this machine went down is not known"
        if self.scrubbing.interval_s is None:
            return "read", why_not
        if self.scrubbing.vouches(seal):
            return "scrub", "it was verified in full, and will be again"
        return "read", f"{why_not}, and it is not verified yet: that begins when it is opened"


def _account(st: os.stat_result) -> int:
    """The user for whom a file is written that is native: its owner. A file of root's that others may write is written
    for nobody, for what a disk keeps back for root is not for them."""
    is_for_others = st.st_mode & (stat_.S_IWGRP | stat_.S_IWOTH)
    return _NOBODY if st.st_uid == 0 and is_for_others else st.st_uid
