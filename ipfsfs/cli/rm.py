"""`ipfsfs rm`."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

import click

from ipfsfs.cli import render
from ipfsfs.cli.scripts import Form, tell, tells
from ipfsfs.cli.sources import VIEW, chosen_view
from ipfsfs.daemon import mounts
from ipfsfs.daemon.client import ask
from ipfsfs.daemon.questions import collect, discard, find
from ipfsfs.errors import UsageError
from ipfsfs.exchange import naming, sweeping
from ipfsfs.exchange.sweeping import Swept
from ipfsfs.printed import command, printable
from ipfsfs.store.blocks import Blocks
from ipfsfs.unixfs import cid


@dataclass(slots=True)
class _Done:
    """What was removed, and what stays: roots that are pinned or being read, and files of the view."""

    files: int = 0
    bytes: int = 0
    swept: Swept = field(default_factory=Swept)
    pinned: list[str] = field(default_factory=list)
    in_use: list[str] = field(default_factory=list)
    residents: list[Path] = field(default_factory=list)


@dataclass(slots=True, frozen=True)
class Facts:
    """What was removed of the store. What stays: CIDs that are `pinned` or `in_use`, and `files` of the cache that have
    the content."""

    extents: int
    extents_bytes: int
    blocks: int
    blocks_bytes: int
    pinned: tuple[str, ...]
    in_use: tuple[str, ...]
    files: tuple[Path, ...]


@click.command(
    short_help="Remove what the store holds of a CID.",
    epilog="Example: ipfsfs rm bafybei...",
)
@click.argument("contents", metavar="CID...", nargs=-1, required=True)
@VIEW
@tells(Form(Facts))
def rm(contents: tuple[str, ...], path: Path | None, as_json: bool) -> None:
    """Remove what the store of a view holds of each CID: what was fetched of it, and what was imported.

    Never a file of the cache (that has a name to be removed by), and nothing that a pin holds or another placeholder
    needs. What a placeholder stands for is fetched again when it is read. The exit code is 1 where something stays.
    """
    names = [naming.parse_content(text) for text in contents]
    if any(name.kind != "ipfs" or name.below for name in names):
        raise UsageError(
            "only what is named by its CID is removed", hint=f"To see the CIDs in a tree: {command('ls CID')}"
        )
    view = chosen_view(path)
    done = _remove(view, [cid.from_text(name.text) for name in names])
    if as_json:
        swept = done.swept
        tell(
            Facts(
                done.files, done.bytes, swept.blocks, swept.bytes, tuple(done.pinned), tuple(done.in_use),
                tuple(done.residents),
            )
        )  # fmt: skip
    else:
        click.echo(f"Removed {render.size(done.bytes + done.swept.bytes)} from the store.")
    for root in done.pinned:
        click.echo(f"{root} is pinned, and stays. To unpin it: {command('pin rm')} {root}", err=True)
    for root in done.in_use:
        click.echo(f"{root} is being read, and stays. Try again later.", err=True)
    for resident in done.residents:
        click.echo(f"{printable(str(resident))} has this content, and stays: it is a file of the cache.", err=True)
    if done.pinned or done.in_use or done.residents:
        sys.exit(1)


def _remove(view: mounts.Mount, roots: list[bytes]) -> _Done:
    done = _Done()
    with Blocks.of(view.store) as blocks, blocks.changing():
        files = sorted(sweeping.files_below(blocks, roots))
        for at in range(0, len(files), discard.ROOTS_MOST):
            texts = tuple(cid.to_text(one) for one in files[at : at + discard.ROOTS_MOST])
            answer = ask(view.store, discard.Question(texts))
            done.files += answer.files
            done.bytes += answer.bytes
            done.pinned += answer.pinned
            done.in_use += answer.in_use
            held = ask(view.store, find.Question(texts)).files
            done.residents += [view.mountpoint / os.fsdecode(one.path) for one in held]
        needs = ask(view.store, collect.Question(dry_run=True, extents=False))
        named = {cid.to_text(one) for one in files}
        others = [root for root in needs.placeholders if root not in named]
        needed = sweeping.below(blocks, [cid.from_text(root) for root in (*needs.pinned, *others)])
        chosen = sweeping.below(blocks, roots) - needed
        done.swept = sweeping.sweep(blocks, lambda digest: digest in chosen, dry_run=False)
    return done
