"""`ipfsfs why`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from ipfsfs.cli import render
from ipfsfs.cli.opened import Opened
from ipfsfs.cli.paths import PATH, Target, target
from ipfsfs.daemon.client import ask
from ipfsfs.daemon.looking import explain


@click.command(
    short_help="Say what a path is, and why it is sealed or not.",
    epilog="Example: ipfsfs why ~/.cache/huggingface/token",
)
@click.argument("path", type=PATH)
@click.option("--json", "as_json", is_flag=True, help="Print facts for scripts.")
def why(path: Path, as_json: bool) -> None:
    """Say what PATH is (secret, scratch, promise, content), whether it is sealed and why not, its CID and leaves."""
    named = Path(os.path.realpath(path.parent)) / path.name
    at = target(path.parent) if named != path and os.path.islink(path) else target(path)
    render.facts(_ask(at) if at.mount is not None else _look(at), as_json)


def _ask(at: Target) -> dict[str, render.Fact]:
    return ask(at.store, {"command": "why", "path": at.relative})


def _look(at: Target) -> dict[str, render.Fact]:
    """Without a daemon: from the plain directory and the store."""
    with Opened.at(at) as opened:
        return explain(opened.plain, opened.index, at.root, os.fsencode(at.relative), "")
