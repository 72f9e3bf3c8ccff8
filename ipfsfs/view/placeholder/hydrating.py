"""Hydrating: what is wholly here takes the place of its link, and the node goes on as a resident file's."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Final
from weakref import WeakKeyDictionary

import trio

from ipfsfs.errors import IntegrityError, IpfsfsError, NotHere
from ipfsfs.exchange.load import Load
from ipfsfs.exchange.loads import Loads
from ipfsfs.plain import links, syscalls
from ipfsfs.plain.links import Link, Replaced, sync_directory
from ipfsfs.store.arrivals import Arrivals
from ipfsfs.store.tables.brought import BroughtFile
from ipfsfs.store.uses import Uses
from ipfsfs.unixfs import reference
from ipfsfs.unixfs.reference import Reference
from ipfsfs.view.background import logged
from ipfsfs.view.backing import Backing, Node
from ipfsfs.view.nodes import NodeTable
from ipfsfs.view.placeholder.open_links import OpenLinks
from ipfsfs.view.placeholder.taking_back import TakingBack
from ipfsfs.view.team import Team
from ipfsfs.view.upkeep.upkeep import Upkeep

log = logging.getLogger(__name__)

_TRIES: Final = 3
"""How often a file is tried to be put in place that is wholly here, and rots in the store or is replaced meanwhile."""


@dataclass(slots=True)
class Hydrating:
    """Turns placeholders into resident files."""

    nodes: NodeTable
    loads: Loads
    upkeep: Upkeep
    resident: Backing
    links: OpenLinks
    arrivals: Arrivals
    uses: Uses
    taking_back: TakingBack
    team: Team | None = None
    _nodes_of: WeakKeyDictionary[Load, dict[Node, None]] = field(default_factory=WeakKeyDictionary)
    """The nodes that a load was opened for, in that order."""
    _is_over: bool = False
    _limiter: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(1))

    def is_for(self, load: Load, node: Node) -> None:
        """A load was opened to read a node's file: once all of it is here, that file is to be resident."""
        self._nodes_of.setdefault(load, {})[node] = None
        load.is_unwanted = False
        if load.whole.is_set() and load.done.is_set():  # it could not be put in place before, or this node is new
            self.loads.complete(load)

    async def run(self) -> None:
        """Hydrate what becomes whole, until cancelled."""
        async with trio.open_nursery() as nursery:
            async for load in self.loads.completed:
                nursery.start_soon(logged, self._completed, load)

    async def _completed(self, load: Load) -> None:
        tried: set[Node] = set()
        try:
            while not load.is_retired and (waiting := self._waiting_for(load, tried)):
                tried.add(waiting[0])
                with self._failure_logged(waiting[0]):
                    await self._put_in_place(waiting[0], load, keep=len(waiting) > 1)
            late = self._waiting_for(load, tried) if load.is_retired else []
        finally:
            self.loads.placed(load)
        for node in late:  # opened while the extent was moved to another's name: they get one of their own
            with self._failure_logged(node):
                await self.fetch(node, load.reference)

    def _waiting_for(self, load: Load, tried: set[Node]) -> list[Node]:
        """The placeholders that a load was opened for and that were not tried to be put in place."""
        return [node for node in self._nodes_of.get(load, {}) if node not in tried and _is_waiting(node)]

    @contextmanager
    def _failure_logged(self, node: Node) -> Iterator[None]:
        """A placeholder that was to be put in place and was not is logged as an error while its name stands for it."""
        try:
            yield
        except (OSError, IpfsfsError) as error:
            if isinstance(error, Replaced) or self._is_over or not _is_waiting(node):
                log.info("%s stays as it is by now: %s", self._shown(node), error)
            else:
                log.error("%s is wholly here, and stays a placeholder: %s", self._shown(node), error)

    async def stop(self) -> None:
        """Hydrate nothing from now on, for the store is another daemon's; what is being put in place is, first."""
        self._is_over = True
        await self.loads.leave_store()

    async def fetch(self, node: Node, wanted: Reference) -> None:
        """Have all of a placeholder here, and in place. Raises NotHere, IntegrityError, OSError; ESTALE where its name
        is gone, or stands for something else each time that is looked at."""
        failed: Exception = NotHere(f"{self._shown(node)} could not be put in place")
        tries = 0
        while tries < _TRIES:
            if self._is_over:
                raise NotHere(f"{self._shown(node)} is not here, and its view was unmounted")
            if node.backing.is_settled:
                return
            self.taking_back.refuse_what_nothing_proves(node, wanted)
            load = await self.loads.open(wanted, self.nodes.path(node))
            try:
                self.is_for(load, node)
                await self.loads.have_all(load)
                if node.held >= 0:
                    await self._give_copy(node, load, wanted.mode)
                else:
                    await self._put_in_place(node, load, keep=False)
            except Replaced as error:
                failed = Replaced(errno.ESTALE, os.strerror(errno.ESTALE))
                failed.__cause__ = error
            finally:
                self.loads.close(load)
            if node.backing.is_settled:
                return
            if not node.has_name:
                raise Replaced(errno.ESTALE, os.strerror(errno.ESTALE))
            tries += not load.is_retired  # another placeholder of this root was quicker: it has its content now
        raise failed

    async def _put_in_place(self, node: Node, load: Load, *, keep: bool) -> None:
        """Put the extent in the place of a node's link; a copy of it where others are to have it too (`keep`), or it
        cannot be moved. Does nothing where that was done, or the extent is gone to another name.

        Raises Replaced, IntegrityError, OSError.
        """
        async with self.loads.quiet(load):
            if self._is_over or load.is_retired or not _is_waiting(node) or node.parent is None:
                return
            sha256 = await self._compared(node, load)
            if not sha256:
                return
            self._keep_promise(node, load, sha256)
            with self.nodes.looked(node.parent) as directory:
                if keep or not self._move(node, load, directory, sha256):
                    await self._copy(node, load, directory, sha256)
                await trio.to_thread.run_sync(sync_directory, directory, limiter=self._limiter)

    async def _give_copy(self, node: Node, load: Load, mode: int) -> None:
        """Let a node whose name is gone, and which is open, have a file of its own, which has no name either."""
        async with self.loads.quiet(load):
            if load.is_retired or node.backing.is_settled:
                return
            sha256 = await self._compared(node, load)
            if not sha256:
                return
            self._keep_promise(node, load, sha256)
            extents = self.loads.extents.fd
            fd = await trio.to_thread.run_sync(links.copy_nameless, load.fd, extents, limiter=self._limiter)
            try:
                if node.held < 0:  # it was closed meanwhile
                    return
                before = os.fstat(node.held)
                links.give_attributes(fd, before, mode)
                os.close(node.held)
                node.held = os.open(f"/proc/self/fd/{fd}", os.O_PATH | os.O_CLOEXEC)
                self._turn(node, load, before, fd)
            finally:
                os.close(fd)

    async def _compared(self, node: Node, load: Load) -> bytes:
        """Have the extent compared with its leaves once more, and on disk. Returns the sha256 of the file; empty where
        leaves have to be fetched again, or the store went to another daemon meanwhile."""
        finished = await self.loads.fetcher.finish(self.loads.name(load), load.table, load.checksums)
        if finished.lost:
            for offset in finished.lost:
                load.lost(load.table.index_at(offset))
            log.warning("leaves of %s rotted in the store, and are fetched again", self._shown(node))
            return b""
        return b"" if load.is_retired else finished.sha256

    def _move(self, node: Node, load: Load, directory: int, sha256: bytes) -> bool:
        """Have the extent and the link change places; returns whether that can be done here.

        No call through the view comes between: what was looked at is what is replaced, but for other programs beneath.
        """
        link, found = self._link(node, load, directory)
        _give_attributes(load.fd, link, found)
        try:
            links.exchange(self.loads.extents.fd, os.fsencode(self.loads.name(load)), link)
        except OSError as error:
            if isinstance(error, Replaced) or not links.cannot_exchange(error):
                raise
            return False
        self.loads.retire(load)
        self._came(load.fd, found, sha256)
        self._turn(node, load, link.st, load.fd)
        return True

    async def _copy(self, node: Node, load: Load, directory: int, sha256: bytes) -> None:
        first, _ = self._link(node, load, directory)
        beside, fd = await trio.to_thread.run_sync(links.copy_beside, load.fd, first, limiter=self._limiter)
        try:
            link, found = self._link(node, load, directory)
            _give_attributes(fd, link, found)
            links.replace_from_beside(beside, link)
            self._came(fd, found, sha256)
            self._turn(node, load, link.st, fd)
        except BaseException:
            with suppress(OSError):
                os.unlink(beside, dir_fd=directory)
            raise
        finally:
            os.close(fd)

    def _link(self, node: Node, load: Load, directory: int) -> tuple[Link, Reference]:
        """The link that a node's name stands for now, and what it says. Raises Replaced where it is another."""
        link = Link.at(directory, node.name)
        found = reference.parse(link.text)
        if (link.st.st_dev, link.st.st_ino) != (node.dev, node.ino) or found is None:
            raise Replaced(errno.EEXIST, "it was replaced beneath the view")
        if (found.root, found.size) != (load.reference.root, load.reference.size):
            raise Replaced(errno.EEXIST, "it names another content now")
        if self.team is not None:
            found = replace(found, mode=self.team.file_mode(found.mode))
        return link, found

    def _came(self, fd: int, found: Reference, sha256: bytes) -> None:
        """A file that an origin gave is in the place of its link: it may be given back."""
        st = os.fstat(fd)
        if st.st_dev == self.nodes.plain.dev:
            born_ns = syscalls.birth_time_ns(fd)
            tsize = None if found.is_by_name else found.tsize
            self.arrivals.note(BroughtFile(st.st_ino, born_ns, found.root, found.size, tsize, sha256))
            self.uses.note(st.st_ino)

    def _turn(self, node: Node, load: Load, before: os.stat_result, fd: int) -> None:
        """The node stands for the resident file `fd` now; `before`: the attributes of the link that it stood for."""
        after = os.fstat(fd)
        self.loads.provenance.became_resident(load.reference.root, load.reference.size, after)
        if self.nodes.knows(node):
            self.nodes.rebind(node, after)
            node.backing = self.resident
            self.links.became(node, fd)
            node.cache.carried(before, after)
            self.upkeep.changed(node)

    def _keep_promise(self, node: Node, load: Load, sha256: bytes) -> None:
        """Raises IntegrityError where a file's name promises other content than its CID names."""
        if node.parent is None:
            return
        promise = self.nodes.place(node.parent).classify(node.name).promise
        said = node.backing.stands_for or load.reference
        self.taking_back.refuse_what_nothing_proves(node, said)
        if promise is not None and promise != sha256 and (node.has_name or said.is_by_name):
            why = f"what its CID names has the sha256 {sha256.hex()}, and its name promises another"
            self.taking_back.broken(node, said, why)
            raise IntegrityError(why)

    def is_wanted(self, load: Load) -> bool:
        """Whether a load was opened for a node's file that is still there."""
        return bool(self._nodes_of.get(load))

    def gone(self, node: Node, load: Load) -> None:
        """A node's file was removed, and is open no longer: nothing is fetched for it any more."""
        nodes = self._nodes_of.get(load, {})
        nodes.pop(node, None)
        if not nodes:
            load.is_unwanted = True

    def _shown(self, node: Node) -> str:
        return os.fsdecode(self.nodes.path(node))


def _give_attributes(fd: int, link: Link, found: Reference) -> None:
    """Give a file what its link has; and as root the directory's owner, where no user made the link."""
    links.give_attributes(fd, link.st, found.mode)
    if found.is_by_name and os.geteuid() == 0:
        os.fchown(fd, os.stat(".", dir_fd=link.dir_fd).st_uid, -1)


def _is_waiting(node: Node) -> bool:
    """Whether a node is a placeholder that has its name."""
    return not node.backing.is_settled and node.has_name
