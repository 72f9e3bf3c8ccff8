"""`ipfsfs collect`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from ipfsfs.cli import render
from ipfsfs.cli.scripts import Form, tell, tells
from ipfsfs.cli.sources import VIEW, chosen_view
from ipfsfs.daemon.client import ask
from ipfsfs.daemon.questions import collect as questions
from ipfsfs.exchange import sweeping
from ipfsfs.printed import counted
from ipfsfs.store.blocks import Blocks
from ipfsfs.unixfs import cid


@dataclass(slots=True, frozen=True)
class Facts:
    """What was removed, or would be: of files that were never whole (extents), and blocks that were imported."""

    dry_run: bool
    extents: int
    extents_bytes: int
    blocks: int
    blocks_bytes: int


@click.command(
    short_help="Remove what nobody needs from the store.",
    epilog="Example: ipfsfs collect --dry-run",
)
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
@VIEW
@tells(Form(Facts))
def collect(dry_run: bool, path: Path | None, as_json: bool) -> None:
    """Remove from the store of a view what it holds of content that no placeholder stands for and no pin holds.

    That is what was fetched of files that never became whole and have no name any more, what was imported and is
    attached nowhere, and what was left by what was interrupted. Files of the cache are never touched.
    """
    view = chosen_view(path)
    with Blocks.of(view.store) as blocks, blocks.changing():
        found = ask(view.store, questions.Question(dry_run))
        needed = sweeping.below(blocks, [cid.from_text(root) for root in (*found.pinned, *found.placeholders)])
        swept = sweeping.sweep(blocks, lambda digest: digest not in needed, dry_run=dry_run)
    if as_json:
        tell(Facts(dry_run, found.files, found.bytes, swept.blocks, swept.bytes))
        return
    said = "Would remove" if dry_run else "Removed"
    extents, imported = render.size(found.bytes), render.size(swept.bytes)
    click.echo(f"{said} {extents} of files that were never whole ({render.files(found.files)} of the store),")
    click.echo(f"and {imported} that were imported ({counted(swept.blocks, 'block')}).")
