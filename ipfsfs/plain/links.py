"""Putting a file in the place of a symlink, and another symlink in its place (H28).

What stands at the name may be another program's by then: it is looked at after the exchange, and put back where it is
not the link that was meant.
"""

from __future__ import annotations

import errno
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from ipfsfs.plain import moving, syscalls
from ipfsfs.unixfs.reference import TEXT_MAX

_NO_EXCHANGE: Final = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)
_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


_TEXT_LEAST: Final = 70
"""Bytes: the shortest text of a placeholder has 73."""


def may_be_placeholder(st: os.stat_result) -> bool:
    """Whether a link with these attributes may stand for a file that is not here, by what does not cost a call.

    One that another user made is an ordinary link, however it came to its name: nothing is fetched for it (H41). So is
    one with several names, which need not all be a placeholder's.
    """
    return _TEXT_LEAST <= st.st_size <= TEXT_MAX and st.st_nlink == 1 and st.st_uid in (0, os.geteuid())


class Replaced(OSError):
    """Something else stands at the name by now, or nothing: it stays so."""


@dataclass(slots=True, frozen=True)
class Link:
    """A symlink that is to be replaced: the directory and name it is at, its text, and its attributes."""

    dir_fd: int
    name: bytes
    text: bytes
    st: os.stat_result

    @classmethod
    def at(cls, dir_fd: int, name: bytes) -> Link:
        """The symlink at a name. Raises Replaced where there is none (any more), and OSError."""
        try:
            text = os.readlink(name, dir_fd=dir_fd)
            return cls(dir_fd, name, text, os.stat(name, dir_fd=dir_fd, follow_symlinks=False))
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOENT):
                raise
            raise Replaced(error.errno, os.strerror(error.errno), name) from error

    def is_at(self, dir_fd: int, name: bytes) -> bool:
        """Whether it is what stands at a name."""
        try:
            st = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
            return (st.st_dev, st.st_ino) == (self.st.st_dev, self.st.st_ino) and (
                os.readlink(name, dir_fd=dir_fd) == self.text
            )
        except OSError:
            return False


def exchange(source_dir: int, source: bytes, link: Link) -> None:
    """Have a file, or another link, change places with a link, which is then removed. Takes no time that counts.

    Raises Replaced, and OSError; what stood at the two names is then where it was. `cannot_exchange` tells whether
    names of the two directories can never change places.
    """
    syscalls.renameat2(source_dir, source, link.dir_fd, link.name, syscalls.RENAME_EXCHANGE)
    if not link.is_at(source_dir, source):
        syscalls.renameat2(source_dir, source, link.dir_fd, link.name, syscalls.RENAME_EXCHANGE)
        raise Replaced(errno.EEXIST, "it was replaced beneath the view", link.name)
    os.unlink(source, dir_fd=source_dir)


def cannot_exchange(error: OSError) -> bool:
    """Whether an error of `exchange` says that it can never be done: on NFS, or between two filesystems."""
    return error.errno in _NO_EXCHANGE


def replace_from_beside(beside: bytes, link: Link) -> None:
    """Put what was made beside a link in its place. Takes no time that counts.

    Raises Replaced, and OSError; what was made beside it is then removed.
    """
    try:
        try:
            exchange(link.dir_fd, beside, link)
        except OSError as error:
            if isinstance(error, Replaced) or not cannot_exchange(error):
                raise
            if not link.is_at(link.dir_fd, link.name):
                raise Replaced(errno.EEXIST, "it was replaced beneath the view", link.name) from None
            os.rename(beside, link.name, src_dir_fd=link.dir_fd, dst_dir_fd=link.dir_fd)
    except BaseException:
        with suppress(OSError):
            os.unlink(beside, dir_fd=link.dir_fd)
        raise


def copy_beside(source: int, link: Link) -> tuple[bytes, int]:
    """Make a copy of an open file beside a link, on disk, by sharing its blocks where that can be done.

    Returns its name and a descriptor of it. Raises OSError; nothing is left then.
    """
    beside = beside_name(link.name)
    fd = os.open(beside, _FLAGS, 0o600, dir_fd=link.dir_fd)
    try:
        moving.copy(source, fd)
        os.fsync(fd)
    except BaseException:
        _give_up(beside, fd, link)
        raise
    return beside, fd


def _give_up(beside: bytes, fd: int, link: Link) -> None:
    os.close(fd)
    with suppress(OSError):
        os.unlink(beside, dir_fd=link.dir_fd)


def copy_nameless(source: int, dir_fd: int) -> int:
    """Make a copy of an open file that has no name, on the filesystem of a directory. Returns a descriptor of it.

    Raises OSError.
    """
    fd = make_nameless(dir_fd)
    try:
        moving.copy(source, fd)
    except BaseException:
        os.close(fd)
        raise
    return fd


def make_nameless(dir_fd: int) -> int:
    """Make an empty file that has no name, on the filesystem of a directory. Returns a descriptor. Raises OSError."""
    name = beside_name(b"nameless")
    fd = os.open(name, _FLAGS, 0o600, dir_fd=dir_fd)  # O_TMPFILE is not had everywhere
    os.unlink(name, dir_fd=dir_fd)
    return fd


def make_file_beside(link: Link, mode: int) -> tuple[bytes, int]:
    """Make an empty file beside a link, with the link's owner. Returns its name and a descriptor.

    Raises OSError; nothing is left then.
    """
    beside = beside_name(link.name)
    fd = os.open(beside, _FLAGS, 0o600, dir_fd=link.dir_fd)
    try:
        give_attributes(fd, link.st, mode)
    except BaseException:
        _give_up(beside, fd, link)
        raise
    return beside, fd


def make_link_beside(text: bytes, link: Link) -> bytes:
    """Make a link with another text, and the owner and times of the first, beside it. Returns its name.

    Raises OSError; nothing is left then.
    """
    beside = beside_name(link.name)
    os.symlink(text, beside, dir_fd=link.dir_fd)
    try:
        give_to_link(link.dir_fd, beside, link.st)
    except BaseException:
        with suppress(OSError):
            os.unlink(beside, dir_fd=link.dir_fd)
        raise
    return beside


def give_to_link(dir_fd: int, name: bytes, st: os.stat_result) -> None:
    """Give a symlink the owner, group and times of another file. Raises OSError."""
    os.chown(name, st.st_uid, st.st_gid, dir_fd=dir_fd, follow_symlinks=False)
    os.utime(name, ns=(st.st_atime_ns, st.st_mtime_ns), dir_fd=dir_fd, follow_symlinks=False)


def give_attributes(fd: int, link: os.stat_result, mode: int) -> None:
    """Give a file the owner, group and times that a link has, and a mode. Raises OSError."""
    st = os.fstat(fd)
    if (st.st_uid, st.st_gid) != (link.st_uid, link.st_gid):
        os.fchown(fd, link.st_uid, link.st_gid)
    os.fchmod(fd, mode)
    os.utime(fd, ns=(link.st_atime_ns, link.st_mtime_ns))


def beside_name(name: bytes) -> bytes:
    """A new hidden name beside another, which clients and sealing pass over (`ipfsfs.caches.beside`)."""
    return b".%b.%b.hydrating" % (name[:200], secrets.token_hex(4).encode("ascii"))


def sync_directory(dir_fd: int) -> None:
    """Have the names of a directory, which may be open with O_PATH, on disk. Raises OSError."""
    fd = os.open(b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=dir_fd)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
