"""A view without the kernel, for steps that are run in a process which kills itself at a line of them."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final

import trio

from ipfsfs.caches.registry import root_place
from ipfsfs.exchange.eviction import Possible
from ipfsfs.plain.checked import Checking
from ipfsfs.plain.directory import PlainDirectory
from ipfsfs.plain.identities import identity_of
from ipfsfs.plain.ownership import Ownership
from ipfsfs.store import recovery
from ipfsfs.store.extents import Extents
from ipfsfs.store.layout import Store
from ipfsfs.store.quarantine import Quarantine
from ipfsfs.store.seal import Seal, boot_id
from ipfsfs.view.view import Dependencies, View
from ipfsfs.workers.fetcher.client import open_fetcher
from ipfsfs.workers.sealer.client import open_sealer
from tests.support.seals import seal_of

_OF_FILE: Final = ("dev", "born_ns", "size", "mtime_ns", "ctime_ns")


@dataclass(slots=True)
class _Killer:
    """Ends the process before its n-th line in the modules whose paths end so."""

    left: int
    where: tuple[str, ...]

    def __call__(self, frame: FrameType, event: str, argument: Any) -> Any:
        """A trace function of Python."""
        del argument
        if not frame.f_code.co_filename.endswith(self.where):
            return None
        if event == "line":
            self.left -= 1
            if self.left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return self


@contextmanager
def killed_at(line: int, *where: str) -> Iterator[None]:
    """While the block runs, the process kills itself at the n-th line in some modules, by the ends of their paths; it
    prints "done" where there are fewer."""
    killer = _Killer(line, where)
    threading.settrace(killer)
    sys.settrace(killer)
    yield
    sys.settrace(None)
    print("done")


@asynccontextmanager
async def bare_view(
    directory: Path, *, patience_s: float, has_origins: bool, has_hub: bool, scrub_s: float | None = None
) -> AsyncIterator[tuple[View, trio.Nursery]]:
    """A view of `cache` with its `store`, both in a directory, and the nursery of its tasks; no origin is asked."""
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
                patience_s, None, Possible(has_origins, has_hub, store.extents_fd, plain.fd),
                Checking.of(plain.fd), 0,
                scrub_s=scrub_s,
            ),
            nursery,
        )  # fmt: skip
        yield view, nursery
        nursery.cancel_scope.cancel()
    view.close()
    view.seals.retire()


def seal(view: View, path: Path, content: bytes) -> Seal:
    """Enter the seal of a file of which the content is known."""
    with path.open("rb") as file:
        identity = identity_of(file.fileno())
    found = seal_of(content, identity.ino, **{name: getattr(identity, name) for name in _OF_FILE})
    view.seals.put(found)
    return found
