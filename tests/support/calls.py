"""What tests ask of a mounted tree: calls that must fail, CIDs, downloads, ways around the view."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.support.mounted import Mounted

_RENAMEAT2: Final = {"x86_64": 316, "aarch64": 276}[os.uname().machine]
_libc = ctypes.CDLL(None, use_errno=True)


def renameat2(source: bytes | Path, target: bytes | Path, flags: int) -> None:
    """The system call, which Python has not, from the working directory. Raises OSError."""
    if _libc.syscall(_RENAMEAT2, -100, os.fsencode(source), -100, os.fsencode(target), flags) != 0:
        raise OSError(ctypes.get_errno(), "renameat2")


def exchange(one: Path, other: Path) -> None:
    """Have two names change places, at once. Raises OSError."""
    renameat2(one, other, 2)


def refuses(code: int, call: Callable[[], object]) -> None:
    """A call must fail with this errno."""
    with pytest.raises(OSError) as caught:  # noqa: PT011
        call()
    assert caught.value.errno == code, caught.value


def cid_of(path: Path) -> bytes | None:
    """The CID of what stands at a path, by its extended attribute; None where it has none."""
    try:
        return os.getxattr(path, "ipfs.cid", follow_symlinks=False)
    except OSError as error:
        if error.errno != errno.ENODATA:
            raise
        return None


def download(mount: Mounted, repo: str, name: str, data: bytes) -> Path:
    """What a client does: an unfinished file, then a rename to its name."""
    blobs = mount.path / "hub" / repo / "blobs"
    blobs.mkdir(parents=True, exist_ok=True)
    unfinished = blobs / f"{name}.incomplete"
    unfinished.write_bytes(data)
    os.rename(unfinished, blobs / name)
    return blobs / name


@contextmanager
def plain_directory(path: Path) -> Iterator[int]:
    """A descriptor of a new directory, to reach it beneath a view that is mounted over it later."""
    path.mkdir()
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)
