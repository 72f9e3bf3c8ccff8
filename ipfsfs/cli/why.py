"""`ipfsfs why`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from ipfsfs.cli import render
from ipfsfs.cli.opened import Opened
from ipfsfs.cli.paths import PATH, Target, target
from ipfsfs.daemon.client import ask
from ipfsfs.daemon.looking import Known, explain


@click.command(
    short_help="Say what a path is, and why it is sealed or not.",
    epilog="Example: ipfsfs why ~/.cache/huggingface/token",
)
@click.argument("path", type=PATH)
@click.option("--json", "as_json", is_flag=True, help="Print facts for scripts.")
def why(path: Path, as_json: bool) -> None:
    """Say what PATH is (secret, scratch, promise, content), whether it is sealed and why not, what is wrong with it.

    Also its CID and leaves.
    """
    named = Path(os.path.realpath(path.parent)) / path.name
    at = target(path.parent) if named != path and os.path.islink(path) else target(path)
    facts = _ask(at) if at.mount is not None else _look(at)
    render.facts(facts if as_json else _shown(at, facts), as_json)


def _shown(at: Target, facts: dict[str, Any]) -> dict[str, Any]:
    """With what is wrong in words, and what to do."""
    if not facts.get("wrong"):
        return {name: value for name, value in facts.items() if name != "wrong"}
    wrong = [
        f"{found['kind'].replace('_', ' ')}: {found['detail']}" + (f", by {found['who']}" if found["who"] else "")
        for found in facts["wrong"]
    ]
    return {**facts, "wrong": [*wrong, f"Remove it and download it again: rm {render.shell(at.root / at.relative)}"]}


def _ask(at: Target) -> dict[str, Any]:
    return ask(at.store, {"command": "why", "path": at.relative})


def _look(at: Target) -> dict[str, Any]:
    """Without a daemon: from the plain directory and the store."""
    with Opened.at(at) as opened:
        known = Known(
            opened.plain,
            at.root,
            opened.index,
            opened.ledger,
            unsealed="nothing is mounted that would seal it",
            changed="it was changed since it was sealed; nothing is mounted that would seal it again",
        )
        return explain(known, os.fsencode(at.relative))
