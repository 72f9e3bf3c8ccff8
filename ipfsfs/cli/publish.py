"""`ipfsfs publish`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click
import trio

from ipfsfs.cli import bars, render, serving
from ipfsfs.cli.hashed import Hashed, hashed, publicity, unread
from ipfsfs.cli.origins import origins_of
from ipfsfs.cli.paths import PATH, located, must_be_ours, must_be_there
from ipfsfs.cli.scripts import Form, tell, tells
from ipfsfs.cli.settings.effective import effective, options
from ipfsfs.cli.settings.table import ORIGINS
from ipfsfs.daemon import mounts
from ipfsfs.daemon.client import ask
from ipfsfs.daemon.config import OriginConfig
from ipfsfs.daemon.questions import status
from ipfsfs.errors import UsageError
from ipfsfs.exchange.publish import Publish, Published, TreeBlocks
from ipfsfs.exchange.trees import Outcome
from ipfsfs.origins.announcing import Announced
from ipfsfs.origins.registry import open_announcing, open_publisher
from ipfsfs.unixfs import cid
from ipfsfs.unixfs.chunk import CHUNKERS, DEFAULT, Chunker, chunker_named

_NAME_MOST: Final = 60
"""Characters of a pin's name: Kubo takes 255 bytes."""


@dataclass(slots=True, frozen=True)
class Facts:
    """What was published. `left_out`: files that are secrets or scratch. `name`: that of IPNS, if one was asked for.
    With --serve alone: `node_lacks`, commands that the node needs for others to find the way here, and why the root was
    `not_announced` now, empty where it was."""

    cid: str
    left_out: int
    bytes: int
    sent_bytes: int
    name: str | None
    node_lacks: tuple[str, ...] | None
    not_announced: str | None


@click.command(
    short_help="Send files to an IPFS node, and pin them there.",
    epilog="Example: ipfsfs publish ~/.cache/huggingface/hub/models--org--name",
)
@click.argument("path", type=PATH)
@click.option("--name", help="Publish the CID under this key of the node as well (IPNS).")
@click.option(
    "--serve",
    is_flag=True,
    help="Send the node the root alone: it announces that, and others have the content from this view, by HTTP.",
)
@click.option(
    "--private-too",
    is_flag=True,
    help="Also what is not known to be public. Who has the CID can have the files from the node.",
)
@click.option("--chunker", type=click.Choice(list(CHUNKERS)), help="As for mount (default: the view's, else auto).")
@options(ORIGINS)
@tells(Form(Facts))
def publish(
    path: Path,
    name: str | None,
    serve: bool,
    private_too: bool,
    chunker: str | None,
    as_json: bool,
    **given: object,
) -> None:
    """Send the file or tree at PATH to an IPFS node and pin it there. The last line printed is its CID.

    It is the CID that `ipfsfs cid` prints, which leaves out secrets and scratch. The node is that of --kubo, else that
    of the view PATH lies in; only the blocks it lacks are sent. A repository of the Hub must be public, as the Hub says
    when it is asked now (HF_ENDPOINT, if that is set); for all else there is --private-too.

    With --serve the view is to be mounted with --serve and --open: it gives the tree to anyone, and no second copy of
    it lies at the node. `ipfsfs unpublish CID` ends that.
    """
    at = located(path)
    must_be_there(at)
    view = mounts.view_over(at)
    asked = None
    if view is not None:
        must_be_ours(view)
        asked = ask(view.store, status.Question())
    chosen = effective(given, view.mountpoint if view is not None else None)
    node = _node(origins_of(chosen.settings), asked)
    how = chunker_named(chunker) if chunker is not None else asked.chunker if asked is not None else DEFAULT
    served_at = serving.prepared(view, at, how, asked) if serve else None
    done = trio.run(_publish, at, view, node, how, name, private_too, served_at)
    root = cid.to_text(done.found.root)
    if done.found.left_out:
        click.echo(f"Left out, as secrets or scratch: {render.files(done.found.left_out)}.", err=True)
    if as_json:
        announced = done.announced
        lacks, trouble = (announced.commands, announced.trouble) if announced is not None else (None, None)
        left_out, progress = done.found.left_out, done.progress
        tell(Facts(root, left_out, progress.bytes, progress.sent_bytes, done.name, lacks, trouble))
        return
    if done.announced is not None:
        click.echo("\n".join(serving.in_words(done.announced, node.url)), err=True)
    else:
        sent, whole = render.size(done.progress.sent_bytes), render.size(done.progress.bytes)
        click.echo(f"Sent {sent} of {whole} to {node.url}, and pinned it there.", err=True)
    if done.name:
        click.echo(f"Its name is /ipns/{done.name}.", err=True)
    click.echo(root)


@dataclass(slots=True, frozen=True)
class _Done:
    found: Outcome
    progress: Published
    name: str | None
    announced: Announced | None


def _node(named: tuple[OriginConfig, ...], asked: status.Answer | None) -> OriginConfig:
    """The node to publish to. Raises UsageError where none is known."""
    known = (*named, *(asked.origins if asked is not None else ()))
    node = next((origin for origin in known if origin.kind == "kubo"), None)
    if node is None:
        raise UsageError(
            "no IPFS node is known to publish to",
            hint="Name its RPC with --kubo, such as --kubo http://127.0.0.1:5001, or mount the view with it.",
        )
    return node


async def _publish(
    at: Path,
    view: mounts.Mount | None,
    node: OriginConfig,
    chunker: Chunker,
    name: str | None,
    private_too: bool,
    served_at: str | None,
) -> _Done:
    blocks = TreeBlocks()
    async with hashed(at, chunker, blocks, view) as what:
        try:
            if not private_too:
                await publicity(at, "publish").require(what.names(blocks))
            if view is not None:
                await serving.note(view, what, blocks, is_served=served_at is not None)
            return await _send(what, blocks, node, name, served_at)
        except OSError as error:
            raise unread(at, what.root, error) from error


async def _send(what: Hashed, blocks: TreeBlocks, node: OriginConfig, name: str | None, served_at: str | None) -> _Done:
    root, to = what.found.root, open_publisher(node.settings())
    try:
        with bars.bar("Sending", "block") as bar:

            def sending(progress: Published) -> None:
                bar.update(files=progress.looked_at, done_bytes=progress.sent_bytes, total_files=progress.blocks)

            pinned_as = what.at.name.encode("utf-8", "replace").decode()[:_NAME_MOST]
            publishing = Publish(what.plain, blocks, to, sending)
            announced = None
            if served_at is None:
                progress = await publishing.run(root)
                await to.pin(root, pinned_as)
            else:
                progress = await publishing.send_root(root)
                announced = await open_announcing(node.settings()).announce(root, pinned_as, served_at)
            published_as = await to.publish_name(name, root) if name else None
        return _Done(what.found, progress, published_as, announced)
    finally:
        await to.aclose()
