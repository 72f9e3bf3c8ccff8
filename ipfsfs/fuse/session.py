"""A session with the kernel, from the mounted descriptor to the end of the requests."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pyfuse3
import trio

from ipfsfs.fuse import turns
from ipfsfs.fuse.negotiate import Exchange
from ipfsfs.fuse.operations import Operations
from ipfsfs.view.view import View

log = logging.getLogger(__name__)

_TASKS: Final = 4096
"""Requests in progress at once (pyfuse3's default is 99): those that wait for a disk must not stop the others (H2)."""
_IDLE_TASKS: Final = 16


@asynccontextmanager
async def session(
    view: View, mountpoint: Path, device: int, *, acl: bool
) -> AsyncIterator[tuple[list[str], trio.Event]]:
    """Answer the kernel's requests on `device`, which becomes ours, while the block runs.

    Yields the features won in the negotiation, and an event that is set when the kernel has ended the session, because
    somebody unmounted. Raises MountError where the session cannot begin.
    """
    turns.install()
    exchange = Exchange.prepare(device)
    pyfuse3.init(Operations(view, acl=acl), f"/dev/fd/{exchange.stand_in}", set())
    ended = trio.Event()
    try:
        async with trio.open_nursery() as nursery:

            async def serve() -> None:
                await pyfuse3.main(min_tasks=_IDLE_TASKS, max_tasks=_TASKS)
                ended.set()

            nursery.start_soon(serve)
            yield await exchange.run(mountpoint), ended
            nursery.cancel_scope.cancel()
    finally:
        pyfuse3.close(unmount=False)


def raise_readahead(mount_dev: int) -> None:
    """Let the kernel read ahead 4 MiB of a file instead of 128 KiB, as root; more than that was no faster (fuse.md)."""
    path = f"/sys/class/bdi/{os.major(mount_dev)}:{os.minor(mount_dev)}/read_ahead_kb"
    try:
        with open(path, "w", encoding="ascii") as setting:
            setting.write("4096")
    except OSError as error:
        log.info("read-ahead stays as it is: %s: %s", path, error.strerror)
