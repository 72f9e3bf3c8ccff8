"""`ipfsfs import`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import click
import trio

from ipfsfs.caches.registry import root_place
from ipfsfs.cli import bars, render
from ipfsfs.cli.paths import PATH, located
from ipfsfs.cli.scripts import Form, tell, tells
from ipfsfs.cli.sources import VIEW, chosen_view
from ipfsfs.daemon import mounts
from ipfsfs.daemon.sources import sources
from ipfsfs.errors import FormatError, MountError, UsageError
from ipfsfs.exchange.attach import Attach, Attached
from ipfsfs.exchange.importing import Import, Imported
from ipfsfs.exchange.paths import unreachable
from ipfsfs.printed import command, counted, printable
from ipfsfs.store.blocks import Blocks
from ipfsfs.unixfs import cid


@dataclass(slots=True, frozen=True)
class Facts:
    """What is in a CAR, and what of it the store did not have."""

    roots: tuple[str, ...]
    blocks: int
    bytes: int
    new_blocks: int
    new_bytes: int


@click.command(
    "import",
    short_help="Take the content of a CAR into the store.",
    epilog="Example: ipfsfs import model.car --to ~/.cache/huggingface/hub/models--org--name",
)
@click.argument("file", metavar="FILE.car", type=PATH)
@click.option("--to", "to", type=PATH, metavar="PATH", help="Attach its one root at this path in a mounted view.")
@VIEW
@tells(Form(Facts))
def import_(file: Path, to: Path | None, path: Path | None, as_json: bool) -> None:
    """Take the content of FILE.car (- for stdin) into the store. The last lines printed are the CIDs of its roots.

    Each block is compared with its CID, and all below the roots must be here in the end. Then it can be attached, read
    and listed by CID with no origin. `ipfsfs collect` removes what no placeholder and no pin needs: use --to, or
    `ipfsfs pin add`, to keep it. Interrupted, it goes on where it was when it is run again.
    """
    at = None if to is None else located(to)
    view = mounts.view_over(at) if at is not None and path is None else chosen_view(path)
    if view is None:
        raise MountError(f"{at} is in no mounted view", hint=f"Mount the cache first: {command('mount PATH')}")
    if at is not None and (mounts.view_over(at) != view or at == view.mountpoint):
        raise UsageError(f"{at} is no path in the view of {view.mountpoint}")
    if str(file) == "-":
        # Without a buffer: its lock, held by a read that was interrupted, would end the process by an abort.
        with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as car:
            done = trio.run(_import, view, car, "stdin", at)
    else:
        try:
            with located(file).open("rb") as found:
                done = trio.run(_import, view, found, str(file), at)
        except OSError as error:
            raise unreachable(Path(error.filename or file), error) from error
    roots = [cid.to_text(root) for root in done.roots]
    if as_json:
        tell(Facts(tuple(roots), done.blocks, done.size, done.new_blocks, done.new_size))
        return
    click.echo(f"Took {render.size(done.new_size)} of {render.size(done.size)} into the store.", err=True)
    if at is not None:
        click.echo(f"Attached at {printable(str(at))}.", err=True)
    for root in roots:
        click.echo(root)


async def _import(view: mounts.Mount, car: BinaryIO, named: str, to: Path | None) -> Imported:
    async with sources(view) as at:
        with Blocks.of(view.store) as blocks, blocks.changing():
            with bars.bar("Importing", "block") as bar:

                def show(progress: Imported) -> None:
                    bar.update(files=progress.blocks, done_bytes=progress.size)

                try:
                    done = await Import(blocks, at.here, show).run(car)
                except FormatError as error:
                    raise FormatError(f"{named} is refused: {error}", hint=error.hint) from error
            if to is not None:
                if len(done.roots) != 1:
                    raise UsageError(f"{named} has {counted(len(done.roots), 'root')}, and --to takes one")
                with bars.bar("Attaching", "name") as bar:

                    def attaching(progress: Attached) -> None:
                        bar.update(files=progress.there, done_bytes=0, total_files=progress.names)

                    place = root_place(bytes(to.parent))
                    await Attach(at.origin, done.roots[0], to, place, attaching).run()
            return done
