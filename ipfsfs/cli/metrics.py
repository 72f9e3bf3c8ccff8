"""`ipfsfs metrics`."""

from __future__ import annotations

from pathlib import Path

import click

from ipfsfs.cli.paths import PATH
from ipfsfs.cli.scripts import Form, tell, tells
from ipfsfs.cli.sources import view_of
from ipfsfs.daemon.client import ask
from ipfsfs.daemon.metrics.table import Sample
from ipfsfs.daemon.metrics.text import text
from ipfsfs.daemon.mounts import Mount
from ipfsfs.daemon.questions.metrics import Question


@click.command(
    short_help="Print what a view has counted, as Prometheus reads it.",
    epilog="Example: ipfsfs metrics ~/.cache/huggingface",
)
@click.argument("path", type=PATH, required=False)
@tells(Form(Sample, is_list=True))
def metrics(path: Path | None, as_json: bool) -> None:
    """Print the metrics of the view that PATH lies in, once, in the text format of Prometheus.

    Without PATH: of the view of the current directory, else of the only one.
    `ipfsfs mount --metrics ADDRESS` serves the same to Prometheus itself; docs/metrics.md says what each means.
    """
    found = samples_of(view_of(path, "metrics"))
    if as_json:
        tell(found)
    else:
        click.echo(text(found), nl=False)


def samples_of(view: Mount) -> tuple[Sample, ...]:
    """The values of a view. Raises as `ask` does."""
    return ask(view.store, Question()).samples
