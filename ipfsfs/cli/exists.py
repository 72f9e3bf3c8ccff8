"""`ipfsfs exists`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import click
import trio

from ipfsfs.cli.scripts import Form, tell, tells
from ipfsfs.cli.sources import VIEW, chosen_view
from ipfsfs.daemon import mounts
from ipfsfs.daemon.sources import sources
from ipfsfs.errors import NotHeld
from ipfsfs.exchange import naming
from ipfsfs.exchange.naming import ContentName
from ipfsfs.exchange.summary import Summing
from ipfsfs.unixfs import cid


@dataclass(slots=True, frozen=True)
class Facts:
    """Whether content, as it was named, is here (or anywhere, where that was asked)."""

    content: str
    exists: bool
    why_not: str | None


@click.command(
    short_help="Say whether all of a CID is here.",
    epilog="Example: ipfsfs exists bafybei... && echo yes",
)
@click.argument("content", metavar="CID")
@click.option("--anywhere", is_flag=True, help="Or an origin of the view says that it has its root.")
@VIEW
@tells(Form(Facts))
def exists(content: str, anywhere: bool, path: Path | None, as_json: bool) -> None:
    """Exit with 0 where all of CID is here, else with 1: in sealed files of the view, or in its store.

    No origin is asked without --anywhere.
    """
    name = naming.parse_content(content)
    lacking = trio.run(_lacking, chosen_view(path), name, anywhere)
    if as_json:
        tell(Facts(content, not lacking, lacking or None))
    elif lacking:
        click.echo(lacking, err=True)
    if lacking:
        sys.exit(1)


async def _lacking(view: mounts.Mount, name: ContentName, anywhere: bool) -> str:
    """Why it does not exist; empty where it does."""
    async with sources(view) as at:
        root = await at.resolve(name) if anywhere or name.kind == "ipns" else await at.resolve_here(name)
        try:
            found = await Summing(at.here, at.here, lambda _: None).run(root)
            lacking = found.lacking
            why = "" if lacking is None else f"{cid.to_text(lacking)} is not here"
        except NotHeld as error:
            why = str(error)
        if why and anywhere and await at.origins.has(root):
            return ""
        return why
