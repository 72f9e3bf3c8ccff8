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
from ipfsfs.daemon.looking import see
from ipfsfs.errors import IpfsfsError, MountError
from ipfsfs.sealer.client import open_sealer


@click.command(
    short_help="Read everything again, and compare.",
    epilog="Example: ipfsfs verify ~/.cache/huggingface/hub/models--org--name",
)
@click.argument("paths", type=PATH, nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print facts for scripts.")
def verify(paths: tuple[Path, ...], as_json: bool) -> None:
    """Read everything below each PATH again, from the disk, and compare: checksums, CIDs, and promises of names.

    Without PATH, every view of this user. Exit code 1 if anything is wrong, or a view cannot be asked; each is named,
    with what to do.
    """
    asked = [target(path) for path in paths or [view.mountpoint for view in mounts.our_views()]]
    if not asked:
        raise MountError("nothing is mounted", hint="Name a path: ipfsfs verify ~/.cache/huggingface")
    results: list[tuple[Target, dict[str, Any]]] = []
    unasked: list[tuple[Path, IpfsfsError]] = []
    with render.bar("Verifying") as bar:

        def show(progress: dict[str, Any]) -> None:
            bar.update(files=progress["files"], done_bytes=progress["bytes"])

        for at in asked:
            try:
                results.append((at, _ask(at.mount, at, show) if at.mount is not None else _do(at, show)))
            except IpfsfsError as error:
                if len(asked) == 1:
                    raise
                unasked.append((at.root / at.relative, error))
    facts = {
        **{name: sum(result[name] for _, result in results) for name in ("files", "bytes", "unsealed", "changed")},
        "wrong": [
            {**wrong, "path": str(path), "fix": f"Remove it and download it again: rm {render.shell(path)}"}
            for at, result in results
            for wrong in result["wrong"]
            for path in [at.root / wrong["path"]]
        ],
        "not_verified": [{"path": str(path), "why": str(error), "hint": error.hint} for path, error in unasked],
    }
    if as_json:
        render.facts(facts, as_json)
    else:
        _print(facts)
    if facts["wrong"] or facts["not_verified"]:
        raise SystemExit(1)


def _print(facts: dict[str, Any]) -> None:
    for wrong in facts["wrong"]:
        click.echo(render.printable(f"{wrong['kind'].replace('_', ' ')}: {wrong['path']}: {wrong['detail']}"))
        click.echo(render.printable(f"  {wrong['fix']}"))
    for item in facts["not_verified"]:
        click.echo(render.printable(f"not verified: {item['path']}: {item['why']}"))
        if item["hint"]:
            click.echo(render.printable(f"  {item['hint']}"))
    count = len(facts["wrong"])
    said = "nothing is wrong" if not count else f"{count} {'is' if count == 1 else 'are'} wrong"
    click.echo(f"{facts['files']:,} files, {render.size(facts['bytes'])} read: {said}.")
    if facts["unsealed"]:
        click.echo(f"{facts['unsealed']:,} of them have no seal to compare with yet; see `ipfsfs seal`.")


def _ask(view: mounts.Mount, at: Target, show: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    mounts.answers(view)  # a daemon that hangs would take the question, and never come back to it
    return ask(at.store, {"command": "verify", "paths": [at.relative]}, show)


def _do(at: Target, show: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Without a daemon: with a sealer of our own, on the plain directory."""
    with Opened.at(at) as opened:
        os.close(see(opened.plain, at.root, os.fsencode(at.relative)))

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
