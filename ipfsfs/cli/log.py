"""`ipfsfs log`."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, TextIO

import click

from ipfsfs.cli import stores
from ipfsfs.cli.paths import PATH, STORE, mountpoint, must_be_its_store, must_be_ours, must_be_there
from ipfsfs.cli.sources import chosen_view
from ipfsfs.daemon import mounts
from ipfsfs.errors import MountError
from ipfsfs.printed import command, printable
from ipfsfs.store.layout import LOG_NAME

_AGAIN_S: Final = 0.25
"""How often a log is looked at that is followed."""
_LINES: Final = 100


@click.command(short_help="Show what the daemon of a view has logged.", epilog="Example: ipfsfs log -f")
@click.argument("path", type=PATH, required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on with what is logged from now on, until Ctrl-C.")
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(min=0),
    default=_LINES,
    show_default=True,
    metavar="NUMBER",
    help="How many of the last lines are shown.",
)
@STORE
def log(path: Path | None, follow: bool, lines: int, store: Path | None) -> None:
    """Show what the daemon of the view that PATH lies in has logged, or, where none is mounted, the last one at PATH.

    Without PATH it is the view of the current directory, else the only one. A daemon in the foreground, as systemd
    starts it, logs to stderr instead: see `journalctl`.
    """
    at = _store(path, store) / "log" / LOG_NAME
    try:
        fd = _opened(at)
    except OSError as error:
        raise MountError(
            f"there is no log at {at}: {error.strerror}",
            hint="A daemon that systemd started logs to the journal: journalctl --user -u 'ipfsfs*'. "
            f"To see what is mounted: {command('status')}",
        ) from error
    with suppress(KeyboardInterrupt):
        for line in _lines(fd, at, lines, follow=follow):
            click.echo(printable(line))
            if follow:
                sys.stdout.flush()


def _store(path: Path | None, store: Path | None) -> Path:
    if path is None:
        return mountpoint(store) if store is not None else chosen_view(None).store
    at = mountpoint(path)
    view = mounts.view_over(at)
    if view is not None:
        must_be_ours(view)
        must_be_its_store(view, store)
        return view.store
    must_be_there(at)
    return mountpoint(store) if store is not None else stores.of_moved(at).warned()


def _opened(at: Path) -> int:
    return os.open(at, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _lines(fd: int, at: Path, last: int, *, follow: bool) -> Iterator[str]:
    """The last lines of a log; then, if `follow`, each that is added, to the log or to the one that takes its place
    when it is full."""
    file = _text(fd)
    try:
        yield from (line.rstrip("\n") for line in deque(file, maxlen=last))
        part = ""
        while follow:
            is_over = _is_replaced(file.fileno(), at)  # asked before what is left of it is read
            for text in file:
                part += text
                if part.endswith("\n"):
                    yield part.rstrip("\n")
                    part = ""
            if is_over:
                file.close()
                file = _text(_opened(at))
            else:
                time.sleep(_AGAIN_S)
    finally:
        file.close()


def _text(fd: int) -> TextIO:
    return open(fd, encoding="utf-8", errors="backslashreplace", newline="\n")


def _is_replaced(fd: int, at: Path) -> bool:
    try:
        return not os.path.samestat(os.fstat(fd), os.stat(at))
    except OSError:
        return False
