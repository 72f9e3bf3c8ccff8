"""Having one file in the place of another with the same content: two names of one inode.

At each step every name stands for a file with all of its content. Both files are held against writers meanwhile, and
whoever tried to write to the one that was to go finds it in its place.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from ipfsfs.identity import Identity
from ipfsfs.plain import held, lease, quiet, syscalls
from ipfsfs.plain.identities import identity_of
from ipfsfs.plain.tree import Found

_GRACE_S: Final = 0.01
"""How long who was about to open the replaced file for writing has to show."""


class Refused(Exception):
    """The two files stay as they are; says why, as a clause."""


@dataclass(slots=True, frozen=True)
class Linked:
    """What became of two files: the one that is kept, before and after."""

    before: os.stat_result
    after: os.stat_result


def replace(root_fd: int, kept: Found, other: Found, beside: bytes) -> Linked:
    """Have the name of `other` stand for the file `kept`, both as they were found. `beside`: a new name in the
    directory of `other`, for a moment. May wait some hundredths of a second.

    Raises Refused, OSError.
    """
    with _unwritten(root_fd, kept) as source, _unwritten(root_fd, other) as target:
        before = os.fstat(source)
        _compare(before, source, os.fstat(target), target)
        above, _, name = other.path.rpartition(b"/")
        dir_fd = syscalls.open_beneath(root_fd, above, os.O_RDONLY | os.O_DIRECTORY)
        try:
            # By way of the descriptor: the file that was looked at, whatever its name is by now.
            os.link(f"/proc/self/fd/{source}", beside, dst_dir_fd=dir_fd, follow_symlinks=True)
            try:
                _take_place(dir_fd, beside, name, target)
            finally:
                with suppress(FileNotFoundError):
                    os.unlink(beside, dir_fd=dir_fd)
            os.fsync(dir_fd)
        finally:
            os.close(dir_fd)
        return Linked(before, os.fstat(source))


def _take_place(dir_fd: int, beside: bytes, name: bytes, target: int) -> None:
    """Have the two names change places, for good where the second was the target's, and nobody wants to write to it."""
    syscalls.renameat2(dir_fd, beside, dir_fd, name, syscalls.RENAME_EXCHANGE)
    expected = os.fstat(target)
    found = os.stat(beside, dir_fd=dir_fd, follow_symlinks=False)
    is_right = (found.st_dev, found.st_ino) == (expected.st_dev, expected.st_ino) and expected.st_nlink == 1
    if is_right:
        time.sleep(_GRACE_S)
    if not is_right or lease.is_wanted(target):
        syscalls.renameat2(dir_fd, beside, dir_fd, name, syscalls.RENAME_EXCHANGE)
        raise Refused("it is in use")


def _compare(one: os.stat_result, one_fd: int, other: os.stat_result, other_fd: int) -> None:
    """See that nothing but its content would be lost of the other. Raises Refused."""
    if other.st_nlink != 1:
        raise Refused("it has several names")
    if (one.st_uid, one.st_gid, one.st_mode) != (other.st_uid, other.st_gid, other.st_mode):
        raise Refused("its owner, group or mode is another")
    if _attributes(one_fd) != _attributes(other_fd):
        raise Refused("its extended attributes are others")


def _attributes(fd: int) -> dict[bytes, bytes]:
    return {name: held.get_own_xattr(fd, name) for name in held.list_xattrs(fd)}


@contextmanager
def _unwritten(root_fd: int, found: Found) -> Iterator[int]:
    """A descriptor of a file that is as it was found, and stays so while the block runs. Raises Refused, OSError."""
    try:
        fd = quiet.open_regular(root_fd, found.path)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EISDIR, errno.ELOOP, errno.EINVAL, errno.EAGAIN):
            raise Refused("it is gone or in use") from error
        raise
    try:
        try:
            with lease.unwritten(fd):
                if identity_of(fd) != found.identity:
                    raise Refused("it was changed")
                yield fd
        except BlockingIOError as error:
            raise Refused("it is open for writing") from error
    finally:
        os.close(fd)


def remove_left_over(root_fd: int, found: Found, sealed: Identity | None) -> None:
    """Remove what an end of this process left `beside` another name, where it is not needed: it has other names, or is
    as it was sealed, and so the same as what took its place. Raises OSError."""
    above, _, name = found.path.rpartition(b"/")
    dir_fd = syscalls.open_beneath(root_fd, above, os.O_RDONLY | os.O_DIRECTORY)
    try:
        st = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
        is_as_sealed = sealed is not None and (st.st_size, st.st_mtime_ns) == (sealed.size, sealed.mtime_ns)
        if st.st_ino == found.ino and (st.st_nlink > 1 or is_as_sealed):
            os.unlink(name, dir_fd=dir_fd)
    finally:
        os.close(dir_fd)
