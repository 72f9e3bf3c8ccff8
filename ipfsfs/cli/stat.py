"""`ipfsfs stat`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click
import trio

from ipfsfs.cli import bars, render
from ipfsfs.cli.scripts import Form, tell, tells
from ipfsfs.cli.sources import VIEW, chosen_view
from ipfsfs.daemon import mounts
from ipfsfs.daemon.sources import sources
from ipfsfs.exchange import naming
from ipfsfs.exchange.naming import ContentName
from ipfsfs.exchange.summary import Summary, Summing
from ipfsfs.unixfs import cid


@dataclass(slots=True, frozen=True)
class Facts:
    """What a CID is. `names`: of a directory, with all below it. `lacking`: a CID of it that is not here, if one is
    not."""

    cid: str
    type: str
    names: int
    bytes: int
    leaves: int
    here_bytes: int
    here: bool
    lacking: str | None


@click.command(
    short_help="Show what a CID is, and how much of it is here.",
    epilog="Example: ipfsfs stat bafybei...",
)
@click.argument("content", metavar="CID")
@VIEW
@tells(Form(Facts))
def stat(content: str, path: Path | None, as_json: bool) -> None:
    """Show the type, size and leaves of CID (or ipfs://CID, /ipfs/CID/PATH, /ipns/NAME), and how much of it is here.

    What is here is read and compared, but for files that are sealed. Nodes of the tree that are not here are had from
    the origins of the view; the bytes of files are not.
    """
    name = naming.parse_content(content)
    with bars.bar("Looking", "name") as bar:
        root, found = trio.run(_stat, chosen_view(path), name, bar)
    if as_json:
        lacking = None if found.lacking is None else cid.to_text(found.lacking)
        tell(
            Facts(
                cid.to_text(root), found.kind, found.names, found.size, found.leaves, found.here_size, found.is_here,
                lacking,
            )
        )  # fmt: skip
        return
    here = "all of it" if found.is_here else f"{render.size(found.here_size)} of {render.size(found.size)}"
    render.facts({
        "CID": cid.to_text(root), "type": found.kind,
        **({"names": f"{found.names:,}"} if found.kind == "directory" else {}),
        "size": render.size(found.size), "leaves": f"{found.leaves:,}", "here": here,
    })  # fmt: skip


async def _stat(view: mounts.Mount, name: ContentName, bar: bars.Bar) -> tuple[bytes, Summary]:
    def show(summary: Summary) -> None:
        bar.update(files=summary.names, done_bytes=summary.here_size, total_bytes=summary.size)

    async with sources(view) as at:
        root = await at.resolve(name)
        return root, await Summing(at.here, at.origin, show).run(root)
