"""`ipfsfs umount`."""

from __future__ import annotations

import os
import select
from contextlib import suppress
from pathlib import Path
from typing import Final

import click

from ipfsfs.cli.paths import PATH, mountpoint, must_be_ours, must_be_there
from ipfsfs.cli.render import printable, shell
from ipfsfs.daemon import mounts
from ipfsfs.daemon.client import ask
from ipfsfs.errors import MountError, UsageError
from ipfsfs.fuse import mountpoint as kernel

_GONE_S: Final = 10.0
_LAZY_S: Final = 5.0
"""How long the daemon may take before its view is taken away without asking it."""


@click.command(short_help="Take a view away again.", epilog="Example: ipfsfs umount ~/.cache/huggingface")
@click.argument("path", type=PATH)
@click.option("--lazy", is_flag=True, help="Give the path back at once, even while files in it are open.")
def umount(path: Path, lazy: bool) -> None:
    """Take the view at PATH away: PATH is the plain directory again, with everything in it.

    While files in it are open, the programs that hold them are named and nothing is done, except with --lazy.
    """
    at = mountpoint(path)
    view = mounts.view_at(at)
    if view is None:
        around = mounts.view_over(at)
        if around is not None:
            raise UsageError(
                f"{at} lies in the view of {around.mountpoint}",
                hint=f"To take that away: ipfsfs umount {shell(around.mountpoint)}",
            )
        must_be_there(at)
        click.echo(f"{printable(str(at))} is not mounted: it is the plain directory.")
        return
    must_be_ours(view)
    if not lazy and not mounts.answers(view):
        kernel.unmount(at, lazy=True)
        click.echo(f"{printable(str(at))} is the plain directory again; the daemon behind its view had died.")
        return
    try:
        click.echo("Writing down what was sealed, and unmounting ...", err=True)
        result = ask(view.store, {"command": "umount", "lazy": lazy}, patience_s=_LAZY_S if lazy else None)
        _wait_for(int(result["pid"]), lazy)
    except MountError:
        # Nobody to ask: the daemon just went, or hangs, or its store is gone. It ends with its mount.
        if mounts.view_at(at) is not None:
            kernel.unmount(at, lazy=lazy)
    click.echo(f"{printable(str(at))} is the plain directory again.")


def _wait_for(pid: int, lazy: bool) -> None:
    """Wait until a daemon is gone; one whose files are still open after a lazy unmount goes when they are closed."""
    with suppress(ProcessLookupError):
        daemon = os.pidfd_open(pid)
        try:
            gone = select.poll()
            gone.register(daemon, select.POLLIN)
            gone.poll(200 if lazy else _GONE_S * 1000)
        finally:
            os.close(daemon)
