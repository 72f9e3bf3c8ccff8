"""Putting a link in the place of a file, so that the file's blocks can be freed (H28).

The link is made beside the file, both change places at once, and what came out is looked at: it is put back where it is
not the file that was meant, or a program has asked for it meanwhile. Only then it is removed. A kill or a power cut
leaves the file or the link at the name, and perhaps the other one beside it: `put_right` takes that away.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat as stat_
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from ipfsfs.plain import lease, links, syscalls
from ipfsfs.plain.lease import Users
from ipfsfs.plain.links import Link, Replaced
from ipfsfs.unixfs import reference

OVERLAY: Final = 0x794C7630
"""OVERLAYFS_SUPER_MAGIC of `linux/magic.h`."""
_OPEN: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_LABELS: Final = ("security.selinux",)
"""Extended attributes that a filesystem gives to links as well, by itself."""


class FileInUse(OSError):
    """The file is open, or was about to be opened or changed: it stays."""


@dataclass(slots=True, frozen=True)
class Vacating:
    """A file that only we have open: whoever opens it waits until this is over. `st`: its attributes then; `beside`: a
    temporary name in its directory."""

    dir_fd: int
    name: bytes
    beside: bytes
    fd: int
    st: os.stat_result

    def exchange(self, text: bytes) -> os.stat_result:
        """Put a link with this text in the file's place, with its owner, group and times; the file is at the temporary
        name from then on. Takes no time that counts. Returns the link's attributes.

        Raises FileInUse, Replaced, OSError; the file is at its name then, with nothing beside it.
        """
        made = self._make_link(text)
        try:
            syscalls.renameat2(self.dir_fd, self.beside, self.dir_fd, self.name, syscalls.RENAME_EXCHANGE)
        except BaseException:
            self._unlink_beside()
            raise
        try:
            self.must_be_as_it_was()
            if not self._is_beside():
                raise Replaced(errno.EEXIST, "it was replaced beneath the view", self.name)
        except OSError:
            self._back(made)
            raise
        return os.stat(self.name, dir_fd=self.dir_fd, follow_symlinks=False)

    def must_be_as_it_was(self) -> None:
        """Raises FileInUse where a program has asked for the file, or its content may be another one. The ctime is let
        alone: an exchange is a change of it on most filesystems."""
        st = os.fstat(self.fd)
        same = (st.st_size, st.st_mtime_ns, st.st_mode, st.st_uid, st.st_gid, st.st_nlink)
        before = self.st
        if not lease.is_still_alone(self.fd) or same != (
            before.st_size, before.st_mtime_ns, before.st_mode, before.st_uid, before.st_gid, before.st_nlink,
        ):  # fmt: skip
            raise FileInUse(errno.EBUSY, "a program asked for it meanwhile", self.name)

    def put_back(self, link: os.stat_result) -> bool:
        """Have the file at its name again instead of the link; whether it is: the link was perhaps replaced or removed
        by now, and then the file would have been, too. Raises OSError."""
        return self._back(link)

    def remove(self) -> None:
        """Remove the file at the temporary name; it is gone from the disk as well when this returns. Waits for the
        disk. Raises OSError."""
        os.unlink(self.beside, dir_fd=self.dir_fd)
        links.sync_directory(self.dir_fd)

    def _back(self, link: os.stat_result) -> bool:
        try:
            found = os.stat(self.name, dir_fd=self.dir_fd, follow_symlinks=False)
        except FileNotFoundError:
            self._unlink_beside()
            return False
        if (found.st_dev, found.st_ino) != (link.st_dev, link.st_ino):
            self._unlink_beside()
            return False
        syscalls.renameat2(self.dir_fd, self.beside, self.dir_fd, self.name, syscalls.RENAME_EXCHANGE)
        self._unlink_beside()
        return True

    def _is_beside(self) -> bool:
        try:
            st = os.stat(self.beside, dir_fd=self.dir_fd, follow_symlinks=False)
        except OSError:
            return False
        return (st.st_dev, st.st_ino) == (self.st.st_dev, self.st.st_ino)

    def _make_link(self, text: bytes) -> os.stat_result:
        os.symlink(text, self.beside, dir_fd=self.dir_fd)
        try:
            links.give_to_link(self.dir_fd, self.beside, self.st)
            return os.stat(self.beside, dir_fd=self.dir_fd, follow_symlinks=False)
        except BaseException:
            self._unlink_beside()
            raise

    def _unlink_beside(self) -> None:
        with suppress(OSError):
            os.unlink(self.beside, dir_fd=self.dir_fd)


@contextmanager
def vacating(dir_fd: int, name: bytes, beside: bytes) -> Iterator[Vacating]:
    """A file at a name, alone for as long as the block runs.

    Raises OSError; FileInUse where another program has it open, or that cannot be told.
    """
    fd = os.open(name, _OPEN, dir_fd=dir_fd)
    try:
        match lease.take_alone(fd):
            case Users.SOME:
                raise FileInUse(errno.EBUSY, "it is open", name)
            case Users.UNKNOWN:
                raise FileInUse(errno.EBUSY, "this filesystem does not tell whether it is open", name)
        yield Vacating(dir_fd, name, beside, fd, os.fstat(fd))
    finally:
        os.close(fd)


def beside_name(name: bytes) -> bytes:
    """A new hidden name beside a file that is to be evicted (`ipfsfs.caches.beside`)."""
    return b".%b.%b.evicting" % (name[:200], secrets.token_hex(4).encode("ascii"))


def has_attributes(fd: int) -> bool:
    """Whether an open file has extended attributes or an ACL, which a link cannot keep. Raises OSError."""
    try:
        return any(name not in _LABELS for name in os.listxattr(fd))
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            return False
        raise


def why_impossible(store_fd: int, root_fd: int) -> str:
    """Why no file of a plain directory can be evicted, be it ever so well known elsewhere; empty where one can.

    `store_fd`: a directory of the store. Names are exchanged between both for a moment, which is the only way to know.
    Raises OSError where that fails for what may pass.
    """
    if syscalls.filesystem_type(root_fd) == OVERLAY:
        return "it lies on an overlay, where that would first copy each file"
    beside = beside_name(b"probe")
    before = os.fstat(root_fd)
    try:
        try:
            os.symlink(b"probe", beside, dir_fd=store_fd)
            os.symlink(b"probe", beside, dir_fd=root_fd)
            syscalls.renameat2(store_fd, beside, root_fd, beside, syscalls.RENAME_EXCHANGE)
        finally:
            for fd in (store_fd, root_fd):
                with suppress(OSError):
                    os.unlink(beside, dir_fd=fd)
            with suppress(OSError):
                os.utime(f"/proc/self/fd/{root_fd}", ns=(before.st_atime_ns, before.st_mtime_ns))
    except OSError as error:
        if not links.cannot_exchange(error):
            raise
        return "names cannot be exchanged between it and its store, which lies on another filesystem or subvolume"
    return ""


def put_right(root_fd: int, path: bytes, beside: bytes) -> None:
    """Take away what an eviction left when it was killed: the file is at its name again where the link is, for then
    nothing depends on an origin. Raises OSError."""
    above, _, name = path.rpartition(b"/")
    try:
        dir_fd = syscalls.open_beneath(root_fd, above, os.O_PATH | os.O_DIRECTORY)
    except FileNotFoundError:
        return
    try:
        left = os.stat(beside, dir_fd=dir_fd, follow_symlinks=False)
        if stat_.S_ISREG(left.st_mode) and _stands_for(dir_fd, name, left.st_size):
            syscalls.renameat2(dir_fd, beside, dir_fd, name, syscalls.RENAME_EXCHANGE)
        os.unlink(beside, dir_fd=dir_fd)
        links.sync_directory(dir_fd)
    except FileNotFoundError:
        return
    finally:
        os.close(dir_fd)


def _stands_for(dir_fd: int, name: bytes, size: int) -> bool:
    """Whether a name is that of a placeholder of a file of this size."""
    try:
        found = reference.parse(Link.at(dir_fd, name).text)
    except OSError:
        return False
    return found is not None and found.size == size
