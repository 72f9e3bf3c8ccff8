"""Putting a file in the place of another, or of nothing, in one step that loses neither (H18, H28).

What stands at the name may be another program's by then: it is looked at after the exchange, and put back where it is
not what was meant.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import Final

from ipfsfs.identity import Identity
from ipfsfs.plain import held, lease, moving, syscalls
from ipfsfs.plain.lease import Writers
from ipfsfs.plain.links import Replaced, beside_name, cannot_exchange

_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_ATTRIBUTES: Final = (b"user.", b"system.posix_acl_access", b"security.capability")


def is_untouched(fd: int, expected: Identity) -> bool:
    """Whether a file, held by an O_PATH descriptor, is as it was, and no program can write to it. Its ctime may be
    another: that comes of a chmod, too. Raises OSError."""
    st = os.fstat(fd)
    same = (st.st_dev, st.st_ino, st.st_size, st.st_mtime_ns) == (
        expected.dev, expected.ino, expected.size, expected.mtime_ns,
    )  # fmt: skip
    if not same or syscalls.birth_time_ns(fd) != expected.born_ns:
        return False
    own = held.reopen(fd, os.O_RDONLY)
    try:
        return lease.writers_of(own) is not Writers.SOME
    finally:
        os.close(own)


def exchange(source_dir: int, source: bytes, dir_fd: int, name: bytes, expected: Identity) -> None:
    """Have a file and the one at a name change places: `source` is the name of the old one then.

    Raises Replaced where the old one is not as expected, and OSError; both are then where they were.
    `links.cannot_exchange` tells whether names of the two directories can never change places.
    """
    syscalls.renameat2(source_dir, source, dir_fd, name, syscalls.RENAME_EXCHANGE)
    try:
        if _is_what_came_out(source_dir, source, expected):
            return
    except BaseException:
        syscalls.renameat2(source_dir, source, dir_fd, name, syscalls.RENAME_EXCHANGE)
        raise
    syscalls.renameat2(source_dir, source, dir_fd, name, syscalls.RENAME_EXCHANGE)
    raise Replaced(errno.EEXIST, "it was replaced or written meanwhile", name)


def _is_what_came_out(source_dir: int, source: bytes, expected: Identity) -> bool:
    fd = os.open(source, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source_dir)
    try:
        return is_untouched(fd, expected)
    finally:
        os.close(fd)


def replace_from_beside(beside: bytes, dir_fd: int, name: bytes, expected: Identity) -> None:
    """Put what was made beside a file in its place; the old one is removed, a copy of which is kept elsewhere.

    Raises Replaced and OSError; what was made beside it is then removed.
    """
    try:
        try:
            exchange(dir_fd, beside, dir_fd, name, expected)
        except OSError as error:
            if isinstance(error, Replaced) or not cannot_exchange(error):
                raise
            if not _is_what_came_out(dir_fd, name, expected):
                raise Replaced(errno.EEXIST, "it was replaced or written meanwhile", name) from None
            os.rename(beside, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
            return
        os.unlink(beside, dir_fd=dir_fd)
    except BaseException:
        with suppress(OSError):
            os.unlink(beside, dir_fd=dir_fd)
        raise


def copy_beside(source: int, dir_fd: int, name: bytes) -> tuple[bytes, int]:
    """Make a copy of an open file beside a name, by sharing its blocks where that can be done. Returns its hidden name
    and a descriptor of it. Raises OSError; nothing is left then."""
    beside = beside_name(name)
    fd = os.open(beside, _FLAGS, 0o600, dir_fd=dir_fd)
    try:
        moving.copy(source, fd)
        os.fsync(fd)
    except BaseException:
        os.close(fd)
        with suppress(OSError):
            os.unlink(beside, dir_fd=dir_fd)
        raise
    return beside, fd


def give_attributes(fd: int, old: int, *, times: bool) -> None:
    """Give an open file the owner, group, mode and extended attributes of another, which `old` holds, and its `times`
    if its content is the same. Raises OSError."""
    st, own = os.fstat(old), os.fstat(fd)
    if (st.st_uid, st.st_gid) != (own.st_uid, own.st_gid):
        os.fchown(fd, st.st_uid, st.st_gid)
    held.chmod(fd, st.st_mode & 0o7777)
    for attribute in held.list_xattrs(old):
        if attribute.startswith(_ATTRIBUTES):
            with suppress(OSError):  # one that only another user may set
                held.set_xattr(fd, attribute, held.get_xattr(old, attribute))
    if times:
        os.utime(fd, ns=(st.st_atime_ns, st.st_mtime_ns))
