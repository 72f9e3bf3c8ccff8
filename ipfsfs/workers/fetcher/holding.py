"""Whether an origin has a file at this moment, all of it: what an eviction asks before it gives bytes away (H33).

Every leaf is asked for by its CID, but for those that are nothing but zeros: no origin has to give them, and a node
through which the file came was never asked for one. What an origin says of itself is no proof, so the root, all nodes
and some leaves are fetched, and compared with their CIDs.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Final

from ipfsfs.errors import NotHeld
from ipfsfs.origins import dag
from ipfsfs.origins.origin import Origin
from ipfsfs.unixfs import cid
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
    proofs = {leaves[0], leaves[-1], *random.sample(leaves, min(PROOFS, len(leaves)))} if leaves else set[bytes]()
    await dag.blocks(origin, list(proofs))


async def _ask(origin: Origin, asked: Iterator[bytes]) -> None:
    for leaf in asked:
        if not await origin.has(leaf):
            raise NotHeld(f"{origin.name} does not have {cid.to_text(leaf)}")
