"""`ipfsfs prefetch`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ipfsfs.cli import bars, reasons, render
from ipfsfs.cli.paths import PATH
from ipfsfs.cli.views import by_view
from ipfsfs.daemon.client import ask
from ipfsfs.daemon.codec import encode
from ipfsfs.daemon.mounts import Mount
from ipfsfs.daemon.questions.prefetch import Answer, Progress, Question
from ipfsfs.errors import IpfsfsError


@click.command(
    short_help="Fetch what is not here yet, before it is read.",
    epilog="Example: ipfsfs prefetch ~/.cache/huggingface/hub/models--org--name",
)
@click.argument("paths", type=PATH, nargs=-1, required=True)
@click.option("--dry-run", is_flag=True, help="Say how much would be fetched, and do nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print facts for scripts.")
def prefetch(paths: tuple[Path, ...], dry_run: bool, as_json: bool) -> None:
    """Have all files below PATHS here, as ordinary files: those that are not are fetched from the view's origins.

    Interrupted, it goes on where it was when it is run again. Exit code 1, with the reasons, if a file cannot be had.
    """
    answers: list[tuple[Mount, Answer]] = []
    with bars.bar("Fetching") as bar:

        def show(progress: Progress) -> None:
            bar.update(
                files=progress.files_done,
                done_bytes=progress.bytes_done,
                total_files=progress.files,
                total_bytes=progress.bytes,
            )

        for view, named in by_view(paths):
            answers.append((view, ask(view.store, Question(tuple(at.path for at in named), dry_run), show)))
    facts = _facts(answers)
    if as_json:
        render.facts(facts, as_json)
    else:
        _print(facts, dry_run)
    if facts["failed"]:
        raise SystemExit(IpfsfsError.exit_code)


def _facts(answers: list[tuple[Mount, Answer]]) -> dict[str, Any]:
    names = ("files", "files_done", "bytes", "bytes_done", "failed", "here")
    return {
        **{name: sum(getattr(answer, name) for _, answer in answers) for name in names},
        "missing": [
            {**encode(one), "path": str(view.mountpoint / one.path)}
            for view, answer in answers
            for one in answer.missing
        ],
    }


def _print(facts: dict[str, Any], dry_run: bool) -> None:
    if dry_run:
        click.echo(f"Would fetch {render.files(facts['files'])}, {render.size(facts['bytes'])}.")
        return
    count = facts["files_done"] - facts["failed"]
    if not facts["files"]:
        click.echo("Fetched 0 files: all that was named is here.")
    else:
        click.echo(f"Fetched {render.files(count)}, {render.size(facts['bytes_done'])}.")
    if facts["missing"]:
        click.echo("What could not be had, and why:", err=True)
        reasons.say(
            [(one["path"], one["why"]) for one in facts["missing"]], more=facts["failed"] - len(facts["missing"])
        )
