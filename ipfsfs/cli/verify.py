"""`ipfsfs verify`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import trio

from ipfsfs.cli import render
from ipfsfs.cli.opened import Opened
from ipfsfs.cli.paths import PATH, Target, target
from ipfsfs.daemon import mounts, verifying
from ipfsfs.daemon.client import ask
from ipfsfs.errors import MountError
from ipfsfs.sealer.client import open_sealer


@click.command(
    short_help="Read everything again, and compare.",
    epilog="Example: ipfsfs verify ~/.cache/huggingface/hub/models--org--name",
)
@click.argument("paths", type=PATH, nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print facts for scripts.")
def verify(paths: tuple[Path, ...], as_json: bool) -> None:
    """Read everything below each PATH again, from the disk, and compare: checksums, CIDs, and promises of names.

    Without PATH, every mounted view. Exit code 1 if anything is wrong; each wrong file is named, with what to do.
    """
    asked = [target(path) for path in paths or [view.mountpoint for view in mounts.views()]]
    if not asked:
        raise MountError("nothing is mounted", hint="Name a path: ipfsfs verify ~/.cache/huggingface")
    with render.bar("Verifying") as bar:

        def show(progress: dict[str, Any]) -> None:
            bar.update(files=progress["files"], done_bytes=progress["bytes"])

        results = [_ask(at, show) if at.mount is not None else _do(at, show) for at in asked]
    facts = {
        "files": sum(result["files"] for result in results),
        "bytes": sum(result["bytes"] for result in results),
        "unsealed": sum(result["unsealed"] for result in results),
        "changed": sum(result["changed"] for result in results),
        "wrong": [
            {**wrong, "path": str(at.root / wrong["path"])}
            for at, result in zip(asked, results, strict=True)
            for wrong in result["wrong"]
        ],
    }
    if as_json:
        render.facts(facts, as_json)
    else:
        _print(facts)
    if facts["wrong"]:
        raise SystemExit(1)


def _print(facts: dict[str, Any]) -> None:
    for wrong in facts["wrong"]:
        click.echo(render.printable(f"{wrong['kind'].replace('_', ' ')}: {wrong['path']}: {wrong['detail']}"))
        click.echo(render.printable(f"  {wrong['fix']}"))
    count = len(facts["wrong"])
    said = "nothing is wrong" if not count else f"{count} {'is' if count == 1 else 'are'} wrong"
    click.echo(f"{facts['files']:,} files, {render.size(facts['bytes'])} read: {said}.")
    if facts["unsealed"]:
        click.echo(f"{facts['unsealed']:,} of them have no seal to compare with yet; see `ipfsfs seal`.")


def _ask(at: Target, show: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    return ask(at.store, {"command": "verify", "paths": [at.relative]}, show)


def _do(at: Target, show: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Without a daemon: with a sealer of our own, on the plain directory."""
    with Opened.at(at) as opened:

        async def run() -> verifying.Verification:
            async with open_sealer(opened.plain.fd) as sealer:
                return await verifying.verify(
                    sealer,
                    opened.index,
                    opened.ledger,
                    opened.plain,
                    opened.place,
                    [os.fsencode(at.relative)],
                    show,
                )

        return trio.run(run).as_facts()
