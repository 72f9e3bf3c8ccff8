"""The life of a daemon: open what it stands on, mount, serve, and go without leaving anything half done."""

from __future__ import annotations

import errno
import gc
import logging
import math
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, Protocol

import trio

from ipfsfs.daemon import mounts, outsiders
from ipfsfs.daemon.config import Config
from ipfsfs.daemon.notify import tell_systemd
from ipfsfs.errors import MountError, StoreError
from ipfsfs.fuse import mountpoint
from ipfsfs.fuse.session import Where, raise_readahead, session
from ipfsfs.hubcache.classify import root_place
from ipfsfs.plain.directory import PlainDirectory
from ipfsfs.plain.ownership import Ownership
from ipfsfs.sealer.client import Sealer, open_sealer
from ipfsfs.store import quarantine, recovery
from ipfsfs.store.index import Index
from ipfsfs.store.layout import Store
from ipfsfs.store.ledger import Ledger
from ipfsfs.store.seal import boot_id
from ipfsfs.view.view import Foundation, View

log = logging.getLogger(__name__)

_GUARDIAN_AGAIN_S: Final = 1.0
_GUARDIAN_AGAIN_MOST_S: Final = 60.0
"""How long at least, and at most, nobody looks whether a guardian that was started again has ended as well."""
_SOON_S: Final = 0.2
"""The kernel ends a session this soon after an unmount, if nothing of it is in use."""
_LINGER_S: Final = 5.0
"""After a request to stop, files that are still open are served this long; their users are on plain disk after that."""


@dataclass(slots=True)
class Running:
    """A mounted view and all around it, while it runs."""

    config: Config
    store: Store
    view: View
    sealer: Sealer
    mount: mounts.Mount
    features: list[str]
    ended: trio.Event
    """Set by the kernel, when nothing of the view is in use any more."""
    over: trio.Event = field(default_factory=trio.Event)
    """Set when the view is at its path no more."""
    linger_s: float = math.inf
    """How long files that are open are served after that."""
    since: float = field(default_factory=time.time)

    @property
    def mounted(self) -> bool:
        """Whether the view is still at its path."""
        return any(mount.mount_id == self.mount.mount_id for mount in mounts.all_mounts())

    async def unmount(self, *, lazy: bool) -> None:
        """Unmount. Raises MountError; with who keeps it busy where files are open and it is not to be `lazy`."""
        await self.view.seals.flush()
        deadline = trio.current_time() + 2.0
        while True:
            try:
                await trio.to_thread.run_sync(partial(mountpoint.unmount, self.config.mountpoint, lazy=lazy))
                break
            except MountError as error:
                if not self.mounted:
                    break
                users = await trio.to_thread.run_sync(outsiders.users_of, self.mount)
                if users or trio.current_time() > deadline:
                    names = "\n".join(f"  {user}" for user in users)
                    raise MountError(
                        f"{self.config.mountpoint} is in use:\n{names}" if users else str(error),
                        hint="End these processes and try again, or use --lazy: the path becomes the plain directory "
                        "at once, and files that are open stay as they are.",
                    ) from error
                await trio.sleep(0.05)  # somebody who only just looked, such as the guardian
        with trio.move_on_after(_SOON_S):
            await self.ended.wait()
        self.over.set()


class Control(Protocol):
    """Answers the questions that are put to a view, until cancelled."""

    def __call__(self, running: Running, *, task_status: trio.TaskStatus[None]) -> Awaitable[None]: ...


async def serve(
    config: Config,
    plain: PlainDirectory,
    store: Store,
    ready: Callable[[Running], None],
    control: Control,
) -> None:
    """Mount and serve until unmounted or told to stop. `ready` is called when the view answers; `control` makes the
    task that answers questions meanwhile. Raises MountError and StoreError where it cannot begin."""
    ledger, index, degraded = _open_databases(store, plain)
    limit = _raise_descriptor_limit()
    ownership = Ownership.prepare()
    os.chdir("/")
    mount: mounts.Mount | None = None
    guardian = _start_guardian(config, store)
    try:
        async with open_sealer(plain.fd) as sealer, trio.open_nursery() as behind:
            foundation = Foundation(
                plain=plain,
                place=root_place(os.fsencode(config.mountpoint)),
                index=index,
                ledger=ledger,
                quarantine_fd=store.quarantine_fd,
                sealer=sealer,
                chunker=config.chunker,
                boot=boot_id(),
                ownership=ownership,
                descriptor_limit=limit,
                degraded=degraded,
            )
            view = View.build(foundation, behind.start_soon)
            where = Where(
                mountpoint=config.mountpoint,
                source=str(config.store),
                allow_other=config.allow_other,
                read_only=_read_only(plain),
                acl=config.allow_other and _has_acl(plain),
                negotiate=config.negotiate,
            )
            async with session(view, where) as (features, ended):
                mount = mounts.view_at(config.mountpoint)
                if mount is None:
                    raise MountError(f"{config.mountpoint} was mounted, and is not there any more")
                if os.geteuid() == 0:
                    raise_readahead(mount.device)
                running = Running(config, store, view, sealer, mount, features, ended)
                await _run(running, guardian, ready, control)
            behind.cancel_scope.cancel()
        view.close()
    finally:
        if mount is not None:
            _take_away(mount)
        if index is not None:
            index.close()
        ledger.close()


def _collect_seldom() -> None:
    """Tell Python's collector that what stands now stays, and to look for cycles seldom.

    A million nodes take half a second to look through, during which nobody is answered; they hold no cycles.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)


async def _run(
    running: Running, guardian: subprocess.Popen[bytes], ready: Callable[[Running], None], control: Control
) -> None:
    """Serve until the kernel ends the session, or a signal or a command asks for the end."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(running.view.run)
        await nursery.start(control, running)
        await nursery.start(_obey_signals, running)
        nursery.start_soon(_follow_kernel, running)
        nursery.start_soon(_keep_guardian, running, guardian)
        _collect_seldom()
        ready(running)
        tell_systemd(f"READY=1\nSTATUS=serving {running.config.mountpoint}")
        log.info("mounted %s, store %s, %s", running.config.mountpoint, running.config.store, running.features)
        await running.over.wait()
        tell_systemd("STOPPING=1")
        nursery.cancel_scope.cancel()
    log.info("unmounted %s", running.config.mountpoint)
    if not running.ended.is_set():
        await _linger(running)


async def _linger(running: Running) -> None:
    """The path has been given back while files in the view were open: serve those, and nothing else.

    The store is let go of, so that a new view can be mounted; what is still written is found and sealed by that one.
    """
    await running.view.give_up_seals_of_writers()
    running.view.seals.retire()
    running.store.unlock()
    log.info("files are still open; they are served until they are closed")
    with trio.move_on_after(running.linger_s):
        await running.ended.wait()
    if not running.ended.is_set():
        log.warning("files are still open in %s; their users lose them now", running.config.mountpoint)


async def _obey_signals(running: Running, task_status: trio.TaskStatus[None]) -> None:
    """On SIGTERM and its kin: give the path back at once, serve what is open a little longer, and go."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as received:
        task_status.started()
        async for number in received:
            log.info("%s: unmounting %s", signal.Signals(number).name, running.config.mountpoint)
            running.linger_s = _LINGER_S
            with suppress(MountError):
                await running.unmount(lazy=True)
            running.over.set()


async def _follow_kernel(running: Running) -> None:
    """The kernel has the last word: once nothing of the view is in use any more, the session ends."""
    await running.ended.wait()
    running.over.set()


def _open_databases(store: Store, plain: PlainDirectory) -> tuple[Ledger, Index | None, str]:
    """The ledger and the index. Without an index the view is degraded, without a ledger there is none."""
    ledger = recovery.open_ledger(store)
    with suppress(StoreError):  # `fsck` and `status` look there as well
        quarantine.tidy(store.quarantine_fd)
    try:
        index = recovery.open_index(store, ledger, plain_root=(plain.ino, plain.born_ns))
    except StoreError as error:
        log.error("%s; the view goes on without checks and seals. %s", error, error.hint)
        return ledger, None, str(error)
    if index.reason:
        log.warning("the index was made anew: %s", index.reason)
    return ledger, index, ""


def clear_stale(path: Path) -> None:
    """Unmount what a daemon that died left here. The store is ours, so nobody is behind it."""
    while (mount := mounts.view_at(path)) is not None:
        if mounts.answers(mount):
            raise MountError(f"{path} is mounted already, with the store {mount.store}")
        mountpoint.unmount(path, lazy=True)


def _take_away(mount: mounts.Mount) -> None:
    """However we got here, leave no mount of ours without a daemon."""
    with suppress(MountError, OSError):
        top = mounts.at(mount.mountpoint)
        if top is not None and top.mount_id == mount.mount_id:
            mountpoint.unmount(mount.mountpoint, lazy=True)


def _raise_descriptor_limit() -> int:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        return hard
    return soft


def _read_only(plain: PlainDirectory) -> bool:
    return bool(plain.statvfs().f_flag & os.ST_RDONLY)


def _has_acl(plain: PlainDirectory) -> bool:
    """Whether the filesystem beneath keeps POSIX ACLs."""
    try:
        os.getxattr(f"/proc/self/fd/{plain.fd}", "system.posix_acl_access")
    except OSError as error:
        return error.errno == errno.ENODATA
    return True


async def _keep_guardian(running: Running, guardian: subprocess.Popen[bytes]) -> None:
    """Have another guardian when the one there is ends: while there is a daemon, none does by itself."""
    wait_s = _GUARDIAN_AGAIN_S
    while True:
        began = trio.current_time()
        try:
            await _until_ended(guardian)
            log.warning("the guardian was ended (exit code %d): another is started", guardian.wait())
            guardian = _start_guardian(running.config, running.store)
        except OSError as error:
            log.warning("no guardian can be started, or watched: %s", error)
        lasted = trio.current_time() - began > _GUARDIAN_AGAIN_MOST_S
        wait_s = _GUARDIAN_AGAIN_S if lasted else min(2 * wait_s, _GUARDIAN_AGAIN_MOST_S)
        await trio.sleep(wait_s)


async def _until_ended(process: subprocess.Popen[bytes]) -> None:
    try:
        fd = os.pidfd_open(process.pid)
    except ProcessLookupError:  # whoever started us ignores SIGCHLD, and so did we
        return
    try:
        await trio.lowlevel.wait_readable(fd)
    finally:
        os.close(fd)


def _start_guardian(config: Config, store: Store) -> subprocess.Popen[bytes]:
    """Have a process beside the daemon that outlives it, and ends by itself when nothing is left to guard.

    What it has to say goes to the log: whoever called `mount` must not wait for the end of our stderr.
    """
    with store.log_path.open("ab") as said:
        return subprocess.Popen(  # the arguments are ours
            [
                sys.executable, "-P", "-m", "ipfsfs.daemon.guardian",
                str(os.getpid()), str(config.mountpoint), str(config.store),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said,
            close_fds=True,
            cwd="/",
        )  # fmt: skip
