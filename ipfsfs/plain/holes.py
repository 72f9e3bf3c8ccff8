"""Holes: parts of a file that were never written. They read as zeros and lie on no disk."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from typing import Final

from ipfsfs.plain import syscalls

_TRUSTED: Final = frozenset((0xEF53, 0x58465342, 0x9123683E, 0x01021994))
"""ext2 to ext4, XFS, Btrfs, tmpfs. Others may report a hole where data was written that is not on disk yet, as ZFS did
for years: on them everything is read."""

_BLOCK: Final = 512
"""The unit of `st_blocks`, whatever the filesystem's own blocks are."""


@dataclass(slots=True)
class Holes:
    """The holes of an open file of `size` bytes, for a reader that goes from front to back.

    While somebody writes to the file what is said of it may be old, as what was read of it may be.
    """

    fd: int
    size: int
    _data_until: int
    """Up to here, from the last offset that was asked for, there is no hole."""

    @classmethod
    def of(cls, fd: int, size: int) -> Holes:
        """The holes of the open file `fd`. Raises OSError."""
        has_some = os.fstat(fd).st_blocks * _BLOCK < size and syscalls.filesystem_type(fd) in _TRUSTED
        return cls(fd, size, 0 if has_some else size)

    def end(self, offset: int) -> int:
        """Where the hole at `offset` ends; `offset` itself where there is none. Raises OSError."""
        if offset < self._data_until:
            return offset
        start = self._seek(offset, os.SEEK_DATA)
        if start == offset:
            self._data_until = self._seek(offset, os.SEEK_HOLE)
        return start

    def _seek(self, offset: int, whence: int) -> int:
        try:
            return min(os.lseek(self.fd, offset, whence), self.size)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            return self.size  # nothing but a hole from here on, or the file has become shorter
