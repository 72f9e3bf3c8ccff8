"""Evicting: a file that an origin has gives its place to a link, and its node goes on as a placeholder's (H28, H33).

Whether a file may go is asked in two parts: what can be told here, at once (`why_it_stays`), and whether the origins
have all of it at this moment (`reference_elsewhere`). Both are asked again, or are moments old, when it goes.
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
from ipfsfs.errors import FetcherLost, IpfsfsError
from ipfsfs.exchange.below import Item
from ipfsfs.plain import syscalls, vacating
from ipfsfs.plain.links import sync_directory
from ipfsfs.plain.vacating import FileInUse, Vacating
from ipfsfs.store.arrivals import Arrivals
from ipfsfs.store.ledger import Ledger
from ipfsfs.store.seal import Seal
from ipfsfs.store.tables.brought import BroughtFile, LeavingFile
from ipfsfs.unixfs import cid, file, reference
from ipfsfs.unixfs.reference import Reference
from ipfsfs.view.backing import Node
from ipfsfs.view.nodes import NodeTable
from ipfsfs.view.open_files import OpenFiles
from ipfsfs.view.placeholder.placeholder import Placeholder
from ipfsfs.view.placeholder.serving import Serving
from ipfsfs.view.upkeep.upkeep import Upkeep
from ipfsfs.workers.sealer.client import Sealer
from ipfsfs.workers.sealer.outcome import Digest

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


class Stays(IpfsfsError):
    """A file is not evicted; the text says why, in words that go on from its path."""


@dataclass(slots=True)
class Evicting:
    """Turns resident files into placeholders. `impossible`: why none can be; empty where files can."""

    nodes: NodeTable
    files: OpenFiles
    upkeep: Upkeep
    serving: Serving
    sealer: Sealer
    arrivals: Arrivals
    impossible: str
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
        if self.impossible:
            return f"nothing can be evicted here: {self.impossible}"
        return self.by_its_place(one.item) or self._by_its_attributes(one) or self._by_its_content(one)

    def by_its_place(self, item: Item) -> str:
        """Why no file may go that has this name; empty where one may."""
        directory, _, name = item.path.rpartition(b"/")
        place = locate(directory + b"/" if directory else b"", self.nodes.root_place)[0]
        if not place.may_be_elsewhere(name):
            return "clients have to find it at once"
        if is_loaded_dataset(os.fsencode(self.upkeep.mountpoint) + b"/" + item.path) or self._is_with_dataset(
            directory
        ):
            return "it belongs to a dataset that load_dataset made, which takes its files for granted"
        return ""

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
            return "it is not sealed yet (`ipfsfs seal PATH` does it)"
        if self._is_pinned(one, seal):
            return _PINNED
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

    async def reference_elsewhere(self, one: Candidate) -> Reference:
        """By what a link can name a file's content so that the origins have all of it, at this moment.

        Raises Stays.
        """
        seal = self._must_be_sealed(one)
        came = one.came(seal)
        await self._prove(one.item, seal, came)
        mode = stat_.S_IMODE(one.item.st.st_mode)
        named: list[Reference] = []
        if came is not None and came.root != seal.root:
            named.append(Reference(came.root, seal.size, mode, came.tsize))
        named.append(Reference(seal.root, seal.size, mode, await self._tsize(seal)))
        said = ""
        for wanted in named:
            try:
                reference.text(wanted)
                await self._held(wanted)
            except IpfsfsError as error:
                said = said or str(error)
            else:
                return wanted
        raise Stays(f"no origin has all of it now: {said}")

    async def _held(self, wanted: Reference) -> None:
        try:
            await self.serving.loads.fetcher.held(wanted.root, wanted.size)
        except FetcherLost:  # with the question of another file: once more
            await self.serving.loads.fetcher.held(wanted.root, wanted.size)

    async def _prove(self, item: Item, seal: Seal, came: BroughtFile | None) -> None:
        """Compare all of it with what came, or with what its name promises, where its seal does not tell. Raises
        Stays."""
        if came is not None and came.root == seal.root:
            return
        wanted = item.promise if came is None else came.sha256
        if wanted in (None, seal.sha256):
            return
        assert wanted is not None
        found = await self.sealer.digest(item.path, seal.ino, wanted)
        self.sealer.unfollow(seal.ino)
        if not isinstance(found, Digest) or found.identity != seal.identity or found.sha256 != wanted:
            raise Stays("it was changed since it came")

    async def _tsize(self, seal: Seal) -> int:
        leaves = ((cid.raw_cid(digest), length) for length, digest in seal.iter_leaves())
        return (await trio.to_thread.run_sync(file.build, leaves, limiter=self._limiter)).tsize

    def _must_be_sealed(self, one: Candidate) -> Seal:
        why = self.why_it_stays(one)
        if why:
            raise Stays(why)
        seal = self._seal(one.item)
        assert seal is not None
        return seal

    async def evict(self, one: Candidate, wanted: Reference) -> None:
        """Put a link in the place of a file that the origins were just said to have as `wanted`. Raises Stays; the file
        is at its name then."""
        with trio.CancelScope(shield=True):  # the last step is to be made once the first was
            for tries in range(_TRIES):
                try:
                    await self._evict(one, wanted)
                    return
                except FileInUse as error:
                    if tries + 1 == _TRIES:
                        raise Stays(str(error.strerror)) from error
                except OSError as error:
                    raise Stays(f"a link cannot take its place: {error.strerror}") from error
                await trio.sleep(_AGAIN_S)

    async def _evict(self, one: Candidate, wanted: Reference) -> None:
        path = one.item.path
        directory, _, name = path.rpartition(b"/")
        beside = vacating.beside_name(name)
        await self._in_thread(self._ledger.leaving.add, LeavingFile(path, beside))
        try:
            dir_fd = syscalls.open_beneath(self.nodes.plain.fd, directory, os.O_PATH | os.O_DIRECTORY)
            try:
                with vacating.vacating(dir_fd, name, beside) as file:
                    self._must_be_it(one, file)
                    await self._give_way(path, file, wanted)
            finally:
                os.close(dir_fd)
        finally:
            await self._in_thread(self._ledger.leaving.remove, beside)

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
        await self._in_thread(self._ledger.brought.remove, file.st.st_ino, syscalls.birth_time_ns(file.fd))
        log.info("%s was evicted", os.fsdecode(path))

    def _turn(self, node: Node | None, before: os.stat_result, link: os.stat_result, wanted: Reference) -> None:
        """A node's name stands for a link now, which the kernel need not know: size, mode and times are the same, and
        so are the bytes of every page that it has."""
        if node is not None and self.nodes.knows(node):
            self.nodes.rebind(node, link)
            node.backing = Placeholder(wanted, self.serving)
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
