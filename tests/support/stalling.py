"""A filesystem of two files, one of which answers no READ and no FSYNC until it is told to.

Run as `python -m tests.support.stalling AT GO ASKED`.

`slow` waits until the file GO is there, and makes the file ASKED when it begins to; `quick` does not. Each byte of both
is its offset modulo 251.
"""

from __future__ import annotations

import errno
import stat
import sys
from typing import Any, Final

import pyfuse3
import trio

SIZE: Final = 32 << 20
_CYCLE: Final = bytes(range(251)) * 4_500
_NAMES: Final = {b"slow": 2, b"quick": 3}


def content(offset: int, size: int) -> bytes:
    """What the files hold."""
    start = offset % 251
    return _CYCLE[start : start + min(size, SIZE - offset)]


class Stalling(pyfuse3.Operations):
    """Two files in one directory."""

    def __init__(self, go: trio.Event, asked: trio.Path) -> None:
        super().__init__()
        self.go, self.asked = go, asked

    async def wait(self) -> None:
        """Say that somebody waits, and wait until told to go on."""
        await self.asked.touch()
        await self.go.wait()

    async def getattr(self, inode: int, ctx: Any) -> pyfuse3.EntryAttributes:
        entry = pyfuse3.EntryAttributes()
        entry.st_ino = pyfuse3.InodeT(inode)
        entry.st_mode = pyfuse3.ModeT(stat.S_IFDIR | 0o755 if inode == pyfuse3.ROOT_INODE else stat.S_IFREG | 0o644)
        entry.st_nlink = 1
        entry.st_size = 0 if inode == pyfuse3.ROOT_INODE else SIZE
        entry.st_mtime_ns = entry.st_ctime_ns = entry.st_atime_ns = 1_700_000_000_000_000_000
        entry.attr_timeout = entry.entry_timeout = 3_600
        return entry

    async def lookup(self, parent_inode: int, name: bytes, ctx: Any) -> pyfuse3.EntryAttributes:
        if name not in _NAMES:
            raise pyfuse3.FUSEError(errno.ENOENT)
        return await self.getattr(_NAMES[name], ctx)

    async def statfs(self, ctx: Any) -> pyfuse3.StatvfsData:
        shown = pyfuse3.StatvfsData()
        shown.f_bsize = shown.f_frsize = 4096
        shown.f_namemax = 255
        return shown

    async def listxattr(self, inode: int, ctx: Any) -> list[bytes]:
        return []

    async def opendir(self, inode: int, ctx: Any) -> Any:
        return inode

    async def readdir(self, fh: int, start_id: int, token: Any) -> None:
        for at, (name, inode) in enumerate(_NAMES.items()):
            if at >= start_id and not pyfuse3.readdir_reply(token, name, await self.getattr(inode, None), at + 1):
                return

    async def open(self, inode: int, flags: int, ctx: Any) -> pyfuse3.FileInfo:
        return pyfuse3.FileInfo(fh=pyfuse3.FileHandleT(inode), direct_io=inode == _NAMES[b"slow"], keep_cache=True)

    async def read(self, fh: int, off: int, size: int) -> bytes:
        if fh == _NAMES[b"slow"]:
            await self.wait()
        return content(off, size)

    async def fsync(self, fh: int, datasync: bool) -> None:
        if fh == _NAMES[b"slow"]:
            await self.wait()


async def main(at: str, go: str, asked: str) -> None:
    """Serve until unmounted."""
    told = trio.Event()
    pyfuse3.init(Stalling(told, trio.Path(asked)), at, {"fsname=stalling", "allow_other"})
    try:
        print("ready", flush=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait_for, trio.Path(go), told)
            await pyfuse3.main(max_tasks=500)
            nursery.cancel_scope.cancel()
    finally:
        pyfuse3.close(unmount=False)


async def wait_for(go: trio.Path, told: trio.Event) -> None:
    """Tell when a file is there."""
    while not await go.exists():  # noqa: ASYNC110  it is another process that tells
        await trio.sleep(0.02)
    told.set()


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2], sys.argv[3])
