"""`ipfsfs metrics`."""

from __future__ import annotations

from pathlib import Path

import click

from ipfsfs.cli.paths import PATH, must_be_ours, target
from ipfsfs.cli.scripts import Form, tell, tells
from ipfsfs.daemon.client import ask
from ipfsfs.daemon.metrics.table import Sample
from ipfsfs.daemon.metrics.text import text
from ipfsfs.daemon.questions.metrics import Question
from ipfsfs.errors import MountError
from ipfsfs.printed import command


@click.command(
    short_help="Print what a view has counted, as Prometheus reads it.",
    epilog="Example: ipfsfs metrics ~/.cache/huggingface",
)
@click.argument("path", type=PATH)
@tells(Form(Sample, is_list=True))
def metrics(path: Path, as_json: bool) -> None:
    """Print the metrics of the view that PATH lies in, once, in the text format of Prometheus.

    `ipfsfs mount --metrics ADDRESS` serves the same to Prometheus itself; docs/metrics.md says what each means.
    """
    found = samples_of(path)
    if as_json:
        tell(found)
    else:
        click.echo(text(found), nl=False)


def samples_of(path: Path) -> tuple[Sample, ...]:
    """The values of the view that a path lies in. Raises MountError where it is in none, and as `ask` does."""
    at = target(path)
    if at.mount is None:
        raise MountError(f"{at.root} is not mounted", hint=f"Mount it first: {command('mount', at.root)}")
    must_be_ours(at.mount)
    return ask(at.store, Question()).samples
