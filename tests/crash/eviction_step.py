"""One eviction, in a process that kills itself at a line of it: `python -m tests.crash.eviction_step DIRECTORY LINE`.

DIRECTORY holds `cache` with a blob, and gets `store`. The kernel has no part in it, and no origin is asked: who calls
has asked already. Prints "done" where the eviction has fewer lines.
"""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final

import trio

from ipfsfs.caches.registry import root_place
from ipfsfs.exchange.eviction import Possible
from ipfsfs.plain.directory import PlainDirectory
from ipfsfs.plain.identities import identity_of
from ipfsfs.plain.ownership import Ownership
from ipfsfs.store import recovery
from ipfsfs.store.extents import Extents
from ipfsfs.store.layout import Store
from ipfsfs.store.quarantine import Quarantine
from ipfsfs.store.seal import boot_id
from ipfsfs.unixfs.reference import Reference
from ipfsfs.view.placeholder.evicting import Candidate
from ipfsfs.view.placeholder.ways_back import WayBack
from ipfsfs.view.view import Dependencies, View
from ipfsfs.workers.fetcher.client import open_fetcher
from ipfsfs.workers.fetcher.table import table_of
from ipfsfs.workers.sealer.client import open_sealer
from tests.support.seals import seal_of

CONTENT: Final = b"as downloaded" * 100_000
"""Of two leaves: one that only the Hub has needs a table in the store."""
BLOB: Final = f"hub/models--org--name/blobs/{hashlib.sha256(CONTENT).hexdigest()}"
_WHERE: Final = (
    "/plain/vacating.py", "/plain/links.py", "/plain/lease.py", "/placeholder/evicting.py", "/brought.py",
    "/extents.py",
)  # fmt: skip
_OF_FILE: Final = ("dev", "born_ns", "size", "mtime_ns", "ctime_ns")


@dataclass(slots=True)
class Killer:
    """Ends the process before its n-th line in the modules that evict."""

    left: int

    def __call__(self, frame: FrameType, event: str, argument: Any) -> Any:
        """A trace function of Python."""
        del argument
        if not frame.f_code.co_filename.endswith(_WHERE):
            return None
        if event == "line":
            self.left -= 1
            if self.left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return self


@asynccontextmanager
async def evicting(directory: Path) -> AsyncIterator[tuple[View, Candidate, WayBack]]:
    """A view of the directory, the blob in it, and the way back that the Hub would be; no kernel and no Hub."""
    store, plain = Store.open(directory / "store"), PlainDirectory.open(directory / "cache")
    ledger = recovery.open_ledger(store)
    index = recovery.open_index(store, ledger, plain_root=plain.root)
    async with (
        open_sealer(plain.fd) as sealer,
        open_fetcher(store.extents_fd, store.blocks_fd, plain.fd, ()) as fetcher,
        trio.open_nursery() as nursery,
    ):
        place = root_place(bytes(directory / "cache"))
        view = View.build(
            Dependencies(
                plain, directory / "cache", place, index, ledger, Quarantine(store.quarantine_fd), sealer, "auto",
                boot_id(), Ownership(root=False, uid=os.getuid()), 1000, "", fetcher, Extents(store.extents_fd),
                1.0, None, Possible(False, True, store.extents_fd, plain.fd),
            ),
            nursery,
        )  # fmt: skip
        with (directory / "cache" / BLOB).open("rb") as file:
            identity = identity_of(file.fileno())
        seal = seal_of(CONTENT, identity.ino, **{name: getattr(identity, name) for name in _OF_FILE})
        view.seals.put(seal)
        (item,) = view.bringing.below.items(os.fsencode(BLOB))
        one = await view.room.evicting.candidate(item)
        yield view, one, WayBack(Reference(seal.root, seal.size), table_of(seal.iter_leaves()).records)
        nursery.cancel_scope.cancel()
    view.close()
    view.seals.retire()


async def evict(directory: Path, line: int) -> None:
    """Evict the blob."""
    async with evicting(directory) as (view, one, back):
        killer = Killer(line)
        threading.settrace(killer)
        sys.settrace(killer)
        await view.room.evicting.evict(one, back)
        sys.settrace(None)
        print("done")


if __name__ == "__main__":
    trio.run(evict, Path(sys.argv[1]), int(sys.argv[2]))
