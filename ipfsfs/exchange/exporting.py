"""Exporting: all blocks below a root as a CARv1, which depends on the root alone."""

from __future__ import annotations

import os
import secrets
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import trio

from ipfsfs.errors import NotHeld
from ipfsfs.exchange import reading_out
from ipfsfs.exchange.publish import TreeBlocks
from ipfsfs.origins.origin import Origin
from ipfsfs.plain.directory import PlainDirectory
from ipfsfs.unixfs import car
from ipfsfs.unixfs import cid as cids


@dataclass(slots=True)
class Exported:
    """How far it is."""

    blocks: int = 0
    bytes: int = 0


@dataclass(slots=True, eq=False)
class TreeOrigin:
    """The blocks of a tree on the disk as an origin, which asks nobody."""

    plain: PlainDirectory
    blocks: TreeBlocks

    @property
    def name(self) -> str:
        """As `Origin`."""
        return "the files themselves"

    async def block(self, cid: bytes) -> bytes:
        """As `Origin`. Raises NotHeld, IpfsfsError where a file was changed meanwhile, OSError."""
        node = self.blocks.nodes.get(cid)
        if node is not None:
            return node
        if cid not in self.blocks.leaves:
            raise NotHeld(f"{cids.to_text(cid)} is not here: it belongs to a file that stands for another content")
        return await trio.to_thread.run_sync(self.blocks.leaf, self.plain, cid)

    async def has(self, cid: bytes) -> bool:
        """As `Origin`."""
        return cid in self.blocks.nodes or cid in self.blocks.leaves

    async def aclose(self) -> None:
        """As `Origin`."""


@dataclass(slots=True, frozen=True)
class Export:
    """Writes one root and all below it. `learn`: as for `reading_out.blocks`."""

    origin: Origin
    root: bytes
    learn: Callable[[Iterable[bytes]], Awaitable[None]]
    report: Callable[[Exported], None]

    async def to_file(self, path: Path) -> Exported:
        """Into a file, which has its name once it is whole and on the disk; what had that name before is replaced.

        Raises OriginError, FormatError, OSError; nothing is left then.
        """
        new = path.with_name(f".{path.name[:200]}.{secrets.token_hex(4)}.new")
        try:
            with new.open("xb") as file:
                done = await self.to_stream(file)
                file.flush()
                await trio.to_thread.run_sync(os.fsync, file.fileno())
            os.replace(new, path)
        except BaseException as error:
            with suppress(OSError):
                new.unlink()
            if isinstance(error, OSError) and error.filename == str(new):
                error.filename = str(path)  # the name that the user knows
            raise
        return done

    async def to_stream(self, out: BinaryIO) -> Exported:
        """To a stream. Raises OriginError, FormatError, OSError; what was written until then is no whole CAR."""
        done = Exported()
        out.write(car.header([self.root]))
        async for block_cid, block in reading_out.blocks(self.origin, self.root, self.learn):
            out.write(car.frame(block_cid, block))
            done.blocks += 1
            done.bytes += len(block)
            self.report(done)
        return done


async def learns_nothing(roots: Iterable[bytes]) -> None:
    """For an origin that knows all there is."""
    del roots
