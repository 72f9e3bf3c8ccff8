"""Evicting: a file that an origin has gives its place to a link, and its node goes on as a placeholder's (H28, H33).

Whether a file may go is asked in two parts: what can be told here, at once (`why_it_stays`), and whether others have
all of it at this moment (`way_back`). Both are asked again, or are moments old, when it goes.
"""

from __future__ import annotations

import logging
import os
import stat as stat_
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar, TypeVarTuple

import trio

from ipfsfs.caches.place import locate
from ipfsfs.caches.registry import is_loaded_dataset
from ipfsfs.errors import StoreError
from ipfsfs.exchange.below import Item
from ipfsfs.exchange.eviction import Possible
from ipfsfs.plain import syscalls, vacating
from ipfsfs.plain.links import sync_directory
from ipfsfs.plain.vacating import FileInUse, Vacating
from ipfsfs.printed import command
from ipfsfs.store.arrivals import Arrivals
from ipfsfs.store.ledger import Ledger
from ipfsfs.store.seal import Seal
from ipfsfs.store.tables.brought import BroughtFile, LeavingFile
from ipfsfs.unixfs import reference
from ipfsfs.unixfs.reference import Reference
from ipfsfs.view.backing import Node
from ipfsfs.view.nodes import NodeTable
from ipfsfs.view.open_files import OpenFiles
from ipfsfs.view.placeholder.placeholder import Placeholder
from ipfsfs.view.placeholder.serving import Serving
from ipfsfs.view.placeholder.ways_back import Stays, WayBack, WaysBack
from ipfsfs.view.upkeep.upkeep import Upkeep

log = logging.getLogger(__name__)

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_PINNED: Final = "it is pinned"
_TRIES: Final = 5
"""How often a file is looked at that is open: the sealer has each open for moments."""
_AGAIN_S: Final = 0.1
_DATASET_MARK: Final = b"dataset_info.json"


@dataclass(slots=True, frozen=True)
class Candidate:
    """A file that is asked whether it may go. `brought`: how it came here, where an origin gave it; the row may be of
    an earlier file with its inode number."""

    item: Item
    brought: BroughtFile | None

    def came(self, seal: Seal) -> BroughtFile | None:
        """How this very file came; None where no origin gave it."""
        row = self.brought
        same = row is not None and (row.born_ns, row.size) == (seal.identity.born_ns, seal.size)
        return row if same else None


@dataclass(slots=True)
class Evicting:
    """Turns resident files into placeholders."""

    nodes: NodeTable
    files: OpenFiles
    upkeep: Upkeep
    serving: Serving
    arrivals: Arrivals
    possible: Possible
    ways_back: WaysBack
    _limiter: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(2))

    @property
    def _ledger(self) -> Ledger:
        return self.upkeep.seals.ledger

    async def candidate(self, item: Item) -> Candidate:
        """With what the ledger knows of a file. Raises StoreError."""
        await self.arrivals.write()
        return Candidate(item, await self._in_thread(self._ledger.brought.get, item.st.st_ino))

    def why_it_stays(self, one: Candidate) -> str:
        """Why a file may not go, as far as can be told here; empty where it may. Asks no origin."""
        return self.by_its_place(one.item) or self._by_its_attributes(one) or self._by_its_content(one)

    def by_its_place(self, item: Item) -> str:
        """Why no file may go that has this name; empty where one may."""
        directory, _, name = item.path.rpartition(b"/")
        place = locate(directory + b"/" if directory else b"", self.nodes.root_place)[0]
        if not place.may_be_elsewhere(name):
            return "clients have to find it at once"
        cache = os.fsencode(self.upkeep.damage.mountpoint)
        if is_loaded_dataset(cache + b"/" + item.path) or self._is_with_dataset(directory):
            return "it belongs to a dataset that load_dataset made, which takes its files for granted"
        return ""

    def is_named_by_git(self, item: Item) -> bool:
        """Whether a file is one of those of a repository whose names promise nothing: the Hub keeps them in git, since
        they are small, and its client names them as git does."""
        directory, _, name = item.path.rpartition(b"/")
        place = locate(directory + b"/" if directory else b"", self.nodes.root_place)[0]
        return item.promise is None and place.receives_downloads and place.is_immutable(name, is_link=False)

    def _is_with_dataset(self, directory: bytes) -> bool:
        while True:
            mark = directory + b"/" + _DATASET_MARK if directory else _DATASET_MARK
            try:
                os.close(syscalls.open_beneath(self.nodes.plain.fd, mark, os.O_PATH | os.O_NOFOLLOW))
                return True
            except OSError:
                pass
            if not directory:
                return False
            directory = directory.rpartition(b"/")[0]

    def _by_its_attributes(self, one: Candidate) -> str:
        st = one.item.st
        if not st.st_size:
            return "it has no bytes"
        if st.st_nlink != 1:  # where blocks cannot be shared, a pin holds a file by another name of it
            seal = self._seal(one.item)
            return _PINNED if seal is not None and self._is_pinned(one, seal) else "it has other names (hard links)"
        if st.st_uid not in (0, os.geteuid()):
            return "it belongs to another user"
        if stat_.S_IMODE(st.st_mode) & ~0o777:
            return "it has a set-user-id, set-group-id or sticky bit"
        return ""

    def _by_its_content(self, one: Candidate) -> str:
        item = one.item
        node = self.nodes.find(item.st.st_dev, item.st.st_ino)
        if node is not None and (self.files.of(node) is not None or node.withdrawn):
            return "it is open"
        seal = self._seal(item)
        if seal is None:
            return f"it is not sealed yet (`{command('seal PATH')}` does it)"
        if self._is_pinned(one, seal):
            return _PINNED
        if self._ledger.published.is_served(seal.root):
            return f"others have it from here (`{command('unpublish')}` ends that)"
        came = one.came(seal)
        if item.promise is None and came is None:
            return "it was made here, for all that is known: no name promises its content, and it came from no origin"
        if item.promise is not None and seal.sha256 not in (b"", item.promise):
            return "it is not what its name promises"
        return ""

    def _is_pinned(self, one: Candidate, seal: Seal) -> bool:
        came, pins = one.came(seal), self._ledger.pins
        return pins.holds(seal.root) or (came is not None and pins.holds(came.root))

    def _seal(self, item: Item) -> Seal | None:
        seal = self.upkeep.seals.agreeing(item.st)
        return seal if seal is not None and seal.leased else None

    async def way_back(self, one: Candidate) -> WayBack:
        """How a file can be had again, as those say who have all of it at this moment. Raises Stays."""
        why = await self.impossible()
        if why:
            raise Stays(why)
        seal = self._must_be_sealed(one)
        return await self.ways_back.find(one.item, seal, one.came(seal))

    async def impossible(self) -> str:
        """Why no file at all can be evicted; empty where files can."""
        why = await self._in_thread(self.possible.why_not)
        return f"nothing can be evicted here: {why}" if why else ""

    def _must_be_sealed(self, one: Candidate) -> Seal:
        why = self.why_it_stays(one)
        if why:
            raise Stays(why)
        seal = self._seal(one.item)
        assert seal is not None
        return seal

    async def evict(self, one: Candidate, back: WayBack) -> None:
        """Put a link in the place of a file of which a way back was just found. Raises Stays; the file is at its name
        then."""
        with trio.CancelScope(shield=True):  # the last step is to be made once the first was
            try:
                await self._keep_table(back)
                for tries in range(_TRIES):
                    try:
                        await self._evict(one, back.reference)
                        return
                    except FileInUse as error:
                        if tries + 1 == _TRIES:
                            raise Stays(str(error.strerror)) from error
                    await trio.sleep(_AGAIN_S)
            except OSError as error:
                raise Stays(f"a link cannot take its place: {error.strerror}") from error

    async def _keep_table(self, back: WayBack) -> None:
        """What the link needs besides its text is on disk before there is a link."""
        if back.table:
            extents, wanted = self.serving.loads.extents, back.reference
            await self._in_thread(extents.keep_table_durably, wanted.root, wanted.size, back.table)

    async def _evict(self, one: Candidate, wanted: Reference) -> None:
        path = one.item.path
        directory, _, name = path.rpartition(b"/")
        beside = vacating.beside_name(name)
        try:
            await self._in_thread(self._ledger.leaving.add, LeavingFile(path, beside))
        except StoreError as error:
            raise Stays(f"the store cannot note that it goes: {error}") from error
        try:
            dir_fd = syscalls.open_beneath(self.nodes.plain.fd, directory, os.O_PATH | os.O_DIRECTORY)
            try:
                with vacating.vacating(dir_fd, name, beside) as file:
                    self._must_be_it(one, file)
                    await self._give_way(path, file, wanted)
            finally:
                os.close(dir_fd)
        finally:
            await self._forget(path, self._ledger.leaving.remove, beside)

    async def _forget(self, path: bytes, function: Callable[[*Ts], object], *arguments: *Ts) -> None:
        """Remove a row of the ledger that a file has no use for any more. One that stays does no harm: the next mount
        finds nothing to be put right, and the next file with that inode number has another birth time."""
        try:
            await self._in_thread(function, *arguments)
        except StoreError as error:
            log.warning("%s: the store still has a note of it: %s", os.fsdecode(path), error)

    def _must_be_it(self, one: Candidate, file: Vacating) -> None:
        """Raises Stays unless what was opened is the sealed file, and may still go."""
        seal = self._must_be_sealed(one)
        if not seal.identity.agrees(file.st) or syscalls.birth_time_ns(file.fd) != seal.identity.born_ns:
            raise Stays("it was changed meanwhile")
        if vacating.has_attributes(file.fd):
            raise Stays("it has extended attributes or an ACL")

    async def _give_way(self, path: bytes, file: Vacating, wanted: Reference) -> None:
        node = self.nodes.find(file.st.st_dev, file.st.st_ino)
        try:
            link = file.exchange(reference.text(wanted))
        except OSError:
            self._stays(node, file.st, file)
            raise
        self._turn(node, file.st, link, wanted)
        await self._in_thread(sync_directory, file.dir_fd)
        try:
            file.must_be_as_it_was()
        except FileInUse:
            if file.put_back(link):
                self._stays(node, link, file)
            raise
        self.upkeep.seals.forget(file.st.st_ino)
        self.serving.loads.provenance.gave_way(wanted.root, wanted.size)
        await self._in_thread(file.remove)
        await self._forget(path, self._ledger.brought.remove, file.st.st_ino, syscalls.birth_time_ns(file.fd))
        log.info("%s was evicted", os.fsdecode(path))

    def _turn(self, node: Node | None, before: os.stat_result, link: os.stat_result, wanted: Reference) -> None:
        """A node's name stands for a link now, which the kernel need not know: size, mode and times are the same, and
        so are the bytes of every page that it has."""
        if node is not None and self.nodes.knows(node):
            self.nodes.rebind(node, link)
            node.backing = Placeholder.of(wanted, self.serving)
            node.cache.carried(before, link)

    def _stays(self, node: Node | None, shown: os.stat_result, file: Vacating) -> None:
        """The file is at its name again, with another ctime; of its node the kernel knows what is in `shown`."""
        after = os.fstat(file.fd)
        self.upkeep.seals.restamp(file.st, after)
        if node is not None and self.nodes.knows(node):
            self.nodes.rebind(node, after)
            node.backing = self.serving.resident
            node.cache.carried(shown, after)

    async def _in_thread(self, function: Callable[[*Ts], T], *arguments: *Ts) -> T:
        return await trio.to_thread.run_sync(function, *arguments, limiter=self._limiter)
