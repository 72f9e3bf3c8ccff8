"""One step of pinning, in a process that kills itself at a line of it: `python -m tests.crash.pin_step DIRECTORY STEP
LINE`.

DIRECTORY holds `cache` with a file, and `store`, which has the blocks of a tree. The kernel has no part in it. Prints
"done" where the step has fewer lines.
"""

from __future__ import annotations

import hashlib
import random
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import trio

from ipfsfs.exchange.pins import Progress
from ipfsfs.unixfs import directory as directories
from ipfsfs.unixfs.cid import from_text, to_text
from ipfsfs.view.view import View
from tests.crash.bare_view import bare_view, killed_at, seal
from tests.support.cars import blocks_of, raw

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
    async with bare_view(directory, patience_s=10.0, has_origins=True, has_hub=False) as (view, nursery):
        seal(view, directory / "cache" / "file", HERE)
        nursery.start_soon(view.hydrating.run)
        with killed_at(line, *_WHERE):
            await STEPS[step](view)


def is_whole(data: bytes, root: bytes) -> bool:
    """Whether bytes are those of one of the two files, given by its root."""
    content = {ROOT_HERE: HERE, from_text(FILE): ELSEWHERE}[root]
    return hashlib.sha256(data).digest() == hashlib.sha256(content).digest()


def shown(root: bytes) -> str:
    """A root, for messages."""
    return to_text(root)


if __name__ == "__main__":
    trio.run(run, Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
