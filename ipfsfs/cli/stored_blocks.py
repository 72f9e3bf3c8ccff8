"""Blocks that were imported into the store of a view, as `verify` and `restore` look at them."""

from __future__ import annotations

from collections.abc import Callable

import trio

from ipfsfs.cli.paths import Target
from ipfsfs.daemon import mounts
from ipfsfs.daemon.sources import sources
from ipfsfs.exchange import imported_blocks
from ipfsfs.exchange.imported_blocks import BlockOutcome
from ipfsfs.exchange.verify import Progress
from ipfsfs.store.blocks import Blocks
from ipfsfs.unixfs import cid

_WHY = "it is not what its CID says"


def verified(at: Target, show: Callable[[Progress], None]) -> list[BlockOutcome]:
    """The damaged blocks of a view's store, where all of the view is looked at. Raises StoreError."""
    if at.path:
        return []
    with Blocks.of(at.store) as blocks:
        return [BlockOutcome(cid.to_text(one), why=_WHY) for one in _damaged(blocks, show)]


def healed(at: Target, show: Callable[[Progress], None]) -> list[BlockOutcome]:
    """The same, had again from the origins of a mounted view. Raises StoreError, and as `sources` does."""
    if at.path or at.mount is None:
        return []
    with Blocks.of(at.store) as blocks:
        found = _damaged(blocks, show)
        return trio.run(_have_again, at.mount, blocks, found) if found else []


async def _have_again(view: mounts.Mount, blocks: Blocks, damaged: list[bytes]) -> list[BlockOutcome]:
    async with sources(view) as known:
        return [await imported_blocks.have_again(blocks, one, known.origins) for one in damaged]


def _damaged(blocks: Blocks, show: Callable[[Progress], None]) -> list[bytes]:
    return imported_blocks.damaged(blocks, lambda files, size: show(Progress(files, size, "blocks")))
