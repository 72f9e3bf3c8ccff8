"""`ipfsfs seal`."""

from __future__ import annotations

from pathlib import Path

import click

from ipfsfs.cli import bars, render
from ipfsfs.cli.paths import PATH, must_be_ours, target
from ipfsfs.cli.scripts import Form, tell, tells
from ipfsfs.daemon.client import ask
from ipfsfs.daemon.questions.seal import Answer, Question
from ipfsfs.errors import MountError
from ipfsfs.printed import command, printable


@click.command(
    short_help="Seal the files that have no seal yet, and wait for it.",
    epilog="Example: ipfsfs seal ~/.cache/huggingface/hub/models--org--name",
)
@click.argument("path", type=PATH)
@tells(Form(Answer))
def seal(path: Path, as_json: bool) -> None:
    """Seal every file below PATH that has no seal yet, and wait for it.

    Files that a program is writing are sealed later. Secrets and scratch are never sealed.
    """
    at = target(path)
    if at.mount is None:
        raise MountError(f"{at.root} is not mounted", hint=f"Mount it first: {command('mount', at.root)}")
    must_be_ours(at.mount)
    with bars.bar("Sealing") as bar:
        answer = ask(at.store, Question(at.path), bar.sealing)
        bar.sealing(answer)
    if as_json:
        tell(answer)
    elif answer.degraded:
        read = f"{render.files(answer.files - answer.failed)}, {render.size(answer.bytes)}, read in {answer.seconds} s"
        click.echo(f"{read}, but none is sealed for good: {printable(answer.degraded)}", err=True)
    elif not answer.files:
        click.echo("Sealed 0 files: every file that can be sealed has its seal.")
    else:
        sealed = render.files(answer.files - answer.failed)
        click.echo(f"Sealed {sealed}, {render.size(answer.bytes)}, in {answer.seconds} s.")
        if answer.failed:
            click.echo(f"In use or not readable, to be sealed later: {render.files(answer.failed)}.", err=True)
    if answer.degraded:
        raise SystemExit(1)
