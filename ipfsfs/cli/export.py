"""`ipfsfs export`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import trio

from ipfsfs.cli import bars, render
from ipfsfs.cli.hashed import hashed, publicity
from ipfsfs.cli.paths import PATH, located, must_be_ours, must_be_there
from ipfsfs.cli.scripts import Form, tell, tells
from ipfsfs.cli.sources import VIEW, chosen_view
from ipfsfs.daemon import mounts
from ipfsfs.daemon.client import ask
from ipfsfs.daemon.questions import status
from ipfsfs.daemon.sources import sources
from ipfsfs.exchange import naming
from ipfsfs.exchange.exporting import Export, Exported, TreeOrigin, learns_nothing
from ipfsfs.exchange.naming import ContentName
from ipfsfs.exchange.paths import unreachable
from ipfsfs.exchange.publish import TreeBlocks
from ipfsfs.unixfs import cid
from ipfsfs.unixfs.chunk import CHUNKERS, DEFAULT, Chunker, chunker_named


@dataclass(slots=True, frozen=True)
class Facts:
    """What was written. `left_out`: files that are secrets or scratch."""

    cid: str
    blocks: int
    bytes: int
    left_out: int


@click.command(
    short_help="Write the content of a CID or path as a CAR.",
    epilog="Example: ipfsfs export ~/.cache/huggingface/hub/models--org--name model.car",
)
@click.argument("content", metavar="CID|PATH")
@click.argument("file", metavar="FILE.car", type=PATH)
@click.option(
    "--private-too",
    is_flag=True,
    help="Also repositories of the Hub that are not known to be public. Who has the CAR has the files.",
)
@click.option("--chunker", type=click.Choice(list(CHUNKERS)), help="Of a PATH (default: the view's, else auto).")
@VIEW
@tells(Form(Facts))
def export(content: str, file: Path, private_too: bool, chunker: str | None, path: Path | None, as_json: bool) -> None:
    """Write all blocks of CID (or ipfs://CID, /ipfs/CID/PATH, /ipns/NAME), or of what lies at PATH, to FILE.car (- for
    stdout). The last line printed is the CID.

    It is a CARv1 that depends on the CID alone. The CID of a path is that of `ipfsfs cid`, which leaves out secrets and
    scratch. A repository of the Hub at PATH must be public, as the Hub says when it is asked now (HF_ENDPOINT, if that
    is set); for others there is --private-too. FILE.car has its name once it is whole; a file that had it is replaced.
    """
    name = naming.parse(content)
    left_out = 0
    try:
        if name is not None:
            root, done = trio.run(_export_content, chosen_view(path), name, file)
        else:
            root, done, left_out = trio.run(_export_path, located(Path(content)), chunker, file, private_too)
    except OSError as error:
        raise unreachable(Path(os.fsdecode(error.filename or file)), error) from error
    if left_out:
        click.echo(f"Left out, as secrets or scratch: {render.files(left_out)}.", err=True)
    if as_json:
        tell(Facts(cid.to_text(root), done.blocks, done.bytes, left_out))
    elif str(file) == "-":
        click.echo(cid.to_text(root), err=True)
    else:
        click.echo(cid.to_text(root))


async def _export_content(view: mounts.Mount, name: ContentName, file: Path) -> tuple[bytes, Exported]:
    async with sources(view) as at:
        root = await at.resolve(name)
        with bars.bar("Writing", "block") as bar:
            return root, await _write(Export(at.origin, root, at.here.learn, _shown(bar)), file)


async def _export_path(at: Path, chunker: str | None, file: Path, private_too: bool) -> tuple[bytes, Exported, int]:
    view = mounts.view_over(at)
    how: Chunker = DEFAULT
    if view is not None:
        must_be_ours(view)
        how = ask(view.store, status.Question()).chunker
    else:
        must_be_there(at)
    if chunker is not None:
        how = chunker_named(chunker)
    blocks = TreeBlocks()
    async with hashed(at, how, blocks, view) as what:
        if not private_too:
            await publicity(at, "export").require_of_repositories(what.names(blocks))
        with bars.bar("Writing", "block") as bar:
            export = Export(TreeOrigin(what.plain, blocks), what.found.root, learns_nothing, _shown(bar))
            return what.found.root, await _write(export, file), what.found.left_out


def _shown(bar: bars.Bar) -> Callable[[Exported], None]:
    def show(done: Exported) -> None:
        bar.update(files=done.blocks, done_bytes=done.bytes)

    return show


async def _write(export: Export, file: Path) -> Exported:
    if str(file) == "-":
        done = await export.to_stream(sys.stdout.buffer)
        sys.stdout.buffer.flush()
        return done
    return await export.to_file(file)
