"""`ipfsfs fsck`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import click

from ipfsfs.caches.place import Place, locate
from ipfsfs.cli import render, stores
from ipfsfs.cli.opened import Opened
from ipfsfs.cli.paths import PATH, Target, mountpoint, must_be_directory
from ipfsfs.cli.scripts import FLAT, Form, tell, tells
from ipfsfs.daemon import mounts
from ipfsfs.errors import MountError, StoreBusy, UsageError
from ipfsfs.exchange.findings import Recorded
from ipfsfs.plain import tree
from ipfsfs.plain.directory import PlainDirectory
from ipfsfs.printed import command, printable
from ipfsfs.store import check
from ipfsfs.store.check import Problem, Remedy
from ipfsfs.store.layout import Store

_LOCKED_S = 2.0


@dataclass(slots=True, frozen=True)
class Found:
    """Something wrong with the store; `inode` is that of the file whose seal it is. `remedy`: what --repair does, in
    words."""

    where: str
    what: str
    inode: int | None
    mended: bool
    remedy: str


@dataclass(slots=True, frozen=True)
class Compared:
    """Files that are sealed and unchanged, without a seal, changed since, and sealed and gone."""

    sealed: int
    unsealed: int
    changed: int
    gone: int


@dataclass(slots=True, frozen=True)
class Facts:
    """What is wrong with the store, and how much of that is `left`; files that lie under a hidden name; and how the
    index compares with the directory, all null where there is none to compare."""

    store: Path
    problems: tuple[Found, ...]
    left: int
    withdrawn: tuple[Recorded, ...]
    compared: Compared | None = field(metadata={FLAT: Compared})


@click.command(
    short_help="Check a store, and compare it with its directory.",
    epilog="Example: ipfsfs fsck ~/.cache/huggingface --repair",
)
@click.argument("path", type=PATH, required=False)
@click.option(
    "--store", type=PATH, help="The store to check (default: that of the last view of PATH, else the one beside it)."
)
@click.option("--repair", is_flag=True, help="Repair what can be repaired in the store. Your files are not touched.")
@tells(Form(Facts))
def fsck(path: Path | None, store: Path | None, repair: bool, as_json: bool) -> None:
    """Check the store of PATH, and compare it with the directory. PATH must not be mounted.

    Files without a seal, or changed since they were sealed, are counted but are not a problem: the next mount seals
    them. Exit code 1 if a problem is left.
    """
    at = _target(path, store)
    plain = PlainDirectory.open(at.root)
    root = plain.root
    plain.close()
    opened = Store.open(at.store, create=False, wait_s=_LOCKED_S)
    try:
        problems = check.check(opened, plain_root=root)
        if repair:
            check.repair(opened, problems, plain_root=root)
            left = check.check(opened, plain_root=root)
        else:
            left = problems
        withdrawn = [Recorded.of(finding) for finding in check.withdrawn(opened)]
    finally:
        opened.close()
    withdrawn = [item for item in withdrawn if os.path.lexists(at.root / item.path)]
    is_lost = any(problem.remedy in (Remedy.NEW_LEDGER, Remedy.NEW_INDEX) for problem in left)
    facts = Facts(
        at.store,
        tuple(_found(problem, mended=repair and problem not in left) for problem in problems),
        len(left),
        tuple(withdrawn),
        None if is_lost else _compare(at, repair),
    )
    if as_json:
        tell(facts)
    else:
        _print(facts, repair)
        for item in withdrawn:
            click.echo(item.line(at.root))
    if left:
        raise SystemExit(1)


def _target(path: Path | None, store: Path | None) -> Target:
    """The directory and the store to check; one is found from the other where only one is named."""
    if path is None:
        if store is None:
            raise UsageError("name a PATH, or a --store", hint=f"For example: {command('fsck ~/.cache/huggingface')}")
        path = store.with_name(store.name.removesuffix(".ipfsfs"))
        if path == store or not path.is_dir():
            raise UsageError(
                f"cannot tell which directory {store} is the store of", hint=f"Name it: {command('fsck PATH ...')}"
            )
    root = mountpoint(path)
    view = mounts.view_at(root)
    if view is not None:
        raise StoreBusy(
            f"{root} is mounted, and its store is in use",
            hint=f"Unmount it first: {command('umount', root)}. "
            f"To check the files of a mounted view: {command('verify', root)}",
        )
    must_be_directory(root)
    named = mountpoint(store) if store is not None else stores.of_moved(root).warned()
    if not os.path.lexists(named):
        raise MountError(
            f"{root} has no store at {named}: there is nothing to check",
            hint="Is the path right? A store elsewhere is named with --store." if store is None else "",
        )
    return Target(root, "", named, None, is_store_named=store is not None)


def _compare(at: Target, repair: bool) -> Compared:
    """The index against the directory; with `repair`, seals of files that are gone go too."""
    with Opened.at(at) as opened:
        compared = check.compare(opened.index, _sealable(opened.plain, opened.place))
        if repair:
            opened.index.drop(compared.gone)
        return Compared(compared.sealed, len(compared.unsealed), len(compared.changed), len(compared.gone))


def _sealable(plain: PlainDirectory, place: Place) -> Iterator[tree.Found]:
    for batch in tree.regular_files(plain.fd):
        for found in batch:
            if isinstance(found, tree.Found) and locate(found.path, place)[1].is_sealed:
                yield found


def _found(problem: Problem, *, mended: bool) -> Found:
    return Found(problem.where, problem.what, problem.ino or None, mended, problem.remedy.value)


def _print(facts: Facts, repair: bool) -> None:
    for problem in facts.problems:
        line = f"{problem.where}: {problem.what}" + (f" (inode {problem.inode})" if problem.inode else "")
        if problem.mended:
            line += ": mended"
        elif problem.remedy:
            line += f". --repair would {problem.remedy}." if not repair else ": could not be mended"
        click.echo(printable(line))
    if (compared := facts.compared) is not None:
        click.echo(
            f"Sealed and unchanged: {render.files(compared.sealed)}; changed since: {compared.changed:,}; "
            f"not sealed yet: {compared.unsealed:,}; sealed and gone: {compared.gone:,}."
        )
    if not facts.left:
        click.echo("The store is sound." if not facts.problems else "The store is sound again.")
