"""The plain directory: the root of all that this room touches, reached by a descriptor from before the mount."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ipfsfs.errors import MountError
from ipfsfs.identity import PlainRoot
from ipfsfs.plain import syscalls


@dataclass(slots=True)
class PlainDirectory:
    """An open directory. `fd` keeps reaching it after a view has been mounted over its path."""

    fd: int
    dev: int
    ino: int
    born_ns: int

    @classmethod
    def open(cls, path: Path) -> PlainDirectory:
        """Open a directory by its path. Raises MountError where that is no directory, or out of reach."""
        try:
            fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise MountError(f"cannot open {path}: {error.strerror}") from error
        return cls.adopt(fd)

    @classmethod
    def adopt(cls, fd: int) -> PlainDirectory:
        """Take over a descriptor that is open already. Raises OSError."""
        st = os.fstat(fd)
        return cls(fd, st.st_dev, st.st_ino, syscalls.birth_time_ns(fd))

    @property
    def root(self) -> PlainRoot:
        """What tells this directory from others."""
        return PlainRoot(self.dev, self.ino, self.born_ns)

    def statvfs(self) -> os.statvfs_result:
        """Sizes and free space of the filesystem beneath. Raises OSError."""
        return os.fstatvfs(self.fd)

    def close(self) -> None:
        """Let go of the directory."""
        os.close(self.fd)
