"""A disk that stalls: a bare FUSE filesystem that passes everything on, until it is told to wait.

`python -m tests.storms.stalling PLAIN MOUNTPOINT SWITCH`: while the file SWITCH holds "read", "write" or "all",
requests of that kind wait. Reads bypass the kernel's cache if SWITCH says "direct" at the start: a loop device over an
image here is then a disk whose every block is asked for.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pyfuse3
import trio

from tests.bench.passthrough import Passthrough

_LOOK_S = 0.02
_READS = ("read",)
_WRITES = ("write", "fsync", "create", "setattr", "unlink", "rename", "mkdir", "rmdir", "symlink")
_OTHERS = ("lookup", "getattr", "open", "opendir", "readdir", "readlink", "statfs", "release")


class Stalling(Passthrough):
    """Waits as the switch says."""

    def __init__(self, root: bytes, switch: str) -> None:
        super().__init__(root)
        self.switch = switch
        self.direct = self.said() == "direct"

    def said(self) -> str:
        with open(self.switch, encoding="ascii") as file:
            return file.read().strip()

    async def turn(self, kind: str) -> None:
        while self.said() in (kind, "all"):  # noqa: ASYNC110  another process turns the switch
            await trio.sleep(_LOOK_S)

    async def open(self, inode: int, flags: int, ctx: Any) -> pyfuse3.FileInfo:
        await self.turn("other")
        passed_on: Callable[[int, int, Any], Awaitable[pyfuse3.FileInfo]] = super().open
        info = await passed_on(inode, flags, ctx)
        info.direct_io = self.direct
        return info


def _stall(name: str, kind: str) -> None:
    passed_on = getattr(Passthrough, name)

    async def handler(self: Stalling, *arguments: Any) -> Any:
        await self.turn(kind)
        return await passed_on(self, *arguments)

    setattr(Stalling, name, handler)


for _name in _READS:
    _stall(_name, "read")
for _name in _WRITES:
    _stall(_name, "write")
for _name in _OTHERS:
    if _name != "open":
        _stall(_name, "other")


def main() -> None:
    """Serve until unmounted."""
    plain, mountpoint, switch = sys.argv[1:4]
    os.umask(0)
    pyfuse3.init(Stalling(os.fsencode(plain), switch), mountpoint, {"fsname=stalling", "subtype=stalling"})
    try:
        trio.run(pyfuse3.main)
    finally:
        pyfuse3.close()


if __name__ == "__main__":
    main()
