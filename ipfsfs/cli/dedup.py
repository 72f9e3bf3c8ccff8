"""`ipfsfs dedup`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import click

from ipfsfs.cli import bars, render
from ipfsfs.cli.paths import PATH, Target, must_be_ours, target
from ipfsfs.cli.scripts import FLAT, Form, tell, tells
from ipfsfs.daemon import mounts
from ipfsfs.daemon.client import ask
from ipfsfs.daemon.questions.dedup import Answer, Question
from ipfsfs.errors import MountError
from ipfsfs.exchange.dedup import Progress
from ipfsfs.printed import command, printable


@dataclass(slots=True, frozen=True)
class Facts:
    """What was done below a path of a view, and what stays as it is, by absolute paths."""

    path: Path
    answer: Answer = field(metadata={FLAT: Answer})


@click.command(
    short_help="Keep the same content once.",
    epilog="Example: ipfsfs dedup ~/.cache/huggingface --dry-run",
)
@click.argument("path", type=PATH, required=False)
@click.option("--dry-run", is_flag=True, help="Say what it would do, and change nothing.")
@tells(Form(Facts, is_list=True))
def dedup(path: Path | None, dry_run: bool, as_json: bool) -> None:
    """Keep what is the same in several files below PATH once. Without PATH: in all views of this user, each by itself.

    Where the filesystem can share blocks (XFS, Btrfs), files of the same content share theirs; they stay files of their
    own. Elsewhere blobs whose names promise the same sha256 become names of one file: who changes one of them in place,
    which the clients never do, changes all. Files that were not sealed yet, or are being written, stay as they are.
    """
    asked = [target(path)] if path is not None else [Target(v.mountpoint, "", v.store, v) for v in mounts.our_views()]
    if not asked:
        raise MountError("nothing of yours is mounted", hint=f"Mount it first: {command('mount')}")
    for at in asked:
        if at.mount is None:
            raise MountError(f"{at.root} is not mounted", hint=f"Mount it first: {command('mount', at.root)}")
        must_be_ours(at.mount)
    found = []
    for number, at in enumerate(asked):
        answer = _done(at, dry_run)
        found.append(_facts(at, answer))
        if as_json:
            continue
        if len(asked) > 1:
            click.echo(("\n" if number else "") + printable(f"{at.root}:"))
        _print(at, answer, dry_run)
    if as_json:
        tell(found)


def _done(at: Target, dry_run: bool) -> Answer:
    with bars.bar("Comparing") as bar:

        def show(progress: Progress) -> None:
            bar.update(files=progress.files, done_bytes=progress.bytes)

        return ask(at.store, Question(at.path, dry_run), show)


def _facts(at: Target, answer: Answer) -> Facts:
    left = tuple(replace(item, path=str(at.root / item.path)) for item in answer.left)
    return Facts(at.root / at.relative, replace(answer, left=left))


def _print(at: Target, answer: Answer, dry_run: bool) -> None:
    for item in answer.left:
        click.echo(printable(f"left as it is: {at.root / item.path}: {item.why}"))
    holds = "holds" if answer.copies == 1 else "hold"
    of = f"{render.files(answer.files)}, {render.size(answer.bytes)}"
    click.echo(f"{of}: {render.files(answer.copies)}, {render.size(answer.copied_bytes)}, {holds} what another holds.")
    saves = "would save" if dry_run else "saved"
    ways = [
        *([f"{render.files(answer.shared)} by sharing blocks"] if answer.shared else []),
        *([f"{render.files(answer.linked)} as names of one file"] if answer.linked else []),
    ]
    click.echo(f"Kept once: {', '.join(ways) or 'none'}. That {saves} {render.size(answer.saved)}.")
    if answer.below:
        click.echo(f"Leaves that different files have in common: {render.size(answer.below)}, which stay.")
