"""Fifos, sockets and inotify behave as on plain disk; what the view refuses."""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import socket
import stat
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.twins import Twins, outcome

pytestmark = pytest.mark.filesystem


def test_a_fifo_joins_two_processes(twins: Twins) -> None:
    def work(root: Path) -> Any:
        os.mkfifo(root / "fifo", 0o600)
        reader = os.open(root / "fifo", os.O_RDONLY | os.O_NONBLOCK)
        writer = os.open(root / "fifo", os.O_WRONLY)
        os.write(writer, b"through")
        found = os.read(reader, 10)
        os.close(writer)
        os.close(reader)
        return found, stat.S_ISFIFO((root / "fifo").stat().st_mode)

    assert twins.same(work) == (b"through", True)


def test_a_socket_by_name(twins: Twins) -> None:
    def work(root: Path) -> Any:
        with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as calling:
            os.chdir(root)
            try:
                listening.bind("sock")
                listening.listen()
                calling.connect("sock")
            finally:
                os.chdir("/")
        return stat.S_ISSOCK((root / "sock").stat().st_mode)

    assert twins.same(work)


def test_changes_are_announced(twins: Twins) -> None:
    """inotify through the view."""
    libc = ctypes.CDLL(None, use_errno=True)

    def work(root: Path) -> Any:
        fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        assert libc.inotify_add_watch(fd, os.fsencode(root), 0xFFF) >= 0
        (root / "a").write_bytes(b"x")
        os.rename(root / "a", root / "b")
        os.unlink(root / "b")
        select.select([fd], [], [], 5)
        data, masks, at = os.read(fd, 65_536), [], 0
        while at < len(data):
            _, mask, _, length = struct.unpack_from("iIII", data, at)
            masks.append(mask)
            at += 16 + length
        os.close(fd)
        return masks

    twins.same(work)


SPELLED = {"EOPNOTSUPP": ("ENOTSUP", "ENOTTY")}
"""ioctl says ENOTTY where there is none, and Linux has one number for two of the names."""
REFUSED: dict[str, tuple[str, Callable[[Path, int], Any]]] = {
    "a file without a name": ("EOPNOTSUPP", lambda root, fd: os.open(root, os.O_TMPFILE | os.O_RDWR)),
    "a device": ("EACCES", lambda root, fd: os.open(_null(root), os.O_RDWR)),
    "shared blocks": ("EOPNOTSUPP", lambda root, fd: fcntl.ioctl(fd, 0x40049409, fd)),
    "a CID of one's own": ("EPERM", lambda root, fd: os.setxattr(fd, "ipfs.cid", b"bafy")),
    "a hole": ("EOPNOTSUPP", lambda root, fd: _fallocate(fd, 3, 0, 4096)),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_the_view_refuses_it_refuses_with_what_callers_fall_back_from(twins: Twins, what: str) -> None:
    root = twins.mount.path / f"refused {what}"
    root.mkdir()
    fd = os.open(root / "file", os.O_CREAT | os.O_RDWR)
    try:
        code, call = REFUSED[what]
        came = outcome(lambda: call(root, fd))
        assert came in (code, *SPELLED.get(code, ())), came
    finally:
        os.close(fd)
        (root / "null").unlink(missing_ok=True)


def _null(root: Path) -> Path:
    os.mknod(root / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    return root / "null"


def _fallocate(fd: int, mode: int, offset: int, length: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.fallocate64(fd, mode, ctypes.c_long(offset), ctypes.c_long(length)) != 0:
        raise OSError(ctypes.get_errno(), "fallocate")


def test_room_can_be_made_for_a_file_all_the_same(twins: Twins) -> None:
    """glibc writes where the kernel does not allocate."""

    def work(root: Path) -> Any:
        fd = os.open(root / "file", os.O_CREAT | os.O_RDWR)
        os.posix_fallocate(fd, 0, 100_000)
        size = os.fstat(fd).st_size
        os.close(fd)
        return size

    assert twins.same(work) == 100_000
