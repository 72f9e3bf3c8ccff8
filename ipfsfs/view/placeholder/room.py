"""Room: what of the cache is given back, by name, down to a size, or by itself while the view is mounted.

What counts is what origins can give again: extents, and large files that came from an origin or whose names promise
their content. Extents that nothing reads go first, then files, the longest unused first. The large files of a
repository go together or not at all: its client finds none of it once one of them is gone (H30).
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import trio

from ipfsfs.caches.registry import repository_over
from ipfsfs.errors import IpfsfsError
from ipfsfs.exchange.below import Below, Item
from ipfsfs.exchange.loads import Loads
from ipfsfs.printed import counted
from ipfsfs.store.extents import Kept
from ipfsfs.store.seals import Seals
from ipfsfs.store.uses import Uses
from ipfsfs.unixfs.reference import Reference
from ipfsfs.view.outcomes import File, Given
from ipfsfs.view.placeholder.evicting import Candidate, Evicting
from ipfsfs.view.placeholder.ways_back import Stays, WayBack

log = logging.getLogger(__name__)

LARGE: Final = 1 << 20
"""Bytes from which on a file counts, and is chosen by itself: smaller ones take little room, and are looked for
first."""
_AT_ONCE: Final = 8
"""Files that origins are asked about at the same time."""
_FREE_SHARE: Final = 10
"""Without a limit, extents that nothing reads go while less than a tenth of their disk is free."""
_SOON_S: Final = 1.0
_LATER_S: Final = 30.0
_LATEST_S: Final = 600.0


Report = Callable[[Given], None]


@dataclass(slots=True)
class _Group:
    """Files that go together."""

    files: list[Item] = field(default_factory=list)
    used_ns: int = 0

    @property
    def size(self) -> int:
        return sum(item.size for item in self.files)


@dataclass(slots=True)
class Room:
    """Gives back what origins have. `limit`: bytes that may be kept of it; None: as long as the disk has room."""

    evicting: Evicting
    below: Below
    loads: Loads
    seals: Seals
    uses: Uses
    mountpoint: bytes
    limit: int | None
    trouble: str = ""
    """Why more than the limit is kept; empty where it is not."""
    _one: trio.Lock = field(default_factory=trio.Lock)
    _limiter: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(2))

    async def evict(self, paths: Sequence[bytes], report: Report, *, is_trial: bool) -> Given:
        """Give back all that may go below some paths from the plain root. `is_trial`: only say what would be."""
        given = Given()
        async with self._one:
            found = await trio.to_thread.run_sync(self._named, paths, limiter=self._limiter)
            elsewhere = [item.stands_for for item in found if item.stands_for is not None]
            given.not_here = len(elsewhere)
            await self._give_extents_of(elsewhere, given, is_trial=is_trial)
            files = [item for item in found if item.stands_for is None and self._is_meant(item, paths)]
            for start in range(0, len(files), _AT_ONCE):
                await self._evict(files[start : start + _AT_ONCE], given, is_trial=is_trial)
                report(given)
        return given

    async def down_to(self, size: int, report: Report, *, is_trial: bool) -> Given:
        """Give back until no more than `size` bytes are kept, or nothing may go any more."""
        given = Given()
        async with self._one:
            groups = await self._groups()
            kept = sum(group.size for group in groups) + await self._extents_size()
            kept -= await self._give_extents(kept - size, given, is_trial=is_trial)
            for group in groups:
                if kept <= size:
                    break
                before = given.bytes
                await self._evict(group.files, given, is_trial=is_trial, together=True)
                kept -= given.bytes - before
                report(given)
            given.size = kept
        return given

    @asynccontextmanager
    async def nothing_goes(self) -> AsyncIterator[None]:
        """While the block runs no file gives its place to a link, which might need what nobody needed before."""
        async with self._one:
            yield

    async def run(self) -> None:
        """Keep within the limit, until cancelled."""
        pause_s = _LATER_S
        while True:
            self.loads.idle = trio.Event()
            with trio.move_on_after(pause_s):
                await self.loads.idle.wait()
                pause_s = _SOON_S
            await trio.sleep(_SOON_S)
            try:
                is_kept = await self._keep()
            except (IpfsfsError, OSError) as error:
                self.trouble, is_kept = str(error), False
            pause_s = _LATER_S if is_kept else min(2 * pause_s, _LATEST_S)

    async def _keep(self) -> bool:
        """Give back what is too much; whether that could be done."""
        if self.limit is None:
            await self._give_extents(self._lacking(), Given(), is_trial=False)
            return True
        if await self._estimate() <= self.limit:
            self.trouble = ""
            return True
        given = await self.down_to(self.limit, lambda _: None, is_trial=False)
        if given.bytes:
            log.info("%d bytes were given back, to keep the cache within %d", given.bytes, self.limit)
        if given.size is None or given.size <= self.limit:
            self.trouble = ""
            return True
        why = (
            f"{os.fsdecode(given.stays[0].path)}: {given.stays[0].why}" if given.stays else "what is left is being read"
        )
        stay = counted(len(given.stays), "file that stays", "files that stay")
        self.trouble = f"{counted(given.size, 'byte is', 'bytes are')} kept. Of {stay}, the first is {why}"
        return False

    def _lacking(self) -> int:
        disk = os.fstatvfs(self.loads.extents.fd)
        return (disk.f_blocks // _FREE_SHARE - disk.f_bavail) * disk.f_frsize

    async def _estimate(self) -> int:
        """At least the bytes of all that counts: a walk tells how many they are."""
        return await self._extents_size() + await trio.to_thread.run_sync(self._sealed_size, limiter=self._limiter)

    def _sealed_size(self) -> int:
        index = self.seals.index
        if index is None:
            return 0
        brought = self.seals.ledger.brought.inodes()
        return sum(size for ino, size, is_known in index.sizes(LARGE) if is_known or ino in brought)

    async def _extents_size(self) -> int:
        return sum(extent.bytes for extent in await self._extents())

    async def _extents(self) -> list[Kept]:
        """The extents, the longest unused first."""
        found = await trio.to_thread.run_sync(self.loads.extents.each, limiter=self._limiter)
        return sorted((one for one in found if one.is_extent), key=lambda extent: extent.used_ns)

    async def _give_extents(self, excess: int, given: Given, *, is_trial: bool) -> int:
        """Remove extents that nothing reads, the longest unused first, until `excess` bytes are free; how many are."""
        freed = 0
        for extent in await self._extents() if excess > 0 else []:
            if freed >= excess:
                break
            freed += await self._discard(extent, is_trial=is_trial)
        given.extents += freed
        return freed

    async def _give_extents_of(self, wanted: Sequence[Reference], given: Given, *, is_trial: bool) -> None:
        """Remove the extents of some files that are not wholly here."""
        named = {(one.root, one.size) for one in wanted}
        for extent in await self._extents() if named else []:
            if (extent.root, extent.size) in named:
                given.extents += await self._discard(extent, is_trial=is_trial)

    async def _discard(self, extent: Kept, *, is_trial: bool) -> int:
        """Remove an extent if nothing reads it and no pin holds it; how many bytes that frees. The table of its leaves
        stays: it is small, and spares the question for it."""
        if self.loads.is_loading(extent.root) or self.seals.ledger.pins.holds(extent.root):
            return 0
        if not is_trial:
            try:
                aside = self.loads.extents.set_aside(extent)
            except FileNotFoundError:  # it became a file of the plain directory meanwhile
                return 0
            await trio.to_thread.run_sync(self.loads.extents.remove, aside, limiter=self._limiter)
        return extent.bytes

    def _named(self, paths: Sequence[bytes]) -> list[Item]:
        return _merged(item for path in paths for item in self.below.items(path))

    def _is_meant(self, item: Item, paths: Sequence[bytes]) -> bool:
        """Whether a file is asked for: what clients must find, what has no bytes, and the small files of a repository
        that git names, only by their own names."""
        return item.named in paths or (
            item.size > 0 and not self.evicting.by_its_place(item) and not self.evicting.is_named_by_git(item)
        )

    async def _evict(self, files: list[Item], given: Given, *, is_trial: bool, together: bool = False) -> None:
        """Evict what may go of some files; all or none of them where they go `together`."""
        asked = _Asked(self.evicting)
        async with trio.open_nursery() as nursery:
            for item in files:
                nursery.start_soon(asked.ask, item)
        refused = asked.refused
        if together and refused:
            given.stays += refused
            given.stays += [
                File(one.item.path, one.item.size, f"it goes with {os.fsdecode(refused[0].path)}, which stays")
                for one, _ in asked.may_go
            ]
            return
        given.stays += refused
        for one, back in asked.may_go:
            item = one.item
            try:
                if not is_trial:
                    await self.evicting.evict(one, back)
                given.went.append(File(item.path, item.size))
            except Stays as error:
                given.stays.append(File(item.path, item.size, str(error)))

    async def _groups(self) -> list[_Group]:
        """All that counts, in the order in which it goes."""
        brought = await trio.to_thread.run_sync(self.seals.ledger.brought.inodes, limiter=self._limiter)
        found = await trio.to_thread.run_sync(self._that_count, brought, limiter=self._limiter)
        groups: dict[bytes, _Group] = {}
        for item in found:
            group = groups.setdefault(self._together_with(item), _Group())
            group.files.append(item)
            used_ns = await self.uses.last_ns(item.st.st_ino, item.st.st_atime_ns)
            group.used_ns = max(group.used_ns, used_ns)
        return sorted(groups.values(), key=lambda group: (group.used_ns, group.files[0].path))

    def _that_count(self, brought: set[int]) -> list[Item]:
        large = (item for item in self.below.items(b"") if item.stands_for is None and item.size >= LARGE)
        counting = [item for item in _merged(large) if item.promise is not None or item.st.st_ino in brought]
        return [item for item in counting if not self.evicting.by_its_place(item)]

    def _together_with(self, item: Item) -> bytes:
        repository = repository_over(self.mountpoint + b"/" + item.named)
        return item.path if repository is None else repository[0]


@dataclass(slots=True)
class _Asked:
    """Files that are asked whether they may go."""

    evicting: Evicting
    refused: list[File] = field(default_factory=list)
    may_go: list[tuple[Candidate, WayBack]] = field(default_factory=list)
    _at_once: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(_AT_ONCE))

    async def ask(self, item: Item) -> None:
        """Ask about one."""
        async with self._at_once:
            try:
                one = await self.evicting.candidate(item)
                self.may_go.append((one, await self.evicting.way_back(one)))
            except IpfsfsError as error:  # of this file, be it the store or a process that fails: others go on
                self.refused.append(File(item.path, item.size, str(error)))


def _merged(items: Iterable[Item]) -> list[Item]:
    """Each file once, with what any of its names promises, by the name that promises it."""
    found: dict[bytes, Item] = {}
    for item in items:
        before = found.get(item.path)
        if before is None or (before.promise is None and item.promise is not None):
            found[item.path] = item
    return list(found.values())
