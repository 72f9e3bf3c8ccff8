"""Paths as users give them, and the view that a path belongs to."""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final

import click

from ipfsfs.cli import stores
from ipfsfs.daemon import mounts
from ipfsfs.errors import MountError, UsageError
from ipfsfs.exchange.paths import unreachable
from ipfsfs.printed import command

_LINKS_MOST: Final = 40
"""As many as the kernel follows."""


class _NotLookedAt(click.Path):
    """A path that is not looked at: in a view whose daemon hangs, that would not come back."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path = os.fsdecode(value)
        if not path:  # as from a script whose variable is not set: it must not mean the current directory
            self.fail("an empty path names nothing", param, ctx)
        # A shell leaves `~/` as it is in `--store=~/DIR`; where an argument begins with it, it was quoted.
        return Path(os.path.expanduser(path) if isinstance(param, click.Option) else path)


PATH = _NotLookedAt()


class Links(Enum):
    """What a path means whose last part is a symlink."""

    FOLLOWED = "what it leads to"
    NAMED = "the link itself"


LINKS = click.option(
    "--no-dereference",
    "links",
    flag_value=Links.NAMED,
    type=click.UNPROCESSED,
    default=Links.FOLLOWED,
    help="Take a symlink for the link itself, not for what it leads to.",
)


STORE = click.option("--store", type=PATH, help=stores.OPTION_HELP)


def mountpoint(path: Path) -> Path:
    """A mount point as the kernel names it: absolute, without symlinks. It need not exist, nor answer."""
    parent = Path(os.path.realpath(path.parent))
    below = parent / path.name if path.name not in ("", "..") else Path(os.path.realpath(path))
    if mounts.view_at(below) is not None:
        return below  # not looked at: its daemon may be dead, or hang
    # The last component may be a symlink to the directory.
    try:
        return Path(os.path.realpath(below, strict=True))
    except OSError:
        return below


def located(path: Path, links: Links = Links.FOLLOWED) -> Path:
    """Where that lies which `path` means, for who runs the command: absolute, with no symlink on the way. What it is
    follows from there and from no name of a link. Where nothing is, the path as it was named.

    Raises UsageError for a link that leads nowhere, IpfsfsError for one that leads out of reach.
    """
    named = Path(os.path.realpath(path.parent)) / path.name if path.name not in ("", "..") else path.resolve()
    if links is Links.NAMED or mounts.view_at(named) is not None:
        return named  # a view is not looked at: its daemon may be dead, or hang
    try:
        return Path(os.path.realpath(named, strict=True))
    except OSError as error:
        if not os.path.islink(named):
            return named
        from ipfsfs.unixfs.reference import parse  # imported here: seldom needed, and every command waits for it

        at = _end_of_links(named)
        if parse(os.fsencode(os.readlink(at))) is not None:
            return at  # it stands for a file, which a view would show
        raise unreachable(f"{named}, a link to {os.readlink(named)}", error) from error


def _end_of_links(link: Path) -> Path:
    """The last of the links that follow from one."""
    for _ in range(_LINKS_MOST):
        beyond = Path(os.path.realpath(link.parent / Path(os.readlink(link)).parent)) / Path(os.readlink(link)).name
        if not os.path.islink(beyond):
            break
        link = beyond
    return link


@dataclass(slots=True, frozen=True)
class Target:
    """A path, and where it lies: in a mounted view, or in a directory that has a store."""

    root: Path
    relative: str
    store: Path
    mount: mounts.Mount | None
    is_store_named: bool = False
    """By the user, so that nothing says that it is the store of this directory."""

    @property
    def path(self) -> bytes:
        """The path from the root, as a daemon is told it."""
        return os.fsencode(self.relative)


def target(path: Path, links: Links = Links.FOLLOWED, store: Path | None = None) -> Target:
    """The view in which that lies which `path` means; without one, the directory above it that has a store, or that
    `store` is of, which the user named.

    Raises MountError where there is neither, and as `located` does.
    """
    absolute = located(path, links)
    view = mounts.view_over(absolute)
    if view is not None:
        must_answer_us(view)
        must_be_its_store(view, store)
        return Target(view.mountpoint, _below(absolute, view.mountpoint), view.store, view)
    if store is not None:
        must_be_there(absolute)
        named = mountpoint(store)
        root = stores.root_of(named, absolute)
        return Target(root, _below(absolute, root), named, None, is_store_named=True)
    for find in (stores.of, stores.of_moved):
        for root in (absolute, *absolute.parents)[:-1]:
            chosen = find(root)
            if stores.is_store(chosen.store):
                return Target(root, _below(absolute, root), chosen.warned(), None)
    must_be_there(absolute)
    if below := mounts.views_below(absolute):
        each = "".join(f"\n  {view}" for view in below)
        raise MountError(f"{absolute} is in no mounted view; mounted below it are:{each}", hint="Say which is meant.")
    cache = _cache_over(absolute)
    raise MountError(
        f"{absolute} is in no mounted view, and no directory above it has a store",
        hint=f"Mount the cache first: {command('mount', cache)}"
        if cache is not None
        else f"To list the mounted views: {command('status')}",
    )


def _cache_over(path: Path) -> Path | None:
    """The cache directory that a path lies in, or is; None where nothing says that it is in one."""
    from ipfsfs.caches.registry import cache_over  # imported here: for an error alone

    told = [os.path.expanduser(os.environ.get("HF_HOME", "")), cache_over(os.fsencode(path))]
    for cache in [Path(os.fsdecode(cache)) for cache in told if cache]:
        if cache in (path, *path.parents):
            return cache
    return path if (path / "hub").is_dir() else None


def must_be_its_store(view: mounts.Mount, store: Path | None) -> None:
    """Raises UsageError where the user names another store than that of a mounted view."""
    if store is not None and mountpoint(store) != view.store:
        raise UsageError(
            f"{view.mountpoint} is mounted with the store {view.store}, not {store}", hint="Leave out --store."
        )


def must_answer_us(view: mounts.Mount) -> None:
    """Raises MountError for another user's view, whose daemon would not answer us. Root is answered by all."""
    if view.is_anothers:
        raise MountError(_anothers(view), hint="Its daemon answers that user and root.")


def must_be_ours(view: mounts.Mount) -> None:
    """Raises MountError for another user's view, for root as well: what its daemon says is that user's word."""
    must_answer_us(view)
    if view.is_of_another:
        raise MountError(
            _anothers(view),
            hint=f"Ask as that user: setpriv --reuid={view.owner} --clear-groups {command('...')}",
        )


def _anothers(view: mounts.Mount) -> str:
    return f"{view.mountpoint} is another user's view ({view.owner_in_words})"


def must_be_there(path: Path) -> None:
    """Raises UsageError where nothing is at a path, and IpfsfsError where it is out of reach.

    For what is known to lie in no view: a daemon that hangs would never answer this.
    """
    try:
        path.lstat()
    except OSError as error:
        raise unreachable(path, error) from error


def must_be_directory(path: Path) -> None:
    """The same where a directory is wanted: raises UsageError too for a file, and for a link that leads nowhere."""
    try:
        os.stat(f"{path}/.")
    except OSError as error:
        link = f", a link to {os.readlink(path)}" if os.path.islink(path) else ""
        raise unreachable(f"{path}{link}", error) from error


def _below(path: Path, root: Path) -> str:
    relative = os.path.relpath(path, root)
    return "" if relative == "." else relative
