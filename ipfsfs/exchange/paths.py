"""Paths below the plain root, as users name them."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final

from ipfsfs.caches.registry import repository_over
from ipfsfs.errors import IpfsfsError, UsageError
from ipfsfs.plain import syscalls
from ipfsfs.plain.directory import PlainDirectory

_NOT_THERE: Final = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV, errno.ENAMETOOLONG)


def root_to_read(path: Path) -> Path:
    """The directory to open in order to read what is at an absolute path: the one above it, or, in a repository of the
    Hub, the one above that, since links of its blobs lead into a store beside it."""
    repository = repository_over(bytes(path))
    return (path if repository is None else Path(os.fsdecode(repository[0]))).parent


def unreachable(path: Path | str, error: OSError) -> IpfsfsError:
    """What to tell who named a path that cannot be had: wrong usage where nothing is there, else a failure."""
    kind = UsageError if error.errno in _NOT_THERE else IpfsfsError
    return kind(f"{path}: {error.strerror}")


def see(plain: PlainDirectory, root: Path, path: bytes) -> int:
    """A descriptor (O_PATH) of what is at a path below the plain root, which users know as `root`.

    Raises UsageError where nothing is there, or a symlink on the way leads elsewhere; IpfsfsError where it is out of
    reach.
    """
    try:
        return syscalls.open_beneath(plain.fd, path, os.O_PATH | os.O_NOFOLLOW)
    except OSError as error:
        raise unreachable(root / os.fsdecode(path), error) from error
