"""`ipfsfs cat`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import BinaryIO

import click
import trio

from ipfsfs.cli.sources import VIEW, chosen_view
from ipfsfs.daemon import mounts
from ipfsfs.daemon.sources import sources
from ipfsfs.exchange import naming, reading_out
from ipfsfs.exchange.naming import ContentName


@click.command(
    short_help="Write the bytes of a CID to stdout.",
    epilog="Example: ipfsfs cat bafybei... > model.safetensors",
)
@click.argument("content", metavar="CID")
@click.option("--offset", type=click.IntRange(min=0), default=0, metavar="BYTES", help="Begin here (default: 0).")
@click.option("--length", type=click.IntRange(min=0), metavar="BYTES", help="Write at most so many (default: all).")
@VIEW
def cat(content: str, offset: int, length: int | None, path: Path | None) -> None:
    """Write the file of CID (or ipfs://CID, /ipfs/CID/PATH, /ipns/NAME) to stdout.

    What is here is read here; the rest is had from the origins of the view, and kept nowhere. Each part is compared
    with its CID before a byte of it is written. Where a part cannot be had, what came before it was written, and the
    exit code is 1.
    """
    name = naming.parse_content(content)
    trio.run(_cat, chosen_view(path), name, offset, length, sys.stdout.buffer)


async def _cat(view: mounts.Mount, name: ContentName, offset: int, length: int | None, to: BinaryIO) -> None:
    async with sources(view) as at:
        root = await at.resolve(name)
        async for data in reading_out.file(at.origin, root, offset, length):
            await trio.to_thread.run_sync(to.write, data)
        await trio.to_thread.run_sync(to.flush)
