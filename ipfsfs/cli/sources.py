"""Where commands on CIDs have content from: what is in the store and in the files of a view, then the view's origins.

They ask and read in a process of their own, that of the command; the daemon tells where files are.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from ipfsfs.cli.paths import PATH, located, must_be_ours
from ipfsfs.daemon import mounts
from ipfsfs.daemon.client import ask
from ipfsfs.daemon.config import OriginConfig
from ipfsfs.daemon.questions import find, status
from ipfsfs.errors import MountError, StoreError, UsageError
from ipfsfs.exchange import naming
from ipfsfs.exchange.here import Here, Sealed
from ipfsfs.exchange.kept_blocks import KeptBlocks
from ipfsfs.exchange.naming import ContentName
from ipfsfs.origins.ordered import Ordered
from ipfsfs.origins.origin import Origin
from ipfsfs.origins.registry import open_ordered
from ipfsfs.origins.settings import OriginSettings
from ipfsfs.printed import shell
from ipfsfs.store.blocks import Blocks
from ipfsfs.store.directory import open_directory
from ipfsfs.store.extents import Extents
from ipfsfs.store.kept import Kept
from ipfsfs.unixfs import cid
from ipfsfs.workers.memory import bound_memory, end_in_words

_OPTION: Final = click.option(
    "--view",
    "path",
    type=PATH,
    metavar="PATH",
    help="The mounted view, by a path in it (default: the one of the current directory, else the only one).",
)
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def VIEW(command: Callable[..., Any]) -> Callable[..., Any]:
    """The option that says which view's store and origins are meant, for a command."""
    return _OPTION(command)


def chosen_view(path: Path | None) -> mounts.Mount:
    """The view that is meant. Raises MountError where there is none, UsageError where it could be several."""
    if path is not None:
        view = mounts.view_over(located(path))
        if view is None:
            raise MountError(f"{path} is in no mounted view", hint=f"Mount it first: ipfsfs mount {shell(path)}")
    else:
        view = mounts.view_over(Path.cwd())
    if view is None:
        ours = mounts.our_views()
        if not ours:
            raise MountError("no view is mounted", hint="Mount the cache first: ipfsfs mount PATH")
        if len(ours) > 1:
            named = "\n".join(f"  --view {shell(one.mountpoint)}" for one in ours)
            raise UsageError(f"several views are mounted:\n{named}", hint="Say which is meant.")
        view = ours[0]
    must_be_ours(view)
    return view


@dataclass(slots=True, frozen=True)
class Known:
    """The files that a view knows as sealed (fills `ipfsfs.exchange.here.Residents`)."""

    view: mounts.Mount

    def find(self, roots: Sequence[bytes]) -> list[Sealed]:
        """As `Residents`."""
        found: list[Sealed] = []
        for at in range(0, len(roots), find.ROOTS_MOST):
            texts = tuple(cid.to_text(root) for root in roots[at : at + find.ROOTS_MOST])
            for held in ask(self.view.store, find.Question(texts, "leaves")).files:
                path = self.view.mountpoint / os.fsdecode(held.path)
                found.append(Sealed(cid.from_text(held.root), path, held.size, bytes.fromhex(held.leaves)))
        return found


@dataclass(slots=True, frozen=True)
class Sources:
    """What is `here`, and all that content can be had from, in order (`origin`). `nodes`: which resolve IPNS names."""

    here: Here
    origins: Ordered
    origin: Origin
    nodes: tuple[OriginSettings, ...]

    async def resolve(self, name: ContentName) -> bytes:
        """The CID that a name stands for; what is here of it is learnt. Raises UsageError, OriginError, FormatError."""
        return await self._resolve(name, self.origin)

    async def resolve_here(self, name: ContentName) -> bytes:
        """The same, and no origin is asked for what lies on the way. Raises NotHeld where it is not here."""
        return await self._resolve(name, self.here)

    async def _resolve(self, name: ContentName, origin: Origin) -> bytes:
        if name.kind == "ipfs":
            await self.here.learn([cid.from_text(name.text)])
        found = await naming.resolved(name, self.nodes, origin)
        await self.here.learn([found])
        return found


@asynccontextmanager
async def sources(view: mounts.Mount) -> AsyncIterator[Sources]:
    """The sources of a view, while the block runs. This process has bounded memory from then on.

    Raises StoreError, NoAnswer, UsageError."""
    bound_memory(end_in_words)
    configured: tuple[OriginConfig, ...] = ask(view.store, status.Question()).origins
    settings = [one.settings() for one in configured]
    origins = open_ordered(settings)
    with Blocks.of(view.store) as blocks, Kept.of(view.store) as kept:
        extents = _open_extents(view.store)
        try:
            here = Here(blocks, Extents(extents), Known(view), KeptBlocks(kept))
            nodes = tuple(one for one in settings if one.kind == "kubo")
            yield Sources(here, origins, Ordered([here, *origins.origins]), nodes)
        finally:
            os.close(extents)
            await origins.aclose()


def _open_extents(store: Path) -> int:
    try:
        directory = open_directory(store)
        try:
            return os.open("extents", _DIRECTORY, dir_fd=directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise StoreError(f"the extents of the store {store} cannot be read: {error.strerror}") from error
