"""`ipfsfs log`."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, TextIO

import click

from ipfsfs.cli import stores
from ipfsfs.cli.aftermath import Aftermath
from ipfsfs.cli.paths import PATH, STORE, mountpoint, must_be_directory, must_be_its_store, must_be_ours
from ipfsfs.cli.scripts import Form, tell, tells
from ipfsfs.cli.sources import chosen_view
from ipfsfs.cli.usual import hub_home
from ipfsfs.daemon import mounts, register
from ipfsfs.daemon.log_lines import LEVELS, STAMP
from ipfsfs.errors import MountError
from ipfsfs.printed import command, printable
from ipfsfs.store.layout import LOG_NAME

_AGAIN_S: Final = 0.25
"""How often a log is looked at that is followed."""
_LINES: Final = 100
_JOURNAL: Final = ("journalctl --user -u 'ipfsfs*'", "journalctl -u 'ipfsfs*'")
"""As a user, and as root."""


@dataclass(slots=True, frozen=True)
class Facts:
    """A line of the log. `when`: in seconds since the epoch. `when` and `level` are null for a line that goes on with
    the one before, as those of a traceback do."""

    when: int | None
    level: str | None
    text: str

    @classmethod
    def of(cls, line: str) -> Facts:
        """What a line of a log says."""
        stamp, _, rest = line.partition(" ")
        level, _, text = rest.partition(" ")
        if level in LEVELS:
            with suppress(ValueError, OverflowError):
                return cls(int(time.mktime(time.strptime(stamp, STAMP))), level, text)
        return cls(None, None, line)


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
@tells(
    Form(Facts, when="one in a line for each line of the log"), help="Print facts for scripts: one object in a line."
)
def log(path: Path | None, follow: bool, lines: int, store: Path | None, as_json: bool) -> None:
    """Show what the daemon of the view that PATH lies in has logged, or, where none is mounted, the last one at PATH.

    Without PATH it is the view of the current directory, else the only one; where none is mounted, the one whose daemon
    ended unasked, else that of the Hugging Face cache. A daemon in the foreground, as systemd starts it, logs to stderr
    instead: see `journalctl`.
    """
    at = _store(path, store) / "log" / LOG_NAME
    try:
        fd = _opened(at)
    except OSError as error:
        raise MountError(
            f"there is no log at {at}: {error.strerror}",
            hint=f"A daemon that systemd started logs to the journal: {_JOURNAL[os.geteuid() == 0]}. "
            f"To see what is mounted: {command('status')}",
        ) from error
    with suppress(KeyboardInterrupt):
        for line in _lines(fd, at, lines, follow=follow):
            if as_json:
                tell(Facts.of(line), in_a_line=True)
            else:
                click.echo(printable(line))
            if follow:
                sys.stdout.flush()


def _store(path: Path | None, store: Path | None) -> Path:
    if path is None and store is not None:
        return mountpoint(store)
    if path is None and mounts.our_views():
        return chosen_view(None, named=partial(command, "log")).store
    at = mountpoint(path if path is not None else _last())
    view = mounts.view_over(at)
    if view is not None:
        must_be_ours(view)
        must_be_its_store(view, store)
        return view.store
    must_be_directory(at)
    return mountpoint(store) if store is not None else stores.of_moved(at).warned()


def _last() -> Path:
    """The directory that is meant where none is named and none is mounted. It is said on stderr."""
    ended = [entry.mountpoint for entry in register.entries() if Aftermath.of(entry.store).ended is not None]
    at = ended[0] if len(ended) == 1 else mountpoint(hub_home())
    if not stores.is_store(stores.of_moved(at).store):
        return chosen_view(None).mountpoint  # which says that there is none, and how to have one
    click.echo(printable(f"ipfsfs: nothing is mounted; this is the log of {at}"), err=True)
    return at


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
