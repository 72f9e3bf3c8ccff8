"""One step of pinning, in a process that kills itself at a line of it: `python -m tests.crash.pin_step DIRECTORY STEP
LINE`.

DIRECTORY holds `cache` with a file, and `store`, which has the blocks of a tree. The kernel has no part in it. Prints
"done" where the step has fewer lines.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final

import trio

from ipfsfs.caches.registry import root_place
from ipfsfs.exchange.eviction import Possible
from ipfsfs.exchange.pins import Progress
from ipfsfs.plain.directory import PlainDirectory
from ipfsfs.plain.identities import identity_of
from ipfsfs.plain.ownership import Ownership
from ipfsfs.store import recovery
from ipfsfs.store.extents import Extents
from ipfsfs.store.layout import Store
from ipfsfs.store.quarantine import Quarantine
from ipfsfs.store.seal import boot_id
from ipfsfs.unixfs import directory as directories
from ipfsfs.unixfs.cid import from_text, to_text
from ipfsfs.view.view import Dependencies, View
from ipfsfs.workers.fetcher.client import open_fetcher
from ipfsfs.workers.sealer.client import open_sealer
from tests.support.cars import blocks_of, raw
from tests.support.seals import seal_of

HERE: Final = random.Random(1).randbytes(40_000)
"""A file of the plain directory."""
ELSEWHERE: Final = random.Random(2).randbytes(1_200_000)
"""A file of the tree that is pinned by its CID."""
FILE, BLOCKS_OF_FILE = blocks_of(ELSEWHERE)
TREE: Final = directories.build(
    [
        directories.Entry(b"far", from_text(FILE), len(ELSEWHERE) + 200),
        directories.Entry(b"near", raw(HERE), len(HERE)),
    ]
)
BLOCKS: Final = [*TREE.nodes, *BLOCKS_OF_FILE, (raw(HERE), HERE)]
ROOT_HERE: Final = raw(HERE)
_WHERE: Final = (
    "/placeholder/pinning.py", "/exchange/keeping.py", "/exchange/pins.py", "/exchange/collect.py",
    "/exchange/kept_files.py", "/store/kept.py", "/tables/pins.py", "/fetcher/pinned.py",
)  # fmt: skip
_OF_FILE: Final = ("dev", "born_ns", "size", "mtime_ns", "ctime_ns")


@dataclass(slots=True)
class Killer:
    """Ends the process before its n-th line in the modules that pin."""

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


def _not_told(progress: Progress) -> None:
    del progress


async def add_path(view: View) -> None:
    """Pin the file of the plain directory."""
    await view.pinning.have(await view.pinning.begin_path(b"file"), _not_told)


async def add_cid(view: View) -> None:
    """Pin the tree, whose blocks are in the store; a file of it is in the plain directory, too."""
    await view.pinning.have(await view.pinning.begin_cid(TREE.cid, _not_told), _not_told)


async def remove(view: View) -> None:
    """Remove both pins; they have a file in common."""
    await view.pinning.remove(TREE.cid)
    await view.pinning.remove(ROOT_HERE)


async def add_amid_removals(view: View) -> None:
    """Pin the tree while the file's pin is removed, and the store is collected over and over."""
    is_over = False

    async def collect() -> None:
        while not is_over:
            await view.pinning.collect(dry_run=False)
            await trio.sleep(0.01)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(collect)
        nursery.start_soon(view.pinning.remove, ROOT_HERE)
        await add_cid(view)
        is_over = True


STEPS: Final[dict[str, Callable[[View], Awaitable[None]]]] = {
    step.__name__: step for step in (add_path, add_cid, remove, add_amid_removals)
}


async def run(directory: Path, step: str, line: int) -> None:
    """Do a step, up to a line."""
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
                10.0, None, Possible(True, False, store.extents_fd, plain.fd),
            ),
            nursery,
        )  # fmt: skip
        with (directory / "cache" / "file").open("rb") as file:
            identity = identity_of(file.fileno())
        view.seals.put(seal_of(HERE, identity.ino, **{name: getattr(identity, name) for name in _OF_FILE}))
        nursery.start_soon(view.hydrating.run)
        killer = Killer(line)
        threading.settrace(killer)
        sys.settrace(killer)
        await STEPS[step](view)
        sys.settrace(None)
        print("done")
        nursery.cancel_scope.cancel()
    view.close()
    view.seals.retire()


def is_whole(data: bytes, root: bytes) -> bool:
    """Whether bytes are those of one of the two files, given by its root."""
    content = {ROOT_HERE: HERE, from_text(FILE): ELSEWHERE}[root]
    return hashlib.sha256(data).digest() == hashlib.sha256(content).digest()


def shown(root: bytes) -> str:
    """A root, for messages."""
    return to_text(root)


if __name__ == "__main__":
    trio.run(run, Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
