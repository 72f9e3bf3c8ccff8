"""Which files their filesystem checks: it keeps a checksum of every byte, and returns EIO instead of other bytes.

What cannot be learned counts as not checked. Of the mount it is known once, of a file each time it is asked for: a
filesystem that is mounted anew with other options changes what becomes of files that are made from then on, and each of
those says so itself.

- **Btrfs** (`linux/btrfs_tree.h`): a file has no checksums where its inode has the flag NODATASUM or NODATACOW, which
  it gets when it is made, or while it is empty (`chattr +C`). FS_IOC_GETFLAGS shows the second flag only, so the inode
  is read from the tree, which the kernel allows to root alone. Blocks are never shared between files with and without
  checksums, and a block whose checksum is missing is an error to a file that has them.
- **bcachefs**: the attributes `bcachefs_effective.*` show the options that a file has of its own or from its directory;
  where it has none, those of the mount count, which are shown where they are not the default. What is in the superblock
  or was changed by sysfs is not seen: a file of which nothing is shown is not counted.
- **ZFS**: the dataset's property `checksum`, which is asked for once, with the command `zfs`.
- **fs-verity** on ext4, f2fs and Btrfs: FS_VERITY_FL. The file can never be written to again.

bcachefs and ZFS keep with each block what was in force when it was written: what is said here of a file holds if its
checksums were never switched off before. Neither they nor fs-verity are in the kernel that this was tried on: what is
said here of them is from their documents and sources.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, Literal

from ipfsfs.identity import Stat
from ipfsfs.plain import held, syscalls
from ipfsfs.plain.mount_table import Row

_FS_IOC_GETFLAGS: Final = 0x80086601
_FS_VERITY_FL: Final = 0x00100000
_FS_NOCOW_FL: Final = 0x00800000
_VERITY: Final = ("ext4", "f2fs", "btrfs")
"""Filesystems whose flag FS_VERITY_FL is not the word of a user, nor of a server."""

_BTRFS_IOC_TREE_SEARCH: Final = 0xD0009411
_SEARCH_SIZE: Final = 4096
_SEARCH_KEY: Final = struct.Struct("=7Q4I32x")  # tree; objectids, offsets, transactions from and to; types; how many
_SEARCH_HEADER: Final = struct.Struct("=QQQII")  # transaction, objectid, offset, type, length
_INODE_ITEM_KEY: Final = 1
_INODE_FLAGS: Final = struct.Struct("=64xQ")  # within struct btrfs_inode_item
_NODATASUM: Final = 1 << 0
_NODATACOW: Final = 1 << 1
_ALL: Final = (1 << 64) - 1

_ZFS_CHECKSUMS: Final = ("on", "fletcher2", "fletcher4", "sha256", "sha512", "skein", "edonr", "blake3")
_ZFS_PLACES: Final = "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin"
_ZFS_PATIENCE_S: Final = 5.0
_BCACHEFS_CHECKSUMS: Final = ("crc32c", "crc64", "xxhash")

Checker = Literal["read", "filesystem", "scrub", "nothing"]
"""Who compares the bytes of a file with what was written: the daemon at each read, the filesystem, the sealer from time
to time, or nobody."""

ELSEWHERE: Final = "it lies on another filesystem than the directory's own"
_UNKNOWN: Final = "with which options its filesystem is mounted cannot be learned"


@dataclass(slots=True, frozen=True)
class Checking:
    """Which files of one filesystem it checks, as it was mounted when this was made."""

    filesystem: str
    """Its name, as the mount table has it; empty where that is not known."""
    never: str
    """Empty where the filesystem checks files; else why it checks none, but for those under fs-verity."""
    _dev: int
    _mount: int
    _options: tuple[str, ...]

    @classmethod
    def of(cls, fd: int) -> Checking:
        """Of the filesystem that the directory `fd` is on. For ZFS it may wait some seconds. Raises OSError."""
        number = syscalls.mount_id(fd)
        for row in Row.all():
            if row.mount_id == number:
                return cls(row.filesystem, why_never(row), os.fstat(fd).st_dev, number, row.options)
        return cls("", _UNKNOWN, os.fstat(fd).st_dev, number, ())

    def why_not(self, fd: int, st: Stat) -> str:
        """Empty where the filesystem checks all bytes that it reads of the open regular file; else why not, in words.

        Two system calls on Btrfs, one on other filesystems; none waits for more than metadata.
        """
        try:
            # A subvolume has a device number of its own, and no mount.
            if st.st_dev != self._dev and (not self._mount or syscalls.mount_id(fd) != self._mount):
                return ELSEWHERE
            if self.filesystem in _VERITY:
                flags = _flags(fd)
                if flags & _FS_VERITY_FL:
                    return ""
                if self.filesystem == "btrfs" and not self.never:
                    return btrfs_why_not(flags, _btrfs_inode_flags(fd, st.st_ino))
            if self.filesystem == "bcachefs" and not self.never:
                return bcachefs_why_not(_effective(fd, b"data_checksum"), _effective(fd, b"nocow"), self._options)
        except PermissionError:
            return f"whether {self.filesystem} checks it is told to root alone"
        except OSError as error:
            return f"{self.filesystem} does not tell whether it checks it: {error.strerror}"
        return self.never


def why_never(mount: Row) -> str:
    """Why a filesystem checks no file; empty where it may. For ZFS it may wait some seconds."""
    match mount.filesystem:
        case "btrfs":
            return btrfs_why_never(mount.options)
        case "bcachefs":
            return ""
        case "zfs":
            return zfs_why_never(_zfs_checksum(mount.source))
        case name:
            return f"{name} does not check what it reads of files"


def btrfs_why_never(options: Collection[str]) -> str:
    """The same of a Btrfs, by the options that it was mounted with."""
    for option in options:
        if option in ("nodatasum", "nodatacow"):
            return f"btrfs is mounted with {option}: new files have no checksums"
        if option.startswith("rescue="):
            return f"btrfs is mounted with {option}: it may not check what it reads"
    return ""


def btrfs_why_not(flags: int, inode_flags: int) -> str:
    """Why Btrfs does not check a file, by the flags that FS_IOC_GETFLAGS shows and by those of its inode item."""
    if flags & _FS_NOCOW_FL or inode_flags & _NODATACOW:
        return "btrfs has no checksums of it: it is overwritten in place (chattr +C, or mounted with nodatacow)"
    if inode_flags & _NODATASUM:
        return "btrfs has no checksums of it: it was made while the filesystem was mounted with nodatasum"
    return ""


def inode_item_flags(found: bytes | bytearray, ino: int) -> int:
    """The flags in what a search of a Btrfs tree for an inode item returned. Raises OSError where that is not there."""
    count = _SEARCH_KEY.unpack_from(found)[9]
    _, objectid, _, kind, length = _SEARCH_HEADER.unpack_from(found, _SEARCH_KEY.size)
    if count != 1 or (objectid, kind) != (ino, _INODE_ITEM_KEY) or length < _INODE_FLAGS.size:
        raise OSError(errno.ENOENT, "its inode was not found")
    (flags,) = _INODE_FLAGS.unpack_from(found, _SEARCH_KEY.size + _SEARCH_HEADER.size)
    return int(flags)


def bcachefs_why_not(data_checksum: str | None, nocow: str | None, options: Collection[str]) -> str:
    """Why bcachefs does not check a file, by the options in effect for it (None where it shows none), and by those of
    the mount."""
    given = dict(option.partition("=")[::2] for option in options)
    checksum = data_checksum if data_checksum is not None else given.get("data_checksum")
    in_place = nocow if nocow is not None else given.get("nocow", "0")
    if in_place != "0":
        return "bcachefs has no checksums of it: it is overwritten in place (nocow)"
    if checksum is None:
        return "bcachefs does not show whether it checks it (bcachefs_effective.data_checksum)"
    if checksum not in _BCACHEFS_CHECKSUMS:
        return f"bcachefs has no checksums of it (data_checksum is {checksum})"
    return ""


def zfs_why_never(checksum: str) -> str:
    """Why a ZFS dataset checks no file, by its property `checksum`, empty where that is not known."""
    if not checksum:
        return "the command zfs does not tell the property checksum"
    return (
        "" if checksum in _ZFS_CHECKSUMS else f"zfs has no checksums of new files: the property checksum is {checksum}"
    )


def _flags(fd: int) -> int:
    (flags,) = struct.unpack("=I4x", fcntl.ioctl(fd, _FS_IOC_GETFLAGS, bytes(8)))
    return int(flags)


def _btrfs_inode_flags(fd: int, ino: int) -> int:
    """The flags of the inode item of an open file, from the tree of its subvolume."""
    search = bytearray(_SEARCH_SIZE)
    kinds = _INODE_ITEM_KEY, _INODE_ITEM_KEY
    _SEARCH_KEY.pack_into(search, 0, 0, ino, ino, 0, _ALL, 0, _ALL, *kinds, 1, 0)
    fcntl.ioctl(fd, _BTRFS_IOC_TREE_SEARCH, search)
    return inode_item_flags(search, ino)


def _effective(fd: int, option: bytes) -> str | None:
    try:
        return held.get_own_xattr(fd, b"bcachefs_effective." + option).decode("ascii", "replace")
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.EOPNOTSUPP, errno.EINVAL):
            return None
        raise


def _zfs_checksum(dataset: str) -> str:
    command = shutil.which("zfs", path=_ZFS_PLACES)
    if command is None:
        return ""
    asked = [command, "get", "-H", "-o", "value", "checksum", dataset]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, timeout=_ZFS_PATIENCE_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
