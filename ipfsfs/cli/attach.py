"""`ipfsfs attach`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click
import trio

from ipfsfs.caches.registry import root_place
from ipfsfs.cli import bars, render
from ipfsfs.cli.paths import PATH, located, must_be_ours
from ipfsfs.cli.scripts import Form, tell, tells
from ipfsfs.daemon import mounts
from ipfsfs.daemon.client import ask
from ipfsfs.daemon.questions import upstream
from ipfsfs.daemon.sources import sources
from ipfsfs.errors import MountError, NotHeld, UsageError
from ipfsfs.exchange import naming
from ipfsfs.exchange.attach import Attach, Attached
from ipfsfs.exchange.naming import ContentName
from ipfsfs.exchange.paths import unreachable
from ipfsfs.printed import command, counted, printable
from ipfsfs.unixfs import cid


@dataclass(slots=True, frozen=True)
class Facts:
    """What was attached where: how many names, and bytes of files."""

    cid: str
    path: Path
    names: int
    bytes: int


@click.command(
    short_help="Have the files of a CID below a path.",
    epilog="Example: ipfsfs attach bafybei... ~/.cache/huggingface/hub/models--org--name",
)
@click.argument("root", metavar="CID")
@click.argument("path", type=PATH)
@tells(Form(Facts))
def attach(root: str, path: Path, as_json: bool) -> None:
    """Attach the file or tree of CID (or ipfs://CID, /ipfs/CID/PATH, /ipns/NAME) at PATH, in a mounted view.

    Directories and links are made at once; files have their names and sizes, and their bytes come from the view's
    origins when they are read. What is at PATH already is not overwritten. Attaching the same again completes what was
    interrupted.
    """
    name = naming.parse_content(root)
    at = located(path)
    view = mounts.view_over(at)
    if view is None:
        raise MountError(
            f"{at} is in no mounted view",
            hint=f"Mount the cache that it is to be in first: {command('mount --kubo URL CACHE')}",
        )
    must_be_ours(view)
    if at == view.mountpoint:
        raise UsageError(f"{at} is the view itself", hint="Name a path in it, which need not exist yet.")
    try:
        with bars.bar("Attaching", "name") as bar:
            wanted, done = trio.run(_attach, view, name, at, bar)
    except OSError as error:
        raise unreachable(Path(error.filename or at), error) from error
    if as_json:
        tell(Facts(cid.to_text(wanted), at, done.names, done.bytes))
        return
    names = counted(done.names, "name")
    click.echo(f"Attached {names}, {render.size(done.bytes)}, at {printable(str(at))}.")


async def _attach(view: mounts.Mount, name: ContentName, at: Path, bar: bars.Bar) -> tuple[bytes, Attached]:
    def show(progress: Attached) -> None:
        bar.update(files=progress.there, done_bytes=0, total_files=progress.names)

    async with sources(view) as known:
        try:
            wanted = await known.resolve(name)
            with known.here.blocks.needing():
                done = await Attach(known.origin, wanted, at, root_place(bytes(at.parent)), show).run()
            announced = name.text if name.kind == "ipfs" else cid.to_text(wanted)  # of what is below, that is seldom
            ask(view.store, upstream.Question(hint=announced))
            return wanted, done
        except NotHeld as error:
            if known.origins.origins:
                raise
            raise UsageError(
                f"the view of {view.mountpoint} knows no origin to have content from",
                hint=f"Mount it with --kubo URL, --gateway URL or --routing URL; see: {command('mount --help')}",
            ) from error
