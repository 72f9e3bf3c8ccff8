"""A file held by an O_PATH descriptor: its attributes, whatever has become of its names.

An O_PATH descriptor takes no fchmod or fgetxattr, but the name that procfs gives it does.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from ipfsfs.plain import syscalls

ACL: Final = b"system.posix_acl_access"
"""The extended attribute that holds an ACL, the mode of the file in it."""
_NOW_NS: Final = 2_000_000_000


def _path(fd: int) -> bytes:
    return b"/proc/self/fd/%d" % fd


def chmod(fd: int, mode: int) -> None:
    """Set the permission bits, with set-user-id and set-group-id taken as given. Raises OSError."""
    if mode & 0o6000:
        with _keeping_bits():
            os.chmod(_path(fd), mode)
    else:
        os.chmod(_path(fd), mode)


@contextmanager
def _keeping_bits() -> Iterator[None]:
    """Whether the caller may set set-user-id and set-group-id was decided before; without CAP_FSETID the kernel here
    would clear them again."""
    if os.geteuid() != 0:
        yield
        return
    syscalls.set_effective(syscalls.CAP_FSETID, True)
    try:
        yield
    finally:
        syscalls.set_effective(syscalls.CAP_FSETID, False)


def chown(fd: int, uid: int, gid: int) -> None:
    """Set owner and group; -1 leaves one as it is. Raises OSError."""
    os.chown(_path(fd), uid, gid)


def set_times(fd: int, atime_ns: int, mtime_ns: int) -> None:
    """Set both times. Raises OSError.

    Somebody who may write to a file but does not own it may only set "now": a time that is now is tried as such.
    """
    try:
        os.utime(_path(fd), ns=(atime_ns, mtime_ns))
    except PermissionError:
        now = time.time_ns()
        if max(abs(now - atime_ns), abs(now - mtime_ns)) > _NOW_NS:
            raise
        os.utime(_path(fd))


def truncate(fd: int, size: int) -> None:
    """Cut or extend the file to `size` bytes. Raises OSError."""
    os.truncate(_path(fd), size)


def allows(fd: int, mode: int) -> bool:
    """Whether this process may use the file as `mode` (R_OK, W_OK, X_OK) says, by its effective user."""
    return os.access(_path(fd), mode, effective_ids=True)


def reopen(fd: int, flags: int) -> int:
    """Open the held file itself, by no name. Raises OSError."""
    return os.open(_path(fd), flags | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)


def get_xattr(fd: int, name: bytes) -> bytes:
    """The value of an extended attribute. Raises OSError."""
    return os.getxattr(_path(fd), name)


def get_own_xattr(fd: int, name: bytes) -> bytes:
    """The same of a file that is open for more than holding it. Raises OSError."""
    return os.getxattr(fd, name)


def set_xattr(fd: int, name: bytes, value: bytes) -> None:
    """Set an extended attribute; an ACL leaves set-group-id as it is. Raises OSError."""
    if name == ACL:
        with _keeping_bits():
            os.setxattr(_path(fd), name, value)
    else:
        os.setxattr(_path(fd), name, value)


def list_xattrs(fd: int) -> list[bytes]:
    """The names of the extended attributes; none where the filesystem has no such thing. Raises OSError."""
    try:
        return [os.fsencode(name) for name in os.listxattr(_path(fd))]
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            return []
        raise


def remove_xattr(fd: int, name: bytes) -> None:
    """Remove an extended attribute. Raises OSError."""
    os.removexattr(_path(fd), name)
