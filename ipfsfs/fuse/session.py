"""A session with the kernel, from the mounted descriptor to the end of the requests."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyfuse3
import trio

from ipfsfs.errors import MountError
from ipfsfs.fuse import turns, unheard
from ipfsfs.fuse.leading import Leading
from ipfsfs.fuse.mountpoint import mount, unmount
from ipfsfs.fuse.negotiate import PASSTHROUGH, Exchange
from ipfsfs.fuse.operations import Operations
from ipfsfs.fuse.passthrough import Passthrough
from ipfsfs.fuse.reading_threads import ReadingThreads
from ipfsfs.fuse.replies import Replies
from ipfsfs.plain.mount_table import SUBTYPE
from ipfsfs.view.view import View

log = logging.getLogger(__name__)

_TASKS: Final = 4096
"""Requests in progress at once (pyfuse3's default is 99): those that wait for a disk must not stop the others (H2)."""
_IDLE_TASKS: Final = 16
_PATIENCE_S: Final = 10.0
"""How long the negotiation may take: both sides of it are on this machine."""


@dataclass(slots=True, frozen=True)
class Where:
    """What to mount, and how. `source` is what the mount table is to show as the device, `directory` a descriptor of
    what is at the mount point.

    `negotiate`: ask the kernel for more than pyfuse3 does, where that can be done. `native`: among it, that it may read
    files beneath itself.
    """

    mountpoint: Path
    directory: int
    source: str
    allow_other: bool
    read_only: bool
    acl: bool
    negotiate: bool
    native: bool


@asynccontextmanager
async def session(view: View, where: Where) -> AsyncIterator[tuple[list[str], trio.Event]]:
    """Mount, and answer the kernel's requests while the block runs. Unmounting is the caller's.

    Yields the features won in the negotiation, or why there was none, and an event that is set when the kernel has
    ended the session, because somebody unmounted. Raises MountError where nothing can be mounted.
    """
    replies = Replies()
    threads = ReadingThreads(view.counts)
    leading = Leading(threads, view.handles)
    operations = Operations(view, replies, threads, leading, acl=where.acl)
    ended = trio.Event()
    turns.install(replies, leading)
    unheard.install()
    with ExitStack() as after:
        async with trio.open_nursery() as nursery:
            features = await _begin(operations, where, nursery, ended)
            # Once no handler is left: each replies by what is freed here. It is fatal where nothing was begun.
            after.callback(replies.close)
            after.callback(pyfuse3.close, unmount=False)
            try:
                if PASSTHROUGH in features:
                    view.native.begin(Passthrough(replies.device))
                if (device := replies.device_of_ours()) >= 0:
                    await _begin_threads(threads, leading, device, where, nursery)
                yield features, ended
                nursery.cancel_scope.cancel()
            finally:
                view.native.end()
                leading.end()
                pyfuse3.terminate()  # no handler that ends after this reads another request
                replies.end()


async def _begin_threads(
    threads: ReadingThreads, leading: Leading, device: int, where: Where, nursery: trio.Nursery
) -> None:
    try:
        await nursery.start(threads.run, device)
        leading.begin()
    except MountError:
        unmount(where.mountpoint, lazy=True)
        raise


async def _begin(operations: Operations, where: Where, nursery: trio.Nursery, ended: trio.Event) -> list[str]:
    if not where.negotiate:
        return _begin_as_pyfuse3_does(operations, where, nursery, ended, "not asked for")
    device = mount(
        where.mountpoint,
        where.source,
        allow_other=where.allow_other,
        read_only=where.read_only,
        directory=where.directory,
    )
    exchange = Exchange.prepare(device)
    serving = trio.CancelScope()
    try:
        pyfuse3.init(operations, f"/dev/fd/{exchange.stand_in}", set())
        nursery.start_soon(_serve, serving, ended)
        with trio.fail_after(_PATIENCE_S):
            return await exchange.run(where.mountpoint, operations.replies, native=where.native)
    except (MountError, OSError, RuntimeError, trio.TooSlowError) as error:
        log.warning("no negotiation of our own: %s; the view is served as pyfuse3 does it", error)
        serving.cancel()
        exchange.close()
        unmount(where.mountpoint, lazy=True)
        pyfuse3.close(unmount=False)
        return _begin_as_pyfuse3_does(operations, where, nursery, ended, str(error))


def _begin_as_pyfuse3_does(
    operations: Operations, where: Where, nursery: trio.Nursery, ended: trio.Event, reason: str
) -> list[str]:
    """Let pyfuse3 mount and negotiate. Raises MountError."""
    source = where.source.replace("\\", "\\\\").replace(",", "\\,")
    options = {f"fsname={source}", f"subtype={SUBTYPE}"}
    if where.allow_other:
        options |= {"allow_other", "default_permissions"}
    if where.read_only:
        options.add("ro")
    try:
        # As `mount`: root does not go by the path. fusermount3, which mounts for others, cannot go by a descriptor.
        over = f"/proc/self/fd/{where.directory}" if os.geteuid() == 0 else str(where.mountpoint)
        pyfuse3.init(operations, over, options)
    except (RuntimeError, UnicodeEncodeError) as error:
        raise MountError(f"pyfuse3 cannot mount over {where.mountpoint}: {error}") from error
    nursery.start_soon(_serve, trio.CancelScope(), ended)
    return [f"pyfuse3's own INIT: {reason}"]


async def _serve(scope: trio.CancelScope, ended: trio.Event) -> None:
    with scope:
        await pyfuse3.main(min_tasks=_IDLE_TASKS, max_tasks=_TASKS)
        ended.set()


def raise_readahead(mount_dev: int) -> None:
    """Let the kernel read ahead 4 MiB of a file instead of 128 KiB, as root; more than that was no faster."""
    path = f"/sys/class/bdi/{os.major(mount_dev)}:{os.minor(mount_dev)}/read_ahead_kb"
    try:
        with open(path, "w", encoding="ascii") as setting:
            setting.write("4096")
    except OSError as error:
        log.info("read-ahead stays as it is: %s: %s", path, error.strerror)
