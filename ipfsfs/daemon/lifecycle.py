"""The life of a daemon: open what it stands on, mount, serve, and go without leaving anything half done."""

from __future__ import annotations

import logging
import math
import os
import select
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Protocol

import trio

from ipfsfs.caches.registry import root_place
from ipfsfs.daemon import endings, lingering, mounts, outsiders, register, remains
from ipfsfs.daemon.config import Config
from ipfsfs.daemon.guarding import Guarding
from ipfsfs.daemon.lingering import Lingering, StillUsed
from ipfsfs.daemon.metrics.serving import Serving
from ipfsfs.daemon.notify import tell_systemd
from ipfsfs.daemon.opening import open_databases, open_quarantine
from ipfsfs.daemon.serving import Address, others_of
from ipfsfs.daemon.stopping import cancel_when_asked, may_linger_s, requests
from ipfsfs.daemon.surroundings import collect_seldom, has_acl, raise_descriptor_limit, read_only
from ipfsfs.daemon.team import group_number
from ipfsfs.daemon.upstream.following import Following
from ipfsfs.errors import InUse, IpfsfsError, MountError, StoreError
from ipfsfs.exchange import eviction
from ipfsfs.exchange.eviction import Possible
from ipfsfs.exchange.on_hub import Token
from ipfsfs.fuse import mountpoint
from ipfsfs.fuse.session import Where, raise_readahead, session
from ipfsfs.identity import PlainRoot
from ipfsfs.plain.checked import Checking
from ipfsfs.plain.directory import PlainDirectory
from ipfsfs.plain.ownership import Ownership
from ipfsfs.printed import command, shell
from ipfsfs.store.extents import Extents
from ipfsfs.store.layout import Store
from ipfsfs.store.quarantine import Quarantine
from ipfsfs.store.seal import boot_id
from ipfsfs.view.team import Team
from ipfsfs.view.view import Dependencies, View
from ipfsfs.workers.fetcher.client import open_fetcher
from ipfsfs.workers.keeper.client import open_keeper
from ipfsfs.workers.sealer.client import Sealer, open_sealer

log = logging.getLogger(__name__)

_PLACED_S: Final = 15.0
"""How long an unmount waits for files that are wholly here to be put in place. Root waits 20 s for another's daemon."""
_SOON_S: Final = 0.2
"""The kernel ends a session this soon after an unmount, if nothing of it is in use."""
_SETTLED_S: Final = 0.1
"""How long the mount table is left alone after it has changed: what changes it once often does so again."""


@dataclass(slots=True)
class Running:
    """A mounted view and all around it, while it runs."""

    config: Config
    store: Store
    quarantine: Quarantine
    view: View
    sealer: Sealer
    guarding: Guarding
    following: Following
    mount: mounts.Mount
    features: list[str]
    ended: trio.Event
    """Set by the kernel, when nothing of the view is in use any more."""
    over: trio.Event = field(default_factory=trio.Event)
    """Set when the view is at its path no more."""
    asked_to_stop: bool = False
    """Whether it was by a signal: then files that are open are served for a limited time after that."""
    since: float = field(default_factory=time.time)
    _unmounting: trio.Lock = field(default_factory=trio.Lock)
    """So that whoever is second unmounts nothing that lies beneath."""

    @property
    def mounted(self) -> bool:
        """Whether the view is still at its path."""
        numbers = self.mount.mount_id, self.mount.device
        return any((mount.mount_id, mount.device) == numbers for mount in mounts.all_mounts())

    async def unmount(self, *, lazy: bool) -> None:
        """Unmount. Raises InUse, with who keeps files open where it is not to be `lazy`; MountError where the kernel
        refuses."""
        with self.following.resting():
            await self._unmount(lazy=lazy)

    async def _unmount(self, *, lazy: bool) -> None:
        await self.view.seals.flush()
        if not lazy:
            with trio.move_on_after(_PLACED_S):
                await self.view.hydrating.loads.all_placed()
        async with self._unmounting:
            await self.view.locking.stop()
            await self._off_the_path(lazy=lazy)
        await self.gone_from_path()

    async def _off_the_path(self, *, lazy: bool) -> None:
        deadline = trio.current_time() + 2.0
        while self.mounted:
            try:
                await trio.to_thread.run_sync(
                    partial(mountpoint.unmount, self.config.mountpoint, lazy=lazy, mount_id=self.mount.mount_id)
                )
                break
            except MountError as error:
                if not self.mounted:
                    break
                users = await trio.to_thread.run_sync(self._users)
                if users or trio.current_time() > deadline:
                    self.view.locking.go_on()
                    raise self._busy(users, mounts.mounted_on(self.mount.mount_id), error) from error
                await trio.sleep(0.05)  # somebody who only just looked, such as the guardian

    def _busy(
        self, users: Sequence[outsiders.Outsider], inside: Sequence[mounts.Mount], error: MountError
    ) -> MountError:
        """What keeps the view from being unmounted, and what to do about each."""
        lines = [str(user) for user in users] + [f"{one.mountpoint} is mounted in it" for one in inside]
        if not lines:
            return type(error)(str(error), hint=f"To unmount it nevertheless: {self._lazily}")
        theirs = [command("umount") if one.is_view else "umount" for one in inside]
        away = [f"{umount} {shell(one.mountpoint)}" for umount, one in zip(theirs, inside, strict=True)]
        first = ["End these processes (a shell: cd elsewhere) and try again."] * bool(users)
        first += [f"Unmount first what is in it: {' && '.join(away)}"] * bool(away)
        first.append(f"  Or unmount at once, and serve open files until they are closed: {self._lazily}")
        named = "\n".join(f"  {line}" for line in dict.fromkeys(lines))
        return InUse(f"{self.config.mountpoint} is in use:\n{named}", hint="\n".join(first))

    @property
    def _lazily(self) -> str:
        return command("umount --lazy", self.config.mountpoint)

    def _users(self) -> list[outsiders.Outsider]:
        return outsiders.users_of(self.mount.mount_id, self.mount.device, self.config.mountpoint)

    async def gone_from_path(self) -> None:
        """To be called when the view is at its path no more: the session ends soon, or files are still open."""
        await self.view.locking.stop()
        with trio.move_on_after(_SOON_S):
            await self.ended.wait()
        self.over.set()

    async def still_used(self) -> StillUsed:
        """What keeps the session alive after an unmount."""
        if self.ended.is_set():
            return StillUsed(True, 0, [], [])
        users = await trio.to_thread.run_sync(self._users)
        places = await trio.to_thread.run_sync(outsiders.other_places, self.mount.mount_id, self.mount.device)
        return StillUsed(self.ended.is_set(), len(self.view.handles), users, places)


class Served(Protocol):
    """An address that is served while the view is at its path."""

    async def run(self) -> None:
        """Serve, until cancelled; then the address is free."""


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
    team = None if config.team is None else Team(group_number(config.team))
    metrics = Serving.open(config.metrics, config.mountpoint, config.store)
    address = Address.take(config)
    quarantine = open_quarantine(store, config)
    extents = Extents(store.extents_fd)
    extents.clear()
    ledger, index, degraded = open_databases(store, plain)
    eviction.put_right(plain.fd, ledger)
    limit = raise_descriptor_limit()
    ownership = Ownership.prepare()
    os.chdir("/")
    mount: mounts.Mount | None = None
    _enter_into_register(config, plain.root)
    guarding = Guarding.start(config, store)
    try:
        settings = config.origin_settings()
        site = config.site_settings(address.machine)
        async with (
            open_sealer(plain.fd) as sealer,
            open_fetcher(store.extents_fd, store.blocks_fd, plain.fd, settings, site) as fetcher,
            open_keeper(config.mountpoint) if config.site.peers is not None else nullcontext() as keeper,
            trio.open_nursery() as behind,
        ):
            dependencies = Dependencies(
                plain=plain,
                mountpoint=config.mountpoint,
                place=root_place(os.fsencode(config.mountpoint)),
                index=index,
                ledger=ledger,
                quarantine=quarantine,
                sealer=sealer,
                chunker=config.chunker,
                boot=boot_id(),
                ownership=ownership,
                descriptor_limit=limit,
                degraded=degraded,
                fetcher=fetcher,
                extents=extents,
                patience_s=config.patience_s,
                cache_size=config.cache_size,
                checking=Checking.of(plain.fd),
                native_from=config.native_from,
                eviction=Possible(bool(config.origins), config.hub is not None, store.extents_fd, plain.fd),
                server=address.server(store, plain.fd),
                share=config.site.share,
                announces=config.site.peers is not None,
                token=Token.ANYONE if config.allow_other else Token.OWNER,
                others=others_of(config.site, is_read_only=read_only(plain)),
                keeper=keeper,
                team=team,
                scrub_s=config.scrub_s if config.check == "native" else None,
            )
            view = View.build(dependencies, behind)
            for root in ledger.announced.all():
                view.fetcher.hint(root)
            where = Where(
                mountpoint=config.mountpoint,
                directory=plain.fd,
                source=str(config.store),
                allow_other=config.allow_other,
                read_only=read_only(plain),
                acl=config.allow_other and has_acl(plain),
                negotiate=config.negotiate,
                native=ownership.root,
            )
            with requests() as stops:  # from before the mount: no signal but SIGKILL kills us from there on
                async with session(view, where) as (features, ended):
                    mount = mounts.view_at(config.mountpoint)
                    if mount is None:
                        raise MountError(f"{config.mountpoint} was mounted, and is not there any more")
                    guarding.mounted(mount)
                    _forget_last_end(config, store)
                    if os.geteuid() == 0:
                        raise_readahead(mount.device)
                    following = Following.of(config.upstream, config.mountpoint, config.store)
                    running = Running(
                        config, store, quarantine, view, sealer, guarding, following, mount, features, ended
                    )
                    await _run(running, (metrics, address, following), ready, control, stops)
            behind.cancel_scope.cancel()
        view.close()
    except BaseException as error:
        if _is_expected(error):
            guarding.over()
        else:
            guarding.failed()
        raise
    finally:
        metrics.close()
        address.close()
        if mount is not None:
            remains.take_away(mount)
        if index is not None:
            index.close()
        ledger.close()
        if not guarding.has_failed and remains.is_gone(mount, config.store):
            guarding.release()


async def _run(
    running: Running,
    served: Sequence[Served],
    ready: Callable[[Running], None],
    control: Control,
    stops: AsyncIterator[int],
) -> None:
    """Serve until the kernel ends the session, or a signal or a command asks for the end."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(running.view.run)
        await nursery.start(control, running)
        nursery.start_soon(_follow_kernel, running)
        nursery.start_soon(_follow_mount_table, running)
        nursery.start_soon(running.guarding.keep)
        for one in served:
            nursery.start_soon(one.run)
        collect_seldom()
        ready(running)
        nursery.start_soon(_obey, stops, running)
        tell_systemd(f"READY=1\nSTATUS=serving {running.config.mountpoint}")
        features = ", ".join(running.features)
        log.info("mounted %s, store %s, with %s", running.config.mountpoint, running.config.store, features)
        await running.over.wait()
        running.guarding.over()
        tell_systemd("STOPPING=1")
        if not running.ended.is_set():
            await running.view.hydrating.stop()
        nursery.cancel_scope.cancel()
    log.info("unmounted %s", running.config.mountpoint)
    if not running.ended.is_set():
        await _linger(running, stops)


async def _linger(running: Running, stops: AsyncIterator[int]) -> None:
    """The path has been given back while files in the view were open: serve those, and nothing else.

    The store is let go of, so that a new view can be mounted; what is still written is found and sealed by that one.
    """
    await running.view.give_up_seals_of_writers()
    running.view.seals.retire()
    note = Lingering(
        os.getpid(), running.config.mountpoint, running.mount.mount_id, running.mount.device, int(time.time())
    )
    with ExitStack() as noted:
        try:
            noted.enter_context(lingering.noted(running.store.fd, note))
        except OSError as error:
            log.warning("no command can see that this daemon goes on: %s", error.strerror)
        running.store.unlock()
        linger_s = await may_linger_s() if running.asked_to_stop else math.inf
        at_most = f", for {linger_s:.0f} s at most" if linger_s < math.inf else ""
        log.info("files are still open; they are served until they are closed%s", at_most)
        with trio.move_on_after(linger_s):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(cancel_when_asked, stops, running.asked_to_stop, nursery.cancel_scope)
                await running.ended.wait()
                nursery.cancel_scope.cancel()
    if not running.ended.is_set():
        log.warning("files are still open in %s; their users lose them now", running.config.mountpoint)


async def _obey(stops: AsyncIterator[int], running: Running) -> None:
    """On a signal to stop: give the path back at once, serve what is open a little longer, and go."""
    async for number in stops:
        log.info("%s: unmounting %s", signal.Signals(number).name, running.config.mountpoint)
        running.asked_to_stop = True
        with suppress(MountError):
            await running.unmount(lazy=True)
        running.over.set()


async def _follow_kernel(running: Running) -> None:
    """The kernel has the last word: once nothing of the view is in use any more, the session ends."""
    await running.ended.wait()
    running.over.set()


async def _follow_mount_table(running: Running) -> None:
    """Whoever may unmount may do so by any program: the daemon then goes on as if it had been asked to."""
    table = os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
    # The table can always be read; that it has changed is another event (proc(5)), for which trio cannot wait.
    changes = select.epoll()
    try:
        changes.register(table, select.EPOLLPRI)
        while running.mounted:
            await trio.lowlevel.wait_readable(changes.fileno())
            changes.poll(0)
            await trio.sleep(_SETTLED_S)
        await running.gone_from_path()
    finally:
        changes.close()
        os.close(table)


def _is_expected(error: BaseException) -> bool:
    """Whether an error is told to whoever started the daemon; any other ends it though nobody had asked for that."""
    expected = IpfsfsError, KeyboardInterrupt
    if isinstance(error, BaseExceptionGroup):
        return error.split(expected)[1] is None
    return isinstance(error, expected)


def _enter_into_register(config: Config, root: PlainRoot) -> None:
    try:
        register.enter(register.Entry(config.mountpoint, config.store, root.ino, root.born_ns))
    except (OSError, StoreError) as error:
        log.info("`status` without a path will not know of this view once it is gone: %s", error)


def _forget_last_end(config: Config, store: Store) -> None:
    """The last daemon's end is of no interest any more. Raises MountError where its note is gone already, and with it
    the reason for which this daemon was started: the user has unmounted the view meanwhile."""
    with suppress(OSError):
        if not endings.forget(store.fd) and config.restarts:
            raise MountError(f"{config.mountpoint} was unmounted before it was mounted again")
