"""One eviction, in a process that kills itself at a line of it: `python -m tests.crash.eviction_step DIRECTORY LINE`.

DIRECTORY holds `cache` with a blob, and gets `store`. The kernel has no part in it, and no origin is asked: who calls
has asked already. Prints "done" where the eviction has fewer lines.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import trio

from ipfsfs.unixfs.reference import Reference
from ipfsfs.view.placeholder.evicting import Candidate
from ipfsfs.view.placeholder.ways_back import WayBack
from ipfsfs.view.view import View
from ipfsfs.workers.fetcher.table import table_of
from tests.crash.bare_view import bare_view, killed_at, seal

CONTENT: Final = b"as downloaded" * 100_000
"""Of two leaves: one that only the Hub has needs a table in the store."""
BLOB: Final = f"hub/models--org--name/blobs/{hashlib.sha256(CONTENT).hexdigest()}"
_WHERE: Final = (
    "/plain/vacating.py", "/plain/links.py", "/plain/lease.py", "/placeholder/evicting.py", "/brought.py",
    "/extents.py",
)  # fmt: skip


@asynccontextmanager
async def evicting(directory: Path) -> AsyncIterator[tuple[View, Candidate, WayBack]]:
    """A view of the directory, the blob in it, and the way back that the Hub would be; no kernel and no Hub."""
    async with bare_view(directory, patience_s=1.0, has_origins=False, has_hub=True) as (view, _):
        sealed = seal(view, directory / "cache" / BLOB, CONTENT)
        (item,) = view.bringing.below.items(os.fsencode(BLOB))
        one = await view.room.evicting.candidate(item)
        yield view, one, WayBack(Reference(sealed.root, sealed.size), table_of(sealed.iter_leaves()).records)


async def evict(directory: Path, line: int) -> None:
    """Evict the blob."""
    async with evicting(directory) as (view, one, back):
        with killed_at(line, *_WHERE):
            await view.room.evicting.evict(one, back)


if __name__ == "__main__":
    trio.run(evict, Path(sys.argv[1]), int(sys.argv[2]))
