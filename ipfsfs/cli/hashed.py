"""What lies at a path, read and hashed by the command itself, with nothing kept: for `cid`, `publish` and `export`."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ipfsfs.caches.registry import root_place
from ipfsfs.cli import bars
from ipfsfs.cli.sealed_leaves import SealedFirst
from ipfsfs.daemon.mounts import Mount
from ipfsfs.errors import IpfsfsError
from ipfsfs.exchange.paths import root_to_read, unreachable
from ipfsfs.exchange.publicity import Publicity
from ipfsfs.exchange.publish import TreeBlocks
from ipfsfs.exchange.trees import Blocks, HashedLeaves, Leaves, Outcome, Trees
from ipfsfs.origins.settings import PUBLIC_HUB
from ipfsfs.plain.directory import PlainDirectory
from ipfsfs.unixfs.chunk import Chunker


@dataclass(slots=True, frozen=True)
class Hashed:
    """What was found. `plain` is open on `root`, the directory from which paths in errors and in blocks are."""

    at: Path
    root: Path
    plain: PlainDirectory
    found: Outcome

    def names(self, blocks: TreeBlocks) -> list[bytes]:
        """The absolute paths of all that has blocks; those of directories end with a slash."""
        above = bytes(self.root) + b"/"
        return [bytes(self.at) + b"/" * self.at.is_dir(), *(above + path for path in blocks.names)]


@asynccontextmanager
async def hashed(
    at: Path, chunker: Chunker, blocks: Blocks | None = None, view: Mount | None = None
) -> AsyncIterator[Hashed]:
    """Find the CID of what is at an absolute path, with progress shown, and tell `blocks` of its blocks. Its directory
    is open while the block runs. `view`: the mounted one that the path lies in, whose seals are believed.

    Raises UsageError for what never has a CID, and where nothing is there; IpfsfsError.
    """
    root = root_to_read(at)
    plain = PlainDirectory.open(root)
    try:
        with bars.bar("Hashing") as bar:

            def show(files: int, done: int) -> None:
                bar.update(files=files, done_bytes=done)

            leaves: Leaves = HashedLeaves(plain, chunker, show)
            if view is not None:
                leaves = SealedFirst(view, root, chunker, leaves)
            trees = Trees(plain, root_place(bytes(root)), leaves, rest_s=0, blocks=blocks)
            try:
                found = await trees.cid(os.fsencode(at.relative_to(root)))
            except OSError as error:
                raise unread(at, root, error) from error
        found.refuse_what_never_has_one(at)
        yield Hashed(at, root, plain, found)
    finally:
        plain.close()


def publicity(at: Path, command: Literal["publish", "export"]) -> Publicity:
    """Whom to ask whether what is at a path is public: the Hub that its clients would ask."""
    return Publicity(os.environ.get("HF_ENDPOINT") or PUBLIC_HUB, at, command)


def unread(at: Path, root: Path, error: OSError) -> IpfsfsError:
    """What to tell where something at or below `at` could not be read, which the error names from `root` on."""
    below = os.fsdecode(error.filename) if isinstance(error.filename, bytes) else at.relative_to(root)
    return unreachable(root / below, error)
