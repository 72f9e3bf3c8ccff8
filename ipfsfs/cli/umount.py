"""`ipfsfs umount`."""

from __future__ import annotations

import os
import select
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import click

from ipfsfs.cli import aftermath, render
from ipfsfs.cli.aftermath import Aftermath
from ipfsfs.cli.anothers import ask_another
from ipfsfs.cli.not_here import Missing, NotHere
from ipfsfs.cli.paths import PATH, mountpoint, must_answer_us, must_be_directory
from ipfsfs.cli.scripts import Failure, Form, tell, tells
from ipfsfs.daemon import mounts, outsiders, register, remains
from ipfsfs.daemon.client import ask
from ipfsfs.daemon.config import OriginConfig, SiteConfig
from ipfsfs.daemon.questions.umount import Answer, Question
from ipfsfs.errors import IpfsfsError, NoAnswer, UsageError
from ipfsfs.printed import command, counted, printable, shell

_GONE_S: Final = 10.0
_LAZY_S: Final = 5.0
"""How long the daemon may take before its view is taken away without asking it."""
_ANOTHERS_S: Final = 20.0
"""How long another user's daemon may take in all."""


@dataclass(slots=True)
class Outcome:
    """What became of a view."""

    mountpoint: Path
    words: str
    """What there is to say of the path, as the end of a sentence that begins with it."""
    was_mounted: bool = True
    pid: int | None = None
    """The daemon that goes on, if one does."""
    open_files: int | None = 0
    """Still open in the view, as far as that is known."""
    users: list[str] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    """Where else the view is mounted still."""
    origins: tuple[OriginConfig, ...] = ()
    """What its daemon says that content was had from."""
    site: SiteConfig | None = None
    """And how that shared with other machines."""
    left: NotHere = field(default_factory=NotHere)
    """What is not wholly on plain disk."""
    views_below: list[Path] = field(default_factory=list)
    """Of a path that is not mounted: the views that are mounted below it."""

    @property
    def goes_on(self) -> bool:
        """Whether something keeps the daemon from ending."""
        return self.pid is not None or bool(self.open_files or self.users or self.places)


@dataclass(slots=True, frozen=True)
class Facts:
    """What became of a view. `pid`: of the daemon that goes on, if one does; `open_files`: null where that is not
    known; `users`: who has them open, in words. `not_here`: what is a link in the plain directory, for it is not wholly
    here. `error`: with --all, why the view was not unmounted, else null; `daemon_goes_on` then says no more than that
    nothing has ended it. `views_below`: of a path that is not mounted, the views that are mounted below it."""

    mountpoint: Path
    was_mounted: bool
    daemon_goes_on: bool
    pid: int | None
    open_files: int | None
    users: tuple[str, ...]
    mounted_elsewhere: tuple[str, ...]
    not_here: tuple[Missing, ...]
    error: Failure | None
    views_below: tuple[Path, ...] = ()


@click.command(short_help="Unmount a view.", epilog="Example: ipfsfs umount ~/.cache/huggingface")
@click.argument("path", type=PATH, required=False)
@click.option("--all", "all_", is_flag=True, help="Unmount every view of this user.")
@click.option(
    "--lazy",
    is_flag=True,
    help="Unmount at once, even while files are open; the daemon serves them until they are closed.",
)
@tells(Form(Facts, when="with PATH"), Form(Facts, is_list=True, when="with --all"))
def umount(path: Path | None, all_: bool, lazy: bool, as_json: bool) -> None:
    """Unmount the view at PATH: PATH is the plain directory again, with everything in it that is wholly here. What is
    known by its CID and not wholly here is listed.

    While programs have files of the view open, they are named and nothing is unmounted (exit code 3), except with
    --lazy: then the daemon goes on until the files are closed, and the output says so. It also goes on while the view
    is mounted in another place or mount namespace.

    With --all, a view that cannot be unmounted does not keep the others from it; the exit code is that of the first.
    """
    if (path is not None) == all_:
        raise UsageError("either a PATH or --all says what to unmount", hint=f"To see the views: {command('status')}")
    at = mountpoint(path) if path is not None else None
    os.chdir("/")  # run from inside the view, this process must not be what keeps the view in use
    if at is None:
        _unmount_all(lazy, as_json)
        return
    outcome = _unmounted(at, lazy)
    if as_json:
        tell(_facts(outcome))
    else:
        _print(outcome)


def _unmount_all(lazy: bool, as_json: bool) -> None:
    """Unmount every view of this user, the last that was mounted first, and forget the ends of those that are gone."""
    mounted = list(dict.fromkeys(view.mountpoint for view in reversed(mounts.our_views())))
    gone = [entry.mountpoint for entry in register.entries() if Aftermath.of(entry.store).ended is not None]
    told: list[Facts] = []
    failed: IpfsfsError | None = None
    for at in [*mounted, *(at for at in gone if at not in mounted)]:
        try:
            outcome = _unmounted(at, lazy)
        except IpfsfsError as error:
            failed = failed or error
            render.report(error)
            told.append(_left(at, error))
            continue
        told.append(_facts(outcome))
        if not as_json:
            _print(outcome)
    if as_json:
        tell(told)
    elif not told:
        click.echo("Nothing of yours is mounted.")
    if failed is not None:
        raise SystemExit(failed.exit_code)


def _unmounted(at: Path, lazy: bool) -> Outcome:
    # First: a daemon that is being started again in this moment does not go on without the note.
    ended = aftermath.forget_end(at)
    view = mounts.view_at(at)
    if view is not None:
        outcome = _take_away(at, view, lazy)
    else:
        around = mounts.view_over(at)
        if around is not None:
            raise UsageError(
                f"{at} lies in the view of {around.mountpoint}",
                hint=f"To unmount that view: {command('umount', around.mountpoint)}",
            )
        must_be_directory(at)
        below = mounts.views_below(at)
        outcome = Outcome(at, "is not mounted: it is the plain directory", was_mounted=False, views_below=below)
        if ended is not None:
            outcome.words += f", since its daemon {ended.in_words} at {ended.when}"
    outcome.left = NotHere.of(at, outcome.origins, outcome.site)
    return outcome


def _take_away(at: Path, view: mounts.Mount, lazy: bool) -> Outcome:
    must_answer_us(view)
    if not lazy and not mounts.answers(view):
        remains.unmount(view, lazy=True)
        return Outcome(at, "is the plain directory again; the daemon behind its view had died")
    try:
        click.echo("Saving seals and unmounting ...", err=True)
        said = _ask(view, lazy)
    except NoAnswer:
        # The daemon just went, or hangs, or its store is gone. It ends with its mount.
        if mounts.view_at(at) is None:
            return Outcome(at, "is the plain directory again")
        remains.unmount(view, lazy=lazy)
        return _unasked(at, view)
    outcome = Outcome(at, "is the plain directory again")
    if said is not None:
        outcome.open_files, outcome.users, outcome.places = said.open_files, list(said.users), list(said.places)
        if said.over:
            _wait_for(said.pid)
            _wait_for(said.guardian)  # it has the store open: the disk below could not be unmounted before it ends
        else:
            outcome.pid = said.pid
        outcome.origins, outcome.site = said.origins, said.site
    elif mounts.view_at(at) is not None:
        raise NoAnswer(
            f"the daemon of {view.owner_in_words} did not unmount {at}",
            hint=f"To unmount it without its daemon: umount -l {shell(at)}",
        )
    return outcome


def _ask(view: mounts.Mount, lazy: bool) -> Answer | None:
    """What our daemon says of files that are still open; None from another user's, whose words count for nothing."""
    question = Question(lazy=lazy)
    if view.is_of_another:
        ask_another(view, question, patience_s=_LAZY_S if lazy else _ANOTHERS_S, in_all_s=_ANOTHERS_S)
        return None
    return ask(view.store, question, patience_s=_LAZY_S) if lazy else ask(view.store, question)


def _unasked(at: Path, view: mounts.Mount) -> Outcome:
    """After an unmount of which the daemon was not told: whoever uses the view keeps it from ending."""
    users = [str(user) for user in outsiders.users_of(view.mount_id, view.device, at)]
    words = "is the plain directory again; its daemon does not answer, and ends when it does"
    return Outcome(at, words, open_files=None, users=users, places=outsiders.other_places(view.mount_id, view.device))


def _facts(outcome: Outcome) -> Facts:
    return Facts(
        outcome.mountpoint, outcome.was_mounted, outcome.goes_on, outcome.pid, outcome.open_files,
        tuple(outcome.users), tuple(outcome.places), outcome.left.as_facts(), None, tuple(outcome.views_below),
    )  # fmt: skip


def _left(at: Path, error: IpfsfsError) -> Facts:
    """Of a view that could not be unmounted."""
    is_mounted = mounts.view_at(at) is not None
    return Facts(at, is_mounted, is_mounted, None, None, (), (), (), Failure.of(error))


def _print(outcome: Outcome) -> None:
    click.echo(f"{printable(str(outcome.mountpoint))} {outcome.words}.")
    if outcome.views_below:
        click.echo("What is mounted below it stays. To unmount that:")
        for view in outcome.views_below:
            click.echo(f"  {command('umount', view)}")
    if outcome.places:
        click.echo("The view is still mounted elsewhere:")
        for place in outcome.places:
            click.echo(f"  {printable(place)}")
    if outcome.goes_on and outcome.pid is not None:
        count = outcome.open_files or 0
        files = counted(count, "file is", "files are")
        until = "they are closed" if count != 1 else "it is closed"
        what = f"{files} still open" if count else "The view is still in use"
        click.echo(f"{what}: the daemon (process {outcome.pid}) goes on until {until if count else 'that ends'}.")
    for user in outcome.users:
        click.echo(f"  {printable(user)}")
    for line in outcome.left.in_words():
        click.echo(line)


def _wait_for(pid: int) -> None:
    """Wait until a process is gone."""
    with suppress(ProcessLookupError):
        daemon = os.pidfd_open(pid)
        try:
            gone = select.poll()
            gone.register(daemon, select.POLLIN)
            gone.poll(_GONE_S * 1000)
        finally:
            os.close(daemon)
