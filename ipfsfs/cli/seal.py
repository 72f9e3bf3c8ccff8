"""`ipfsfs seal`."""

from __future__ import annotations

from pathlib import Path

import click

from ipfsfs.cli import render
from ipfsfs.cli.paths import PATH, target
from ipfsfs.daemon.client import ask
from ipfsfs.errors import MountError


@click.command(
    short_help="Seal what is still to be sealed, and wait for it.",
    epilog="Example: ipfsfs seal ~/.cache/huggingface/hub/models--org--name",
)
@click.argument("path", type=PATH)
@click.option("--json", "as_json", is_flag=True, help="Print facts for scripts.")
def seal(path: Path, as_json: bool) -> None:
    """Seal everything below PATH that is still to be sealed, and wait for it.

    Files that are being written are left for later; secrets and scratch are never sealed.
    """
    at = target(path)
    if at.mount is None:
        raise MountError(f"{at.root} is not mounted", hint=f"Mount it first: ipfsfs mount {render.shell(at.root)}")
    with render.bar("Sealing") as bar:
        result = ask(at.store, {"command": "seal", "path": at.relative}, bar.sealing)
        bar.sealing(result)
    if as_json:
        render.facts(result, as_json)
    else:
        click.echo(
            f"Sealed {result['files'] - result['failed']:,} files, {render.size(result['bytes'])}, "
            f"in {result['seconds']} s."
        )
        if result["failed"]:
            click.echo(f"{result['failed']:,} files are in use or could not be read: they are sealed later.", err=True)
        if result["degraded"]:
            click.echo(f"Degraded: {result['degraded']}", err=True)
    if result["degraded"]:
        raise SystemExit(1)
