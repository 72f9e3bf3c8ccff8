"""`ipfsfs ls`."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ipfsfs.cli.overview import CacheFacts, overview
from ipfsfs.cli.paths import STORE, located, must_be_there
from ipfsfs.cli.scripts import Form, tell, tells
from ipfsfs.cli.sources import VIEW, chosen_view
from ipfsfs.daemon import mounts
from ipfsfs.errors import UsageError
from ipfsfs.exchange import naming
from ipfsfs.exchange.naming import ContentName
from ipfsfs.exchange.paths import unreachable
from ipfsfs.printed import command, printable
from ipfsfs.unixfs import cid as cids

if TYPE_CHECKING:
    from ipfsfs.unixfs.tree_walk import TreeEntry


@dataclass(slots=True, frozen=True)
class Named:
    """A name in a directory. `size`: bytes of a file, None where that is not known. `cid`: as text, empty where it has
    none. `target`: of a link."""

    name: str
    kind: str
    size: int | None
    cid: str
    target: str = ""


@dataclass(slots=True, frozen=True)
class Facts:
    """A name in a directory; `directory` is as that was named, `target` of a link."""

    directory: str
    name: str
    type: str
    size: int | None
    cid: str | None
    target: str | None


@click.command(
    short_help="Show the models and datasets in the cache, or list a directory.",
    epilog="Example: ipfsfs ls",
)
@click.argument("directories", metavar="[CID|PATH]...", nargs=-1)
@VIEW
@STORE
@tells(Form(CacheFacts, is_list=True, when="without CID and PATH"), Form(Facts, is_list=True, when="with CID or PATH"))
def ls(directories: tuple[str, ...], path: Path | None, store: Path | None, as_json: bool) -> None:
    """Without CID or PATH: show which models, datasets and spaces are in the cache, each with all its revisions. What
    is in none of them is one line, and so are downloads that are not finished. Each mounted view of this user is shown,
    and each that root has mounted for all; with --view that one only, or a directory that is not mounted.

    \b
    SIZE       of all files in it; a file that several revisions have counts
               once
    HERE       how much of that is on this machine
    SHARED     how much of that another line holds too: a blob of the same name,
               a hard link, or a link to the same file of the client's shared
               store
    PINNED     whether a pin keeps it here
    LAST USED  when a file of it was read or written last

    With CID or PATH: list the names in each directory, with type, size in bytes, and CID. A directory is named by its
    CID (or ipfs://CID, /ipfs/CID/PATH, /ipns/NAME), or by its path in a mounted view. A path that reads like a CID is
    written with ./ before it. What is not here is had from the origins of the view.
    """
    if not directories:
        overview(path, store, as_json)
        return
    listed = [(text, _list(text, path)) for text in directories]
    if as_json:
        tell([_facts(text, one) for text, names in listed for one in names])
        return
    for number, (text, names) in enumerate(listed):
        if len(listed) > 1:
            click.echo(("\n" if number else "") + f"{printable(text)}:")
        for one in names:
            size = "-" if one.size is None else str(one.size)
            shown = printable(one.name) + (f" -> {printable(one.target)}" if one.target else "")
            click.echo(f"{one.kind:<9}  {size:>14}  {one.cid or '-':<59}  {shown}")


def _facts(text: str, one: Named) -> Facts:
    return Facts(text, one.name, one.kind, one.size, one.cid or None, one.target if one.kind == "link" else None)


def _list(text: str, view: Path | None) -> list[Named]:
    name = naming.parse(text)
    if name is not None:
        import trio

        return sorted(trio.run(_list_content, chosen_view(view), name), key=lambda one: one.name)
    at = located(Path(text))
    if mounts.view_over(at) is None:
        must_be_there(at)
    try:
        with os.scandir(at) as entries:
            return sorted(those_there(entries), key=lambda one: one.name)
    except OSError as error:
        raise unreachable(at, error) from error


async def _list_content(view: mounts.Mount, name: ContentName) -> list[Named]:
    from ipfsfs.daemon.sources import sources
    from ipfsfs.origins import dag

    async with sources(view) as at:
        root = await at.resolve(name)
        found = [entry async for batch in dag.tree(at.origin, root, 1) for entry in batch]
        if found and not found[0].path:
            if found[0].kind != "directory":
                raise UsageError(f"{name.shown} is a file", hint=f"To see its bytes: {command('cat CID')}")
            found = found[1:]
        return [_of(entry) for entry in found]


def _of(entry: TreeEntry) -> Named:
    kind = "link" if entry.kind == "symlink" else entry.kind
    return Named(os.fsdecode(entry.path), kind, entry.size, cids.to_text(entry.cid), os.fsdecode(entry.target))


def those_there(entries: Iterable[os.DirEntry[str]]) -> Iterator[Named]:
    """Those that are there still when they are looked at: clients rename and remove while a directory is listed."""
    for entry in entries:
        with suppress(FileNotFoundError):
            yield _entry(entry)


def _entry(entry: os.DirEntry[str]) -> Named:
    """A name in a mounted view; its CID is what the view says. Raises OSError."""
    if entry.is_symlink():
        try:
            return Named(entry.name, "link", None, "", os.readlink(entry.path))
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise  # EINVAL: a file has taken the link's place since
    try:
        root = os.getxattr(entry.path, cids.XATTR).decode("ascii", "replace")
    except OSError:
        root = ""
    if entry.is_dir():
        return Named(entry.name, "directory", None, root)
    return Named(entry.name, "file", entry.stat().st_size, root)
