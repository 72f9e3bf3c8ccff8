"""Importing a CAR: its blocks go into the store, each compared with its CID; then all below its roots must be here.

What was added by an import that fails is removed again, but for a full disk. That, and one that was interrupted, left
blocks which the next one finds, so that it goes on where it was; `collect` removes them as well.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import BinaryIO, Final

import trio

from ipfsfs.errors import FormatError, IpfsfsError, NoRoom, NotHeld, StoreError
from ipfsfs.exchange import reading_out
from ipfsfs.exchange.here import Here
from ipfsfs.printed import command
from ipfsfs.store.blocks import Blocks
from ipfsfs.unixfs import cid as cids
from ipfsfs.unixfs.car import Reader

_PIECE: Final = 1 << 20
BLOCKS_MAX: Final = 2_000_000
"""Blocks of one CAR: each is a file of the store."""


@dataclass(slots=True)
class Imported:
    """How far it is. `blocks` of the CAR, and their bytes (`size`), and those of them that the store did not have."""

    blocks: int = 0
    size: int = 0
    new_blocks: int = 0
    new_size: int = 0
    roots: list[bytes] = field(default_factory=list)


@dataclass(slots=True)
class Import:
    """Imports one CAR into the store."""

    blocks: Blocks
    here: Here
    report: Callable[[Imported], None]
    progress: Imported = field(default_factory=Imported)

    async def run(self, car: BinaryIO) -> Imported:
        """Read a CAR to its end. Raises FormatError for one that is damaged or has no roots, NotHeld, with the block,
        where one is lacking below a root, IpfsfsError, and OSError where the CAR cannot be read."""
        with tempfile.TemporaryFile() as added:
            try:
                await self._take(car, added)
                for root in self.progress.roots:
                    await self._check(root)
                await trio.to_thread.run_sync(self._sync, added)
            except NoRoom:
                raise
            except (IpfsfsError, OSError):
                self._give_up(added)
                raise
        return self.progress

    async def _take(self, car: BinaryIO, added: BinaryIO) -> None:
        reader = Reader()
        # Whoever interrupts it must not have to wait for a pipe on which nothing comes.
        while data := await trio.to_thread.run_sync(car.read, _PIECE, abandon_on_cancel=True):
            await trio.to_thread.run_sync(self._take_piece, reader, data, added)
            self.report(self.progress)
        reader.finish()
        self.progress.roots = list(dict.fromkeys(reader.roots or ()))
        if not self.progress.roots:
            raise FormatError("a CAR that names no root")

    def _take_piece(self, reader: Reader, data: bytes, added: BinaryIO) -> None:
        for block_cid, block in reader.feed(data):
            self._keep(block_cid, block, added)

    def _keep(self, block_cid: bytes, block: bytes, added: BinaryIO) -> None:
        self.progress.blocks += 1
        self.progress.size += len(block)
        if self.progress.blocks > BLOCKS_MAX:
            raise FormatError(f"a CAR with more than {BLOCKS_MAX} blocks")
        codec = cids.unixfs_codec(block_cid)
        if codec is None:
            return  # data of another kind: what a root needs of it is found to be lacking
        try:
            if self.blocks.put(block_cid, block):
                self.progress.new_blocks += 1
                self.progress.new_size += len(block)
                digest = cids.digest(block_cid)
                added.write(cids.raw_cid(digest) if codec == cids.RAW else cids.dag_pb_cid(digest))
        except OSError as error:
            raise NoRoom(
                f"a block cannot be written to the store: {error.strerror}",
                hint=f"Make room on its disk, and import again: what came is kept until `{command('collect')}`.",
            ) from error

    async def _check(self, root: bytes) -> None:
        """See that all below a root is here."""
        if cids.unixfs_codec(root) is None:
            raise FormatError(f"a CAR whose root is no file or directory: {cids.to_text(root)}")
        await self.here.learn([root])
        try:
            async for _ in reading_out.blocks(self.here, root, self.here.learn):
                pass
        except NotHeld as error:
            raise NotHeld(
                f"the CAR lacks a block of {cids.to_text(root)}: {error}", hint="Nothing of it was kept."
            ) from error

    def _sync(self, added: BinaryIO) -> None:
        try:
            self.blocks.sync(_added(added))
        except OSError as error:
            raise StoreError(f"what was imported cannot be brought to the disk: {error.strerror}") from error

    def _give_up(self, added: BinaryIO) -> None:
        with suppress(OSError):  # what stays is removed by `collect`
            for block_cid in _added(added):
                self.blocks.remove(cids.to_text(block_cid))


def _added(added: BinaryIO) -> Iterator[bytes]:
    added.seek(0)
    while block_cid := added.read(cids.V1_SIZE):
        yield block_cid
