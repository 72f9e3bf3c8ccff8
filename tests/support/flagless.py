"""A filesystem like an old NFS: rename(2) works there, and knows no flags.

Run as `python -m tests.support.flagless PLAIN AT`.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyfuse3
import trio

from tests.bench.passthrough import Passthrough
from tests.support.mounted import TREE, environment
from tests.support.processes import eventually


class Flagless(Passthrough):
    """Passes all on to a directory, but for renames with a flag."""

    async def rename(
        self, old_parent: int, old_name: bytes, new_parent: int, new_name: bytes, flags: int, ctx: Any
    ) -> None:
        if flags:
            raise pyfuse3.FUSEError(errno.EINVAL)
        await super().rename(old_parent, old_name, new_parent, new_name, flags, ctx)  # type: ignore[no-untyped-call]

    async def mknod(self, parent_inode: int, name: bytes, mode: int, rdev: int, ctx: Any) -> pyfuse3.EntryAttributes:
        path = self.paths[parent_inode] + b"/" + name
        os.mknod(path, mode)  # a socket, of the view
        return self.found(path)


@contextmanager
def mounted_flagless(beside: Path) -> Iterator[Path]:
    """Such a filesystem while the block runs."""
    at, plain = beside / "flagless", beside / "beneath"
    at.mkdir()
    plain.mkdir()
    serving = subprocess.Popen([sys.executable, "-m", "tests.support.flagless", plain, at], cwd=TREE, env=environment())
    try:
        eventually(at.is_mount, "it is mounted")
        yield at
    finally:
        subprocess.run(["umount", "-l", at], check=True)
        serving.wait(30)


def main() -> None:
    """Serve until unmounted."""
    plain, at = sys.argv[1:3]
    os.umask(0)
    pyfuse3.init(Flagless(os.fsencode(plain)), at, {"fsname=flagless", "allow_other"})
    try:
        trio.run(pyfuse3.main)
    finally:
        pyfuse3.close(unmount=False)


if __name__ == "__main__":
    main()
