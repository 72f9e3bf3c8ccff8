"""`ipfsfs cid`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import click
import trio

from ipfsfs.cli import bars, render
from ipfsfs.cli.hashed import hashed
from ipfsfs.cli.paths import LINKS, PATH, Links, located, must_be_ours, must_be_there
from ipfsfs.cli.scripts import Form, tell, tells
from ipfsfs.daemon import mounts
from ipfsfs.daemon.client import ask
from ipfsfs.daemon.questions import status
from ipfsfs.daemon.questions import why as asking_why
from ipfsfs.daemon.questions.cid import Question
from ipfsfs.errors import IpfsfsError
from ipfsfs.printed import command, printable
from ipfsfs.unixfs import cid as cids
from ipfsfs.unixfs.chunk import CHUNKERS, DEFAULT, Chunker, chunker_named


@dataclass(slots=True, frozen=True)
class Facts:
    """The CID of a path, as it was named. `left_out`: files in it that are secrets or scratch."""

    path: Path
    cid: str
    left_out: int


@click.command(
    short_help="Print the CIDs of files and directories.",
    epilog="Example: ipfsfs cid --chunker fixed model.safetensors",
)
@click.argument("paths", type=PATH, nargs=-1, required=True)
@click.option(
    "--chunker",
    type=click.Choice(list(CHUNKERS)),
    help="As for mount (default: the view's, else auto). fixed gives the CID of `ipfs add` with unixfs-v1-2025.",
)
@LINKS
@tells(Form(Facts, is_list=True))
def cid(paths: tuple[Path, ...], chunker: str | None, links: Links, as_json: bool) -> None:
    """Print the CID of each file or directory, mounted or not.

    The CID of a directory leaves out secrets and scratch (tokens, locks, unfinished downloads), which never get a CID.
    A symlink in the directory counts as a link: what it leads to is not read. A blob of a repository that is a link
    into the store which the client shares among repositories counts as the file there.
    """
    wanted = None if chunker is None else chunker_named(chunker)
    found = [(path, *_cid(located(path, links), wanted)) for path in paths]
    if as_json:
        tell([Facts(path, text, left_out) for path, text, left_out in found])
        return
    for path, text, left_out in found:
        click.echo(text if len(found) == 1 else f"{text}  {printable(str(path))}")
        if left_out:
            click.echo(f"{printable(str(path))}: left out, as secrets or scratch: {render.files(left_out)}", err=True)


def _cid(path: Path, chunker: Chunker | None) -> tuple[str, int]:
    """The CID of an absolute path as text, and how many names in it were left out."""
    view = mounts.view_over(path)
    if view is not None and not (view.is_of_another and chunker is not None):
        must_be_ours(view)
        if chunker in (None, ask(view.store, status.Question()).chunker):
            return _ask(view, path)
    return _hash(path, chunker or DEFAULT)


def _ask(view: mounts.Mount, path: Path) -> tuple[str, int]:
    relative = os.path.relpath(path, view.mountpoint)
    with bars.bar("Sealing") as bar:
        answer = ask(view.store, Question(b"" if relative == "." else os.fsencode(relative)), bar.sealing)
    if answer.cid is None:
        lacking = view.mountpoint / answer.unsealed[0]
        why = ask(view.store, asking_why.Question(os.fsencode(answer.unsealed[0]))).why
        of = "" if lacking == path else f" for {lacking} has no seal,"
        raise IpfsfsError(f"{path} has no CID yet:{of} {why}", hint=f"More: {command('why', lacking)}")
    return answer.cid, answer.left_out


def _hash(path: Path, chunker: Chunker) -> tuple[str, int]:
    """Without a daemon: by reading all of it, with nothing kept."""
    must_be_there(path)
    return trio.run(_hashed, path, chunker)


async def _hashed(path: Path, chunker: Chunker) -> tuple[str, int]:
    async with hashed(path, chunker) as what:
        return cids.to_text(what.found.root), what.found.left_out
