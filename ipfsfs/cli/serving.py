"""What a view serves to others of what was published, for `publish` and `unpublish`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import trio

from ipfsfs.cli import bars
from ipfsfs.cli.hashed import Hashed
from ipfsfs.daemon import mounts
from ipfsfs.daemon.client import ask
from ipfsfs.daemon.questions import published, seal, status
from ipfsfs.errors import NoRoom, StoreError, UsageError
from ipfsfs.exchange.publish import TreeBlocks
from ipfsfs.origins.announcing import Announced
from ipfsfs.printed import command, counted, printable
from ipfsfs.store.blocks import Blocks
from ipfsfs.unixfs import cid
from ipfsfs.unixfs.chunk import Chunker


def prepared(view: mounts.Mount | None, at: Path, chunker: Chunker, asked: status.Answer | None) -> str:
    """HOST:PORT where a view serves blocks to anyone, with all below a path sealed. Raises UsageError where it does
    not, or cuts files in another way."""
    if view is None or asked is None:
        raise UsageError(
            "only what is in a mounted view is served", hint=command("mount PATH --serve ADDRESS:PORT --open")
        )
    how = ask(view.store, published.Question())
    if how.serve is None:
        raise UsageError(f"the view of {view.mountpoint} serves nothing", hint=_again(view))
    if not how.is_open:
        raise UsageError(
            f"the view of {view.mountpoint} serves only machines that have the site's token, and others have none",
            hint=_again(view),
        )
    if chunker != asked.chunker:
        raise UsageError(
            f"the view of {view.mountpoint} cuts files as by --chunker {asked.chunker}, and serves them so",
            hint="Leave --chunker out.",
        )
    _seal(view, at)
    return how.serve


def _seal(view: mounts.Mount, at: Path) -> None:
    """Have all below a path sealed: what has no seal is not served."""
    with bars.bar("Sealing") as bar:
        answer = ask(view.store, seal.Question(os.fsencode(at.relative_to(view.mountpoint))), bar.sealing)
    if answer.degraded:
        raise StoreError(f"nothing is served from {view.mountpoint}: {answer.degraded}")
    if answer.failed:
        raise UsageError(
            f"{counted(answer.failed, 'file')} below {at} in use or not readable, and so not served",
            hint="Try again once they rest.",
        )


async def note(view: mounts.Mount, what: Hashed, blocks: TreeBlocks, *, is_served: bool) -> None:
    """Have a view that serves know what is published: the nodes of the tree among the blocks of the store, and which
    files are in it. Raises StoreError, StoreBusy."""
    if not is_served and ask(view.store, published.Question()).serve is None:
        return
    await trio.to_thread.run_sync(_note, view, what, blocks, is_served)


def _note(view: mounts.Mount, what: Hashed, blocks: TreeBlocks, is_served: bool) -> None:
    root = cid.to_text(what.found.root)
    nodes = {one: block for one, block in blocks.nodes.items() if cid.codec(one) == cid.DAG_PB}
    with Blocks.of(view.store) as stored, stored.changing():  # nobody collects them before they are noted
        try:
            stored.sync([one for one, block in nodes.items() if stored.put(one, block)])
        except OSError as error:
            raise NoRoom(
                f"the nodes of the tree cannot be written to the store: {error.strerror}",
                hint="Make room on its disk, and publish again.",
            ) from error
        for files in _parts(sorted(blocks.files)):
            ask(view.store, published.Question(root, files=tuple(map(cid.to_text, files))))
        for digests in _parts(sorted(map(cid.digest, nodes))):
            ask(view.store, published.Question(root, nodes=tuple(digest.hex() for digest in digests)))
        path = os.fsencode(what.at.relative_to(view.mountpoint))
        ask(view.store, published.Question(root, complete=True, path=path, is_served=is_served))


def in_words(announced: Announced, node: str) -> Iterator[str]:
    """How a root is announced, and what is to be done so that it can be found."""
    yield f"The node at {node} announces the root; the view serves what is below it."
    if announced.holds_all:
        yield "The node holds all of it already, from an earlier `publish`: `ipfs pin rm` there, and publish again."
    if announced.trouble:
        yield f"It was not announced now, and will be when the node does so next: {printable(announced.trouble)}"
    if announced.commands:
        yield "For others to find the way here, the node lacks settings. Where it runs, and then restart it:"
        yield from (f"  {command}" for command in announced.commands)


def _parts(all_of_it: list[bytes]) -> Iterator[list[bytes]]:
    each = iter(all_of_it)
    while part := list(islice(each, published.PARTS_MOST)):
        yield part


def _again(view: mounts.Mount) -> str:
    return f"umount it, and: {command('mount', view.mountpoint)} --serve ADDRESS:PORT --open"
