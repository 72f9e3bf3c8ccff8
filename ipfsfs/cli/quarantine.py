"""`ipfsfs quarantine`: what was taken out of the way, the way back, and getting rid of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from ipfsfs.cli import render
from ipfsfs.cli.paths import PATH, STORE, Target, must_be_ours, target
from ipfsfs.cli.scripts import Form, tell, tells
from ipfsfs.cli.sources import chosen_view
from ipfsfs.daemon.client import ask
from ipfsfs.daemon.questions.quarantine import Answer, Question
from ipfsfs.errors import UsageError
from ipfsfs.exchange.kept_aside import Aside, Way
from ipfsfs.printed import command, printable, shell

_VIEW = click.option(
    "--view",
    "path",
    type=PATH,
    metavar="PATH",
    help="The view, by a path in it, or a directory that is not mounted "
    "(default: the view of the current directory, else the only one).",
)


@dataclass(slots=True, frozen=True)
class Item:
    """A file in the quarantine. `file`: where its bytes are. `path`: where it stood or was to stand, null where no note
    says that. `way`: `restore` puts it back at its path; `restored`: that has the same bytes; `copy`: it is not what
    its path promises, and who wants the bytes copies `file`."""

    stored_as: str
    file: Path
    size: int
    path: Path | None
    why: str
    when: str
    way: Way


@dataclass(slots=True, frozen=True)
class Facts:
    """What lies in a quarantine, or was removed of it. `size`: bytes that all in it takes on disk (afterwards), of at
    most `limit`."""

    store: Path
    size: int
    limit: int
    items: tuple[Item, ...]


@click.group(short_help="Show or remove what was taken out of the way.")
def quarantine() -> None:
    """Content that broke a promise, or that a promised file had before it was written over, is kept in the store and
    never served. When its limit is reached, the oldest goes (see `ipfsfs mount --quarantine-size`)."""


@quarantine.command(name="ls", short_help="Show what is in quarantine.", epilog="Example: ipfsfs quarantine ls")
@_VIEW
@STORE
@tells(Form(Facts))
def list_(path: Path | None, store: Path | None, as_json: bool) -> None:
    """Show each file in quarantine: where it stood or was to stand, why it is there, and how its bytes are had again.

    What its path promises is put back by `ipfsfs restore PATH`. Anything else is a file to be copied.
    """
    at, found = _asked(path, store, Question())
    if as_json:
        tell(_facts(at, found))
        return
    for item in _facts(at, found).items:
        for line in _lines(item):
            click.echo(printable(line))
    limit = f"{render.size(found.size)} of {render.size(found.limit)}"
    click.echo(f"{render.files(len(found.items))}, {limit}.")
    if found.items:
        click.echo(f"To remove some or all: {command('quarantine rm NAME...')}, or --all")


@quarantine.command(
    name="rm",
    short_help="Remove files from quarantine.",
    epilog="Example: ipfsfs quarantine rm --all --view ~/.cache/huggingface",
)
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--all", "remove_all", is_flag=True, help="Remove all that is there.")
@_VIEW
@STORE
@tells(Form(Facts))
def remove(names: tuple[str, ...], remove_all: bool, path: Path | None, store: Path | None, as_json: bool) -> None:
    """Remove files from quarantine, by their names there, for good.

    What `ipfsfs restore` could have put back from there is named: it needs an origin or the Hub for that now.
    """
    if bool(names) == remove_all:
        raise UsageError(
            "name what is to be removed, or say --all", hint=f"To see what is there: {command('quarantine ls')}"
        )
    at, done = _asked(path, store, Question(tuple(names), remove_all))
    for item in done.items:
        if item.way == "restore":
            said = f"{at.root / item.path} is wrong or missing, and {item.stored_as} can put it back no more"
            click.echo(printable(said), err=True)
    if as_json:
        tell(_facts(at, done))
        return
    freed = sum(item.size for item in done.items)
    click.echo(f"Removed {render.files(len(done.items))}, {render.size(freed)}.")


def _asked(path: Path | None, store: Path | None, question: Question) -> tuple[Target, Answer]:
    """What is said of the quarantine of a view, or of a directory that is not mounted."""
    if path is None and store is None:
        view = chosen_view(None)
        at = Target(view.mountpoint, "", view.store, view)
    else:
        at = target(path if path is not None else Path(), store=store)
    if at.mount is not None:
        must_be_ours(at.mount)
        return at, ask(at.store, question)
    return at, _look(at, question)


def _look(at: Target, question: Question) -> Answer:
    """Without a daemon."""
    from ipfsfs.cli.opened import Opened
    from ipfsfs.exchange import kept_aside
    from ipfsfs.store.quarantine import Quarantine

    with Opened.at(at) as opened:
        where = Quarantine(opened.store.quarantine_fd)
        findings = opened.ledger.findings
        names, whole = question.remove, question.remove_all
        items, usage = kept_aside.look(where, opened.plain, findings, names, remove_all=whole)
        return Answer(items, usage.size, usage.limit)


def _facts(at: Target, found: Answer) -> Facts:
    return Facts(at.store, found.size, found.limit, tuple(_item(at, item) for item in found.items))


def _item(at: Target, item: Aside) -> Item:
    file = at.store / "quarantine" / item.stored_as
    path = at.root / item.path if item.path else None
    return Item(item.stored_as, file, item.size, path, item.why, item.when, item.way)


def _lines(item: Item) -> Iterator[str]:
    yield f"{item.stored_as}  {render.size(item.size)}"
    if item.path is None:
        yield f"  nothing is noted of it. To have it: cp {shell(item.file)} NEW-NAME"
        return
    yield f"  {item.path}: {item.why} ({item.when})"
    match item.way:
        case "restore":
            yield f"  Put it back: {command('restore', item.path)}"
        case "restored":
            yield "  It is what that path promises, and nothing is known to be wrong there now."
        case "copy":
            yield f"  It is not what that path promises. To have it nevertheless: cp {shell(item.file)} NEW-NAME"
