"""`ipfsfs prefetch`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from ipfsfs.cli import bars, reasons, render
from ipfsfs.cli.paths import PATH
from ipfsfs.cli.scripts import Form, tell, tells
from ipfsfs.cli.views import by_view
from ipfsfs.daemon.client import ask
from ipfsfs.daemon.mounts import Mount
from ipfsfs.daemon.questions.prefetch import Answer, Progress, Question
from ipfsfs.errors import IpfsfsError


@click.command(
    short_help="Fetch what is not here yet, before it is read.",
    epilog="Example: ipfsfs prefetch ~/.cache/huggingface/hub/models--org--name",
)
@click.argument("paths", type=PATH, nargs=-1, required=True)
@click.option("--dry-run", is_flag=True, help="Say how much would be fetched, and do nothing.")
@tells(Form(Answer))
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
    done = _together(answers)
    if as_json:
        tell(done)
    else:
        _print(done, dry_run)
    if done.failed:
        raise SystemExit(IpfsfsError.exit_code)


def _together(answers: list[tuple[Mount, Answer]]) -> Answer:
    """The answers of all views as one, with absolute paths."""
    return Answer(
        files=sum(answer.files for _, answer in answers),
        files_done=sum(answer.files_done for _, answer in answers),
        bytes=sum(answer.bytes for _, answer in answers),
        bytes_done=sum(answer.bytes_done for _, answer in answers),
        failed=sum(answer.failed for _, answer in answers),
        here=sum(answer.here for _, answer in answers),
        missing=tuple(
            replace(one, path=str(view.mountpoint / one.path)) for view, answer in answers for one in answer.missing
        ),
    )


def _print(found: Answer, dry_run: bool) -> None:
    if dry_run:
        click.echo(f"Would fetch {render.files(found.files)}, {render.size(found.bytes)}.")
        return
    count = found.files_done - found.failed
    if not found.files:
        click.echo("Fetched 0 files: all that was named is here.")
    else:
        click.echo(f"Fetched {render.files(count)}, {render.size(found.bytes_done)}.")
    if found.missing:
        click.echo("What could not be had, and why:", err=True)
        reasons.say([(one.path, one.why) for one in found.missing], more=found.failed - len(found.missing))
