"""Whether an origin has a file at this moment, all of it: what an eviction asks before it gives bytes away (H33).

Every leaf is asked for by its CID, but for those that are nothing but zeros: no origin has to give them, and a node
through which the file came was never asked for one. What an origin says of itself is no proof, so the root, all nodes
and some leaves are fetched, and compared with their CIDs.

A Hub has files and no blocks: it has all of a file or nothing. It is asked for the size and the sha256 of the file, and
some leaves of it are fetched and compared.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Final

from ipfsfs.errors import NotHeld
from ipfsfs.origins import dag
from ipfsfs.origins.checked import Checked
from ipfsfs.origins.hub_file import HubFile
from ipfsfs.origins.hub_files import HubBlocks, HubFiles
from ipfsfs.origins.origin import Origin
from ipfsfs.printed import printable
from ipfsfs.unixfs import cid
from ipfsfs.workers.fetcher.table import Leaf
from ipfsfs.workers.fetcher.zeros import is_zeros

WIDTH: Final = 16
"""Leaves that are asked for at the same time."""
PROOFS: Final = 3
"""Leaves that are fetched: the first, the last, and others drawn each time."""


async def must_hold(origin: Origin, root: bytes, size: int) -> None:
    """Return when a file of `size` bytes can be had from `origin`. Raises NotHeld with the CID of a block that it
    lacks, OriginError, FormatError."""
    found = (await dag.file(origin, root, size)).leaves()
    leaves = [leaf.cid for leaf in found if not is_zeros(leaf.cid, leaf.length)]
    asked = iter(dict.fromkeys(leaves))
    await dag.side_by_side([(_ask, origin, asked)] * min(WIDTH, len(leaves)))
    await dag.blocks(origin, _proofs(leaves))


async def _ask(origin: Origin, asked: Iterator[bytes]) -> None:
    for leaf in asked:
        if not await origin.has(leaf):
            raise NotHeld(f"{origin.name} does not have {cid.to_text(leaf)}")


async def must_be_on_hub(hub: HubFiles, file: HubFile, leaves: Sequence[Leaf], sha256: bytes) -> None:
    """Return when a file of all these leaves, and of this sha2-256, can be had from a Hub. Raises NotHeld, OriginError,
    FormatError."""
    shown = printable(f"{file.repository}/{file.path} at {file.revision[:8]}")
    size = sum(leaf.length for leaf in leaves)
    said = await hub.said(file)
    if said.size != size:
        raise NotHeld(f"{hub.name} has {said.size} bytes of {shown}, and not {size}")
    if said.etag != sha256.hex():
        other = f"the content {said.etag}" if said.etag else "a content without a digest"
        raise NotHeld(f"{hub.name} has {other} as {shown}, and not {sha256.hex()}")
    where = {leaf.cid: (leaf.offset, leaf.length) for leaf in leaves}
    await dag.blocks(Checked(HubBlocks(hub, file, where)), _proofs([leaf.cid for leaf in leaves]))


def _proofs(leaves: Sequence[bytes]) -> list[bytes]:
    """The leaves to be fetched."""
    if not leaves:
        return []
    return list({leaves[0], leaves[-1], *random.sample(leaves, min(PROOFS, len(leaves)))})
