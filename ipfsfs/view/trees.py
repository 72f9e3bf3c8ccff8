"""CIDs of whole trees, from the seals of their files."""

from __future__ import annotations

import errno
import os
import stat as stat_
from dataclasses import dataclass
from typing import Final

import trio
import trio.lowlevel

from ipfsfs.hubcache.classify import Kind, Place, enter, kind, locate
from ipfsfs.plain import entries, syscalls
from ipfsfs.plain.directory import PlainDirectory
from ipfsfs.unixfs import cid, directory, file
from ipfsfs.view.seals import Seals

_DEEPEST: Final = 256
"""Each level takes two descriptors and a piece of Python's stack while what is below it is named."""


@dataclass(slots=True)
class Trees:
    """Names directories by the CIDs of what is in them; secrets and scratch are left out.

    `secret`: the inodes of files that are secret by their content, which the sealer has found.
    """

    plain: PlainDirectory
    root_place: Place
    seals: Seals
    secret: set[int]

    async def name(self, path: bytes) -> tuple[bytes, list[bytes]]:
        """The CID of the file or directory at `path` (from the root), and the files below that lack a seal.

        Where any does, the CID is empty. Raises OSError.
        """
        fd = syscalls.open_beneath(self.plain.fd, path, os.O_PATH | os.O_NOFOLLOW)
        try:
            st = os.fstat(fd)
            unsealed: list[bytes] = []
            if stat_.S_ISDIR(st.st_mode):
                place = locate(path + b"/", self.root_place)[0]
                root, _ = await self._directory(fd, path, place, unsealed)
            elif locate(path, self.root_place)[1] in (Kind.SECRET, Kind.SCRATCH):
                return b"", [path]
            else:
                root, _ = self._leaf(fd, st, path, unsealed)
            return (b"" if unsealed else root), unsealed
        finally:
            os.close(fd)

    async def _directory(
        self, fd: int, path: bytes, place: Place, unsealed: list[bytes], level: int = 0
    ) -> tuple[bytes, int]:
        if level == _DEEPEST:
            raise OSError(errno.EOVERFLOW, f"a tree of more than {_DEEPEST} levels gets no CID", os.fsdecode(path))
        await trio.lowlevel.checkpoint()  # a tree may be large, and others wait for the loop
        found: list[directory.Entry] = []
        listing_fd = entries.open_listing(fd, b".")
        try:
            for name in entries.listing(listing_fd):
                below = path + b"/" + name if path else name
                st = entries.stat(listing_fd, name)
                if stat_.S_ISDIR(st.st_mode):
                    child = entries.look_directory(listing_fd, name)
                    try:
                        root, tsize = await self._directory(child, below, enter(place, name), unsealed, level + 1)
                    finally:
                        os.close(child)
                elif kind(place, name) in (Kind.SECRET, Kind.SCRATCH) or not _has_content(st) or self._is_secret(st):
                    continue
                elif stat_.S_ISLNK(st.st_mode):
                    root, block = file.symlink(entries.readlink(listing_fd, name))
                    tsize = len(block)
                else:
                    root, tsize = self._leaf(-1, st, below, unsealed)
                found.append(directory.Entry(name, root, tsize))
        finally:
            os.close(listing_fd)
        dag = directory.build(found)
        return dag.cid, dag.tsize

    def _is_secret(self, st: os.stat_result) -> bool:
        return st.st_ino in self.secret and st.st_dev == self.seals.dev and self.seals.agreeing(st) is None

    def _leaf(self, fd: int, st: os.stat_result, path: bytes, unsealed: list[bytes]) -> tuple[bytes, int]:
        if stat_.S_ISLNK(st.st_mode):
            root, block = file.symlink(os.readlink(b"", dir_fd=fd))
            return root, len(block)
        seal = self.seals.agreeing(st)
        if seal is None:
            unsealed.append(path)
            return b"", 0
        dag = file.build((cid.raw_cid(digest), length) for length, digest in seal.iter_leaves())
        return dag.cid, dag.tsize


def _has_content(st: os.stat_result) -> bool:
    return stat_.S_ISREG(st.st_mode) or stat_.S_ISLNK(st.st_mode)
