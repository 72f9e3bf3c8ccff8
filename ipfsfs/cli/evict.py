"""`ipfsfs evict`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from ipfsfs.cli import bars, reasons, render
from ipfsfs.cli.paths import PATH
from ipfsfs.cli.scripts import Form, tell, tells
from ipfsfs.cli.sizes import SIZE
from ipfsfs.cli.sources import VIEW, chosen_view
from ipfsfs.cli.views import by_view
from ipfsfs.daemon.client import ask
from ipfsfs.daemon.mounts import Mount
from ipfsfs.daemon.questions.evict import Answer, Progress, Question
from ipfsfs.errors import IpfsfsError, UsageError
from ipfsfs.printed import command


@click.command(
    short_help="Free the disk of files that an origin or the Hub has.",
    epilog="Examples: ipfsfs evict ~/.cache/huggingface/hub/models--org--name   ipfsfs evict --to 50GB --dry-run",
)
@click.argument("paths", type=PATH, nargs=-1)
@click.option(
    "--to", type=SIZE, help="Instead of PATHS: free until this is kept, such as 50GB, the longest unused first."
)
@click.option("--dry-run", is_flag=True, help="Say what would go and what would stay, and do nothing.")
@VIEW
@tells(Form(Answer))
def evict(paths: tuple[Path, ...], to: int | None, dry_run: bool, path: Path | None, as_json: bool) -> None:
    """Free the disk of what lies below PATHS and comes back by itself when it is read.

    A file goes only if an origin of the view, or the Hub, says at that moment that it has all of it; and if its name
    promises its content, or it came from an origin before. What is open, pinned, or was made here stays. With --to, the
    view is that of --view or of PATHS, which must be one; else that of the current directory, else the only one.

    Exit code 1, with the reasons, if part of what was named stays, or --to is not reached.
    """
    if to is None and not paths:
        raise UsageError(
            "nothing is named", hint=f"Name what is to go: {command('evict PATH')}. Or how much: --to 50GB"
        )
    if path is not None and paths:
        raise UsageError("--view and PATHS both say which view is meant", hint="Leave out one of them.")
    answers: list[tuple[Mount, Answer]] = []
    with bars.bar("Evicting") as bar:

        def show(progress: Progress) -> None:
            bar.update(files=progress.files, done_bytes=progress.bytes)

        for view, question in _questions(paths, to, dry_run, path):
            answers.append((view, ask(view.store, question, show)))
    done = _together(answers)
    if as_json:
        tell(done)
    else:
        _print(done, dry_run)
    is_short = to is not None and any(answer.size is not None and answer.size > to for _, answer in answers)
    if is_short or (to is None and done.stay):
        raise SystemExit(IpfsfsError.exit_code)


def _questions(
    paths: tuple[Path, ...], to: int | None, dry_run: bool, path: Path | None
) -> list[tuple[Mount, Question]]:
    if to is None:
        return [(view, Question(tuple(at.path for at in named), None, dry_run)) for view, named in by_view(paths)]
    views = [view for view, _ in by_view(paths)] or [chosen_view(path)]
    if len(views) > 1:
        raise UsageError(
            "--to is for one view, and PATHS lie in several",
            hint=f"Name one: {command('evict --to SIZE --view', views[0].mountpoint)}",
        )
    return [(views[0], Question((), to, dry_run))]


def _together(answers: list[tuple[Mount, Answer]]) -> Answer:
    """The answers of all views as one, with absolute paths."""
    sizes = [answer.size for _, answer in answers if answer.size is not None]
    return Answer(
        files=sum(answer.files for _, answer in answers),
        bytes=sum(answer.bytes for _, answer in answers),
        stay=sum(answer.stay for _, answer in answers),
        extents=sum(answer.extents for _, answer in answers),
        not_here=sum(answer.not_here for _, answer in answers),
        went=tuple(replace(one, path=str(view.mountpoint / one.path)) for view, all_ in answers for one in all_.went),
        stays=tuple(replace(one, path=str(view.mountpoint / one.path)) for view, all_ in answers for one in all_.stays),
        size=sum(sizes) if sizes else None,
    )


def _print(found: Answer, dry_run: bool) -> None:
    if dry_run:
        for one in found.went:
            click.echo(f"{render.size(one.bytes):>10}  {render.message(one.path)[0]}")
    verb = "Would evict" if dry_run else "Evicted"
    done = f"{verb} {render.files(found.files)}, {render.size(found.bytes)}."
    if found.not_here and not found.files:
        done += f" {render.files(found.not_here)} {'was' if found.not_here == 1 else 'were'} not here before."
    if found.size is not None:
        done += f" Kept of what origins can give: {render.size(found.size)}."
    click.echo(done)
    named = [(one.path, one.why) for one in found.stays]
    if named:
        click.echo("What stays, and why:", err=True)
        reasons.say(named, more=found.stay - len(named))
