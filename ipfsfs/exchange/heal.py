"""Healing: what rotted, is missing or was overwritten is had again, checked, and put in place.

The content is looked for in the quarantine first, then at the origins by CID, where that is known, then at the Hub. It
comes into a new file in the store; only when all of that was compared with its leaves, or with the sha256 that its name
promises, does it take the place of the damaged one, which goes to the quarantine (H18).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

import trio

from ipfsfs.caches.place import Place, locate
from ipfsfs.errors import FetcherLost, FormatError, IntegrityError, IpfsfsError, OriginError, StoreError
from ipfsfs.exchange import whereabouts
from ipfsfs.exchange.by_leaves import TRIES, ByLeaves, Origins
from ipfsfs.exchange.on_hub import OnHub, Token
from ipfsfs.exchange.whereabouts import Missing
from ipfsfs.identity import Identity
from ipfsfs.origins.hub_file import HubFile
from ipfsfs.plain import identities, moving, syscalls
from ipfsfs.plain.directory import PlainDirectory
from ipfsfs.store import quarantine
from ipfsfs.store.extents import Extents
from ipfsfs.store.seal import Seal, boot_id
from ipfsfs.store.seals import Seals
from ipfsfs.unixfs import cid, reference
from ipfsfs.unixfs.reference import Reference
from ipfsfs.workers.fetcher.client import Fetcher
from ipfsfs.workers.fetcher.table import LeafTable, table_of

log = logging.getLogger(__name__)

Damage = Literal["rot", "unreadable", "broken_promise", "withdrawn", "missing"]


@dataclass(slots=True, frozen=True)
class Damaged:
    """A file that is to be healed. `path`: from the plain root. `digest`: what the name says that its content must
    have, in hex; empty where it says nothing. `seal`: what it was sealed as, where that is what it should be again.
    `identity`: the file that stands there now, if one does. `was`: what it was before it was written in place, as far
    as a finding says that."""

    path: bytes
    damage: Damage
    digest: str
    seal: Seal | None
    identity: Identity | None
    was: Reference | None = None

    @property
    def is_of_disk(self) -> bool:
        """Whether the disk did it, and no program."""
        return self.damage in ("rot", "unreadable")


@dataclass(slots=True, frozen=True)
class Content:
    """The right content, whole, compared, and on disk: `extent` is its path from the directory of extents."""

    extent: str
    sha256: bytes
    source: str
    """Where it was had from, in words."""


@dataclass(slots=True, frozen=True)
class Healed:
    """What became of a damaged file. `source`: where its content was had from. `kept`: the name in the quarantine of
    what stood there before; empty where nothing did, or it was not kept. `also`: other names of the damaged file, which
    stand for the healed one by now."""

    path: str
    damage: Damage
    source: str
    kept: str
    also: tuple[str, ...] = ()


@dataclass(slots=True, frozen=True)
class Placed:
    """What was done to put content in place: `kept` and `also` as of `Healed`, but paths from the plain root."""

    kept: str = ""
    also: tuple[bytes, ...] = ()


@dataclass(slots=True, frozen=True)
class NotHealed:
    """A damaged file that stays as it is, and why."""

    path: str
    damage: Damage
    why: str
    hint: str


class Placing(Protocol):
    """Puts files in place."""

    async def put(self, damaged: Damaged, content: Content, fd: int) -> Placed:
        """Put content, which `fd` is open on, in the place of a damaged file, at all names that are to have it.

        Raises OSError, and IpfsfsError where a file is not replaced: it was changed meanwhile, or is being written.
        """


@dataclass(slots=True)
class Healing:
    """Heals files of a view. `report` of a call is told the path and how many bytes of it are here."""

    fetcher: Fetcher
    on_hub: OnHub
    extents: Extents
    plain: PlainDirectory
    root_place: Place
    quarantine_fd: int
    seals: Seals
    placing: Placing
    _healing: trio.Lock = field(default_factory=trio.Lock)

    async def look(self, path: bytes, damage: Damage) -> Damaged | None:
        """What is known of a file that is not as it should be; None where it is gone."""
        promise = locate(path, self.root_place)[1].promise
        if promise is None:
            promise = await trio.to_thread.run_sync(whereabouts.SharedPromises(self.plain.fd).of, path)
        identity = await trio.to_thread.run_sync(self._identity, path)
        if identity is None:
            return None
        seal = self.seals.get(identity.ino)
        holds = seal is not None and seal.identity == identity and _tells(seal, damage)
        digest = promise.hex() if promise is not None else ""
        if not digest and holds and seal is not None and seal.sha256:
            digest = seal.sha256.hex()
        was = await trio.to_thread.run_sync(self._was, path) if damage == "broken_promise" else None
        return Damaged(path, damage, digest, seal if holds else None, identity, was)

    def _was(self, path: bytes) -> Reference | None:
        """What a file held before it was written in place, as far as that was noted. Raises StoreError."""
        for finding in self.seals.ledger.findings.all():
            if finding.path == path and finding.kind == "broken_promise":
                return reference.parse(finding.detail.rpartition(" ")[2].encode("ascii", "replace"))
        return None

    async def missing(self, path: bytes) -> list[Damaged]:
        """The files at and below a path that are not there, though links lead to them."""
        found: list[Missing] = await trio.to_thread.run_sync(whereabouts.missing, self.plain.fd, path)
        return [Damaged(one.path, "missing", one.digest, None, None) for one in found]

    async def heal(self, damaged: Damaged, report: Callable[[bytes, int], None]) -> Healed | NotHealed:
        """Heal a file. Never raises for what only concerns this file."""
        shown = os.fsdecode(damaged.path)
        try:
            async with self._healing:
                content = await self._content(damaged, lambda done: report(damaged.path, done))
                placed = await self._put(damaged, content)
        except OSError as error:
            return NotHealed(shown, damaged.damage, f"{error.strerror or error}", "")
        except IpfsfsError as error:
            return NotHealed(shown, damaged.damage, str(error), error.hint)
        log.info("%s: healed from %s; what it was is %s", shown, content.source, placed.kept or "not kept")
        for path in (damaged.path, *placed.also):
            await self.seals.mended(path)
        return Healed(shown, damaged.damage, content.source, placed.kept, tuple(map(os.fsdecode, placed.also)))

    async def _put(self, damaged: Damaged, content: Content) -> Placed:
        fd = os.open(content.extent, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.extents.fd)
        try:
            return await self.placing.put(damaged, content, fd)
        finally:
            os.close(fd)
            with suppress(OSError):  # where it could not be moved, it was copied
                os.unlink(content.extent, dir_fd=self.extents.fd)

    async def _content(self, damaged: Damaged, progress: Callable[[int], None]) -> Content:
        """The right content of a file. Raises IpfsfsError, with what each said that does not have it; OSError."""
        kept = await self._kept(damaged)
        if kept is not None:
            return kept
        on_hub = await self.on_hub.find(damaged.path, damaged.digest, Token.OWNER)
        if damaged.seal is not None:
            seal = damaged.seal
            return await self._by_leaves(damaged, seal.root, table_of(seal.iter_leaves()), on_hub[0], progress)
        failure: IpfsfsError | None = None
        if damaged.was is not None:
            try:
                table = await self.fetcher.table(damaged.was.root, damaged.was.size)
                return await self._by_leaves(damaged, damaged.was.root, table, on_hub[0], progress)
            except (OriginError, FormatError, IntegrityError) as error:
                failure = error
                log.info("%r is not healed by its CID: %s", damaged.path, error)
        try:
            return await self._from_hub(damaged, *on_hub, progress)
        except OriginError as error:
            if failure is None:
                raise
            said = str(failure) if str(error) in str(failure) else f"{failure}; {error}"
            raise OriginError(said, hint=error.hint) from error

    async def _from_hub(
        self, damaged: Damaged, on_hub: Sequence[HubFile], size: int, progress: Callable[[int], None]
    ) -> Content:
        if not damaged.digest:
            raise OriginError("what it should hold is not known: it has no seal that holds")
        return await self._by_digest(damaged.digest, on_hub, size, progress)

    async def _kept(self, damaged: Damaged) -> Content | None:
        """From the quarantine, if it has the content. What notes say is compared."""
        kept = await trio.to_thread.run_sync(quarantine.kept, self.quarantine_fd)
        for item in kept:
            if damaged.digest and item.note is not None and item.note.get("actual_sha256") == damaged.digest:
                key = f"{damaged.digest}.kept"
                try:
                    await trio.to_thread.run_sync(self._copy_kept, key, item.stored_as)
                    found = await self._whole(key, damaged.digest, -1, [], lambda done: None)
                    return replace(found, source=f"the quarantine ({item.stored_as})")
                except (OSError, OriginError) as error:
                    log.info("%s in the quarantine does not heal %r: %s", item.stored_as, damaged.path, error)
                    self.extents.drop_healing(key)
        return None

    def _copy_kept(self, key: str, stored_as: str) -> None:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        self._copy(os.open(stored_as, flags, dir_fd=self.quarantine_fd), self.extents.open_healing(key))

    @staticmethod
    def _copy(source: int, target: int) -> None:
        """Copy one file to another, and close both. Raises OSError."""
        try:
            os.ftruncate(target, 0)
            moving.copy(source, target)
        finally:
            os.close(source)
            os.close(target)

    async def _by_leaves(
        self,
        damaged: Damaged,
        root: bytes,
        table: LeafTable,
        on_hub: Sequence[HubFile],
        progress: Callable[[int], None],
    ) -> Content:
        """By the leaves that a file had: those that are right are copied, the others are fetched."""
        key = f"{cid.to_text(root)}.{table.size}"

        def begin(target: int) -> None:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
            source = syscalls.open_beneath(self.plain.fd, damaged.path, flags)
            try:
                (moving.copy_what_can_be_read if damaged.damage == "unreadable" else moving.copy)(source, target)
            finally:
                os.close(source)

        by_leaves = ByLeaves(self.fetcher, self.extents)
        whole = await by_leaves.mended(key, table, begin, Origins(on_hub=on_hub), progress)
        if damaged.digest not in ("", whole.sha256.hex()):
            self.extents.drop_healing(key)
            raise IntegrityError("what came of it is not what its name promises")
        return Content(whole.extent, whole.sha256, whole.sources)

    async def _by_digest(
        self, digest: str, on_hub: Sequence[HubFile], size: int, progress: Callable[[int], None]
    ) -> Content:
        """The whole from the Hub, which is compared with its digest."""
        os.close(self.extents.open_healing(digest))
        try:
            return await self._whole(digest, digest, size, on_hub, progress)
        except OriginError:
            with suppress(OSError):
                if not os.stat(self.extents.healing_name(digest), dir_fd=self.extents.fd).st_size:
                    self.extents.drop_healing(digest)
            raise

    async def _whole(
        self, key: str, digest: str, size: int, on_hub: Sequence[HubFile], progress: Callable[[int], None]
    ) -> Content:
        extent = self.extents.healing_name(key)
        for left in range(TRIES - 1, -1, -1):
            try:
                found = await self.fetcher.whole(extent, digest, size, on_hub, progress)
                return Content(extent, found.sha256, found.served_by or "the store")
            except FetcherLost:
                if not left:
                    raise
        raise StoreError("not reached")

    def _identity(self, path: bytes) -> Identity | None:
        try:
            fd = syscalls.open_beneath(self.plain.fd, path, os.O_PATH | os.O_NOFOLLOW)
        except OSError:
            return None
        try:
            return identities.identity_of(fd)
        finally:
            os.close(fd)


def _tells(seal: Seal, damage: Damage) -> bool:
    """Whether what a file was sealed as, and did not change since, is what it should be again."""
    return damage == "rot" or (damage == "unreadable" and seal.vouches(boot_id()))
