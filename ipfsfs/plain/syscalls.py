"""System calls that Python 3.11 lacks: openat2, statx, renameat2, and those that say on whose behalf a thread acts.

Numbers and structures are those of the Linux UAPI headers (`linux/openat2.h`, `linux/stat.h`, `linux/fs.h`,
`linux/pidfd.h`, `linux/capability.h`); they are the same on x86_64 and aarch64 except where `_NUMBERS` says otherwise.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import platform
import struct
from typing import Final, NamedTuple

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
_libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_libc.mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p)
_MAP_FAILED: Final = ctypes.c_void_p(-1).value

_NUMBERS: Final = {
    "x86_64": {"statx": 332, "renameat2": 316, "openat2": 437, "capget": 125, "capset": 126, "ioprio_set": 251},
    "aarch64": {"statx": 291, "renameat2": 276, "openat2": 437, "capget": 90, "capset": 91, "ioprio_set": 30},
}
_NR: Final = _NUMBERS.get(platform.machine(), _NUMBERS["x86_64"])

RESOLVE_NO_MAGICLINKS: Final = 0x02
RESOLVE_NO_SYMLINKS: Final = 0x04
RESOLVE_BENEATH: Final = 0x08

RENAME_NOREPLACE: Final = 1
RENAME_EXCHANGE: Final = 2
RENAME_WHITEOUT: Final = 4

_AT_SYMLINK_NOFOLLOW: Final = 0x100
_AT_EMPTY_PATH: Final = 0x1000
_STATX_BASIC: Final = 0x7FF
_STATX_BTIME: Final = 0x800
_STATX_MNT_ID: Final = 0x1000
_STATX_DIOALIGN: Final = 0x2000
_STATX_SIZE: Final = 256
_StatxBuffer: Final = ctypes.c_char * _STATX_SIZE
_BIRTH: Final = struct.Struct("=I76xqI")  # mask, then (seconds, ns) of birth
_DIO_ALIGN: Final = struct.Struct("=I152xI")  # mask, then the alignment of offsets that O_DIRECT asks for, 0 for none
_MNT_ID: Final = struct.Struct("=I140xQ")  # mask, then the number of the mount
# mask, mode, ino, size, then (seconds, ns) of birth, change and modification, then the device
_STATX: Final = struct.Struct("=I24xH2xQQ32xqI4xqI4xqI4x8xII112x")

_PIDFD_INFO: Final = 64
"""The size of the first version of struct pidfd_info (linux/pidfd.h), which ends with the exit status."""
_PIDFD_GET_INFO: Final = 3 << 30 | _PIDFD_INFO << 16 | 0xFF << 8 | 11
_PIDFD_INFO_EXIT: Final = 1 << 3
_STATFS_SIZE: Final = 256
"""More than `struct statfs` has; its first field is the type, of 8 bytes."""

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NAME: Final = 15
_PR_SET_SECUREBITS: Final = 28
_SECBIT_NO_SETUID_FIXUP: Final = 1 << 2

CAP_FSETID: Final = 4
CAP_SYS_ADMIN: Final = 21
CAP_SYS_RESOURCE: Final = 24


def _fail(path: bytes | None = None) -> OSError:
    code = ctypes.get_errno()
    return OSError(code, os.strerror(code), path)


def openat2(dir_fd: int, path: bytes, flags: int, mode: int = 0, resolve: int = 0) -> int:
    """Open `path` below `dir_fd` under the `RESOLVE_*` limits. Raises OSError."""
    how = struct.pack("=QQQ", flags | os.O_CLOEXEC, mode, resolve)
    fd = _libc.syscall(_NR["openat2"], dir_fd, path, how, len(how))
    if fd < 0:
        raise _fail(path)
    return int(fd)


def open_beneath(dir_fd: int, path: bytes, flags: int) -> int:
    """Open a path of any number of components that must stay below `dir_fd` and cross no symlink (H35).

    Raises OSError: ELOOP for a symlink on the way, EXDEV for a path that would leave.
    """
    return openat2(dir_fd, path or b".", flags, 0, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS)


def renameat2(src_fd: int, src: bytes, dst_fd: int, dst: bytes, flags: int) -> None:
    """Rename with `RENAME_*` flags. Raises OSError."""
    if _libc.syscall(_NR["renameat2"], src_fd, src, dst_fd, dst, flags) != 0:
        raise _fail(dst)


def birth_time_ns(fd: int) -> int:
    """When the file behind `fd` was made, in ns since the epoch; 0 where the filesystem does not keep it."""
    buffer = _StatxBuffer()
    if _libc.syscall(_NR["statx"], fd, b"", _AT_EMPTY_PATH | _AT_SYMLINK_NOFOLLOW, _STATX_BTIME, buffer) != 0:
        raise _fail()
    mask, seconds, nanoseconds = _BIRTH.unpack_from(buffer)
    return int(seconds) * 1_000_000_000 + int(nanoseconds) if mask & _STATX_BTIME else 0


def mount_id(fd: int) -> int:
    """The number in the mount table of the mount that `fd` was opened through; 0 before Linux 5.8. Raises OSError."""
    buffer = _StatxBuffer()
    if _libc.syscall(_NR["statx"], fd, b"", _AT_EMPTY_PATH | _AT_SYMLINK_NOFOLLOW, _STATX_MNT_ID, buffer) != 0:
        raise _fail()
    mask, number = _MNT_ID.unpack_from(buffer)
    return int(number) if mask & _STATX_MNT_ID else 0


def reads_directly(fd: int) -> bool:
    """Whether reads with O_DIRECT of the file behind `fd` pass by the page cache, as far as its filesystem says: some
    accept the flag and read through the page cache all the same. Raises OSError."""
    buffer = _StatxBuffer()
    if _libc.syscall(_NR["statx"], fd, b"", _AT_EMPTY_PATH | _AT_SYMLINK_NOFOLLOW, _STATX_DIOALIGN, buffer) != 0:
        raise _fail()
    mask, alignment = _DIO_ALIGN.unpack_from(buffer)
    return not mask & _STATX_DIOALIGN or alignment > 0


def filesystem_type(fd: int) -> int:
    """The number by which `linux/magic.h` knows the filesystem that `fd` is open on. Raises OSError."""
    buffer = ctypes.create_string_buffer(_STATFS_SIZE)
    if _libc.fstatfs(fd, buffer) != 0:
        raise _fail()
    (number,) = struct.unpack_from("=q", buffer)
    return int(number)


def signal_at_parents_end(signal_number: int) -> None:
    """Have the kernel send this process `signal_number` when the thread that started it ends (H3)."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0)


def ended_as(pidfd: int) -> int | None:
    """How a process that is gone ended, whoever its parent was: its exit code, or minus the number of a signal.

    None where the kernel does not tell: before Linux 6.15, and until its parent has taken note.
    """
    buffer = bytearray(_PIDFD_INFO)
    struct.pack_into("=Q", buffer, 0, _PIDFD_INFO_EXIT)
    try:
        fcntl.ioctl(pidfd, _PIDFD_GET_INFO, buffer)
    except OSError:
        return None
    (told,) = struct.unpack_from("=Q", buffer, 0)
    (status,) = struct.unpack_from("=i", buffer, _PIDFD_INFO - 4)
    return os.waitstatus_to_exitcode(status) if told & _PIDFD_INFO_EXIT else None


def name_process(name: bytes) -> None:
    """What this process is called in `ps` and `top`, at most 15 bytes of it."""
    _libc.prctl(_PR_SET_NAME, name, 0, 0, 0)


def act_as(uid: int, gid: int) -> None:
    """Make what this thread creates from now on belong to `uid` and `gid`. Needs root; never fails visibly."""
    _libc.setfsgid(gid)
    _libc.setfsuid(uid)


def keep_capabilities_when_acting() -> None:
    """Let `act_as` change ownership only, not what root may do: permissions were checked by the kernel already."""
    if _libc.prctl(_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP, 0, 0, 0) != 0:
        raise _fail()


def _capabilities() -> tuple[bytes, list[int]]:
    header = struct.pack("=Ii", 0x20080522, 0)
    data = ctypes.create_string_buffer(24)
    if _libc.syscall(_NR["capget"], header, data) != 0:
        raise _fail()
    return header, list(struct.unpack("=6I", data.raw))


def set_effective(capability: int, wanted: bool) -> None:
    """Raise or lower one effective capability of this thread; what is permitted stays. Raises OSError."""
    header, words = _capabilities()
    word, bit = 3 * (capability // 32), 1 << (capability % 32)
    words[word] = words[word] | bit if wanted else words[word] & ~bit
    if _libc.syscall(_NR["capset"], header, struct.pack("=6I", *words)) != 0:
        raise _fail()


def has_effective(capability: int) -> bool:
    """Whether this thread has `capability` in effect."""
    _, words = _capabilities()
    return bool(words[3 * (capability // 32)] & (1 << (capability % 32)))


def idle_io_priority() -> None:
    """Let this process use the disk only when nobody else does (ioprio class idle); a wish, never an error."""
    _libc.syscall(_NR["ioprio_set"], 1, 0, 3 << 13)


class Statx(NamedTuple):
    """What statx tells of a name. Times in ns since the epoch; `born_ns` is 0 where the filesystem does not keep it."""

    mode: int
    dev: int
    ino: int
    size: int
    mtime_ns: int
    ctime_ns: int
    born_ns: int


def statx(dir_fd: int, name: bytes) -> Statx:
    """The attributes of a name, of the link itself where it is one, and in one call. Raises OSError."""
    buffer = ctypes.create_string_buffer(_STATX_SIZE)
    if _libc.syscall(_NR["statx"], dir_fd, name, _AT_SYMLINK_NOFOLLOW, _STATX_BASIC | _STATX_BTIME, buffer) != 0:
        raise _fail(name)
    mask, mode, ino, size, born, born_ns, changed, changed_ns, modified, modified_ns, *device = _STATX.unpack(buffer)
    return Statx(
        mode=mode,
        dev=os.makedev(*device),
        ino=ino,
        size=size,
        mtime_ns=modified * 1_000_000_000 + modified_ns,
        ctime_ns=changed * 1_000_000_000 + changed_ns,
        born_ns=born * 1_000_000_000 + born_ns if mask & _STATX_BTIME else 0,
    )


def resident_pages(fd: int, offset: int, length: int) -> bytes:
    """For each page of a span of an open file (`offset` at a page's start) 1 if it is in the page cache, else 0.

    Raises OSError, also where the filesystem knows no mmap. To those who may not write to the file the kernel says 1.
    """
    address = _libc.mmap(None, length, mmap.PROT_READ, mmap.MAP_SHARED, fd, offset)
    if address == _MAP_FAILED:
        raise _fail()
    try:
        found = ctypes.create_string_buffer(-(-length // mmap.PAGESIZE))
        if _libc.mincore(address, length, found) != 0:
            raise _fail()
    finally:
        _libc.munmap(address, length)
    return found.raw
