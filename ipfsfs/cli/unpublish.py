"""`ipfsfs unpublish`."""

from __future__ import annotations

from pathlib import Path

import click

from ipfsfs.cli.scripts import Form, tell, tells
from ipfsfs.cli.sources import VIEW, chosen_view
from ipfsfs.daemon.client import ask
from ipfsfs.daemon.questions import published
from ipfsfs.errors import FormatError, UsageError
from ipfsfs.printed import command, printable
from ipfsfs.unixfs import cid


@click.command(short_help="Serve no longer what was published.", epilog="Example: ipfsfs unpublish bafybei...")
@click.argument("root", metavar="CID", required=False)
@VIEW
@tells(Form(published.Published, is_list=True))
def unpublish(root: str | None, path: Path | None, as_json: bool) -> None:
    """Have a view serve the tree of CID no longer. Without CID: what is published from it; with --json that is
    printed in either case, as it is afterwards.

    What was sent to a node stays there, pinned, and so does the pin of a root that it announces, until `ipfs pin rm
    CID` is run where it runs.
    """
    view = chosen_view(path)
    if root is None:
        left = ask(view.store, published.Question()).published
        if as_json:
            tell(left)
            return
        for one in left:
            served = "served from here" if one.is_served else "held by a node"
            click.echo(printable(f"{one.root}  {view.mountpoint / one.path.decode('utf-8', 'replace')}  {served}"))
        return
    try:
        text = cid.to_text(cid.from_text(root))
    except FormatError as error:
        raise UsageError(f"not a CID: {printable(root[:80])}", hint=error.hint) from error
    done = ask(view.store, published.Question(text, remove=True))
    if not done.was_there:
        raise UsageError(
            f"{text} is not published from {view.mountpoint}", hint=f"`{command('unpublish')}` lists what is."
        )
    if as_json:
        tell(done.published)
    click.echo(f"{text} is served no longer. Where the node runs: ipfs pin rm {text}", err=True)
