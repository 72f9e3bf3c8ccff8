"""Offers: which files other machines may have, told to the server, and to the owners of their names at the site.

Offered are blobs that were sealed and keep what their names promise, and, leaf by leaf, those that are being loaded; as
far as `--share` lets them: what the Hub of the mount gives to anyone (`public`), all (`all`), or what was published
(`published`). Whether the Hub gives a blob to anyone is asked without a token, for the revision that the cache has it
of, and again each day; while that is not known, it is not so.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

import trio

from ipfsfs.caches.place import Place, locate
from ipfsfs.errors import IpfsfsError
from ipfsfs.exchange.load import Load
from ipfsfs.exchange.on_hub import OnHub
from ipfsfs.exchange.site import Site
from ipfsfs.origins.peer_messages import Announced, Found
from ipfsfs.store.seal import Seal, pack_leaf
from ipfsfs.store.seals import Seals
from ipfsfs.unixfs import cid
from ipfsfs.unixfs.reference import Reference
from ipfsfs.workers.fetcher.client import Fetcher
from ipfsfs.workers.fetcher.table import LeafTable
from ipfsfs.workers.server.client import Server
from ipfsfs.workers.server.offer import Offer

log = logging.getLogger(__name__)

ASKING: Final = 4
"""Questions to the Hub at once."""
ASKED_AGAIN_S: Final = 86_400.0
_UNKNOWN_AGAIN_S: Final = 600.0
"""After how long the Hub is asked again that did not say whether it gives a blob to anyone."""
_LOOKED_S: Final = 60.0
"""How often it is looked for what is to be asked again."""
ANNOUNCED_AGAIN_S: Final = 600.0
_GATHERED_S: Final = 0.2
"""How long what is new waits for more, to be announced together."""
_FAILED_AGAIN_S: Final = 30.0
_IDLE_S: Final = 60.0
"""What was read of links is forgotten where there was nothing to look at for so long."""
_ANNOUNCED_AT_ONCE: Final = 4_096

_Key = tuple[bytes, int]
Share = Literal["public", "all", "published"]


class Published(Protocol):
    """What was published from this machine."""

    def has(self, root: bytes) -> bool:
        """Whether the content of a root was named by `publish`, itself or below a tree."""


class NothingPublished:
    """Until roots that were published are kept: none is."""

    def has(self, root: bytes) -> bool:
        """As `Published`."""
        return False


@dataclass(slots=True)
class _Known:
    """A sealed blob that may be offered. `public`: whether the Hub gives it to anyone; None while that is not known.
    `again`: when that is asked next."""

    ino: int
    path: bytes
    key: _Key
    sha256: bytes
    public: bool | None = None
    again: float = 0.0
    offered: bool | None = None
    """What the server was told of it: whether it is public; None where it is not offered."""


@dataclass(slots=True, eq=False)
class Offers:
    """Keeps the server's offers, and what the site knows of them, in step with what is here. `announces`: whether there
    are other machines to tell."""

    seals: Seals
    server: Server
    fetcher: Fetcher
    on_hub: OnHub
    root_place: Place
    share: Share
    announces: bool
    published: Published = field(default_factory=NothingPublished)
    site: Site | None = None
    """Hears when what was downloaded here can be had by others, or never will be."""
    _known: dict[int, _Known] = field(default_factory=dict)
    _by_key: dict[_Key, dict[int, _Known]] = field(default_factory=dict)
    _by_sha256: dict[bytes, _Key] = field(default_factory=dict)
    _loads: dict[_Key, Offer] = field(default_factory=dict)
    """What is offered of files that are being loaded, or were a moment ago."""
    _due: dict[int, bytes] = field(default_factory=dict)
    """By inode, sealed files that are to be looked at, and where they were seen."""
    _woken: trio.Event = field(default_factory=trio.Event)
    _unannounced: dict[_Key, None] = field(default_factory=dict)
    _to_announce: trio.Event = field(default_factory=trio.Event)
    _tasks: trio.Nursery | None = None

    @property
    def offered(self) -> int:
        """How many sealed files are offered."""
        return sum(any(one.offered is not None for one in same.values()) for same in self._by_key.values())

    def resident(self, sha256: bytes) -> Found | None:
        """What has this sha256 and is here, under whatever name; whether others may have it is no matter."""
        key = self._by_sha256.get(sha256)
        return None if key is None else Found(*key, (), False)

    def sealed(self, ino: int, path: bytes) -> None:
        """A sealed file is at a path. Never waits: walks see each of them every hour."""
        known = self._known.get(ino)
        if not self._is_blob(path):
            self._forget(ino)
            return
        seal = self.seals.get(ino) if known is not None else None
        if known is None or seal is None or (known.path, known.key) != (path, (seal.root, seal.size)):
            self._due[ino] = path
            self._wake()

    def unsealed(self, ino: int) -> None:
        """A file is gone, or about to change. Never waits."""
        self._due.pop(ino, None)
        self._forget(ino)

    def look_again(self) -> None:
        """Whether others may have what is here is decided anew. Never waits."""
        for ino, known in self._known.items():
            known.again = 0.0
            self._due.setdefault(ino, known.path)
        self._wake()

    def loading(self, load: Load) -> None:
        """Leaves of a file come into an extent. Never waits."""
        if self._tasks is not None:
            self._tasks.start_soon(self._offer_load, load)

    def loaded(self, load: Load) -> None:
        """An extent became a file, which will be sealed. Never waits."""
        offer = self._loads.get(_key(load.reference))
        if offer is not None and load.paths and self._tasks is not None:
            moved = Offer(offer.root, offer.size, b"", offer.public, offer.leaves, "plain", min(load.paths))
            self._loads[offer.key] = moved
            self._tasks.start_soon(self._tell_of_load, moved)

    def ended(self, load: Load) -> None:
        """No leaves of a file come any more. Never waits."""
        if not load.is_retired and (offer := self._loads.pop(_key(load.reference), None)) is not None:
            self._withdraw(offer.key)

    def withdraw(self, key: _Key) -> None:
        """What another offered of this root and size is not to be given any more, unless it is offered here. Never
        waits."""
        self._offer_another(key)

    async def run(self) -> None:
        """Offer and announce, until cancelled."""
        async with trio.open_nursery() as nursery:
            self._tasks = nursery
            nursery.start_soon(self._offer_again_to_others)
            nursery.start_soon(self._ask_again)
            nursery.start_soon(self._announce)
            for _ in range(ASKING):
                nursery.start_soon(self._look_at_due)

    async def _look_at_due(self) -> None:
        while True:
            while not self._due:
                with trio.move_on_after(_IDLE_S) as waiting:
                    await self._woken.wait()
                if waiting.cancelled_caught and not self._due:  # else it was woken at the same moment
                    self.on_hub.forget_links()
                    await self._woken.wait()
            ino = next(iter(self._due))
            path = self._due.pop(ino)
            try:
                await self._look_at(ino, path)
            except Exception:  # a bug met with one file must not end all offers
                log.exception("a bug in offering %s", os.fsdecode(path))
            await trio.lowlevel.checkpoint()

    async def _look_at(self, ino: int, path: bytes) -> None:
        seal = self.seals.get(ino)
        if seal is None or not self._is_what_it_promises(seal, path):
            self._forget(ino)
            return
        known = self._known.get(ino)
        key = seal.root, seal.size
        if known is None or known.key != key or known.sha256 != seal.sha256:
            self._forget(ino)
            known = self._known[ino] = _Known(ino, path, key, seal.sha256)
            self._by_key.setdefault(key, {})[ino] = known
            self._by_sha256[seal.sha256] = key
        elif known.path != path:
            known.path, known.offered = path, None
        self._loads.pop(key, None)
        if self.share == "all" and known.offered is None:
            await self._offer(known)  # whether anyone may have it is another question
        if known.again <= trio.current_time():
            await self._ask(known)
        if self._known.get(ino) is known:
            await self._settle(known)

    def _is_blob(self, path: bytes) -> bool:
        """Whether the name of a file promises something, be it by links of repositories that lead to it."""
        place, name = locate(path, self.root_place)
        return name.promise is not None or (place.holds_shared_content and name.is_sealed)

    def _is_what_it_promises(self, seal: Seal, path: bytes) -> bool:
        """In the clients' shared store names say nothing of the content, and links elsewhere do."""
        promise = locate(path, self.root_place)[1].promise
        return bool(seal.sha256) and promise in (None, seal.sha256)

    async def _ask(self, known: _Known) -> None:
        """Find out whether anyone may have a blob."""
        if self.share == "published":
            known.public = self.published.has(known.key[0])
            known.again = math.inf
            return
        known.public = await self._is_public(known.path, known.sha256)
        known.again = trio.current_time() + (_UNKNOWN_AGAIN_S if known.public is None else ASKED_AGAIN_S)

    async def _is_public(self, path: bytes, sha256: bytes) -> bool | None:
        """What the Hub says of a blob; None where it does not."""
        try:
            files = await self.on_hub.for_anyone(path, sha256.hex())
            return bool(files) and await self.fetcher.public(files, sha256)
        except IpfsfsError as error:
            log.info("%s: whether anyone may have it is not known: %s", os.fsdecode(path), error)
            return None

    async def _settle(self, known: _Known) -> None:
        """Have the server know what is known now."""
        if self.share == "all" or known.public:
            if known.offered != bool(known.public):
                await self._offer(known)
        else:
            if known.offered is not None:
                known.offered = None
                self._offer_another(known.key)
            else:
                self._withdraw(known.key)  # it may have been offered while it was loaded, when anyone might have it
            if self.site is not None:
                self.site.over(known.sha256)

    async def _offer(self, known: _Known) -> None:
        seal = self.seals.get(known.ino)
        if seal is None or (seal.root, seal.size) != known.key:
            return
        others = self._by_key.get(known.key, {}).values()
        public = bool(known.public) or any(bool(other.public) for other in others)
        known.offered = bool(known.public)
        offer = Offer(*known.key, known.sha256, public, seal.leaves, "plain", known.path)
        self._unannounced[known.key] = None
        self._to_announce.set()
        await self.server.offer(offer)
        if self._known.get(known.ino) is not known:  # while that waited for the server
            self._withdraw(known.key)

    def _forget(self, ino: int) -> None:
        known = self._known.pop(ino, None)
        if known is None:
            return
        same = self._by_key[known.key]
        del same[ino]
        if not same:
            del self._by_key[known.key]
            self._by_sha256.pop(known.sha256, None)
        if known.offered is not None:
            self._offer_another(known.key)

    def _offer_another(self, key: _Key) -> None:
        """A file is offered no longer: another of the same content is in its place, where there is one."""
        self._withdraw(key)
        for other in self._by_key.get(key, {}).values():
            other.offered = None
            self._due[other.ino] = other.path
            self._wake()

    def _withdraw(self, key: _Key) -> None:
        if not any(one.offered is not None for one in self._by_key.get(key, {}).values()):
            self._unannounced.pop(key, None)
            self.server.withdraw(*key)

    async def _offer_load(self, load: Load) -> None:
        """Offer the leaves of a file that is being loaded, where the file itself would be."""
        key = _key(load.reference)
        for path in sorted(load.paths):
            promise = locate(path, self.root_place)[1].promise
            if promise is None:
                continue
            public = self.share == "published" and self.published.has(key[0])
            if self.share != "published":
                public = bool(await self._is_public(path, promise))
            leaves = await trio.to_thread.run_sync(_packed, load.table)
            if (public or self.share == "all") and leaves is not None and not load.is_retired:
                # What another machine says the blob is may be something private here until all of it is proven.
                for_anyone = public and not load.reference.is_by_name
                offer = self._loads[key] = Offer(*key, b"", for_anyone, leaves, "extent")
                await self._tell_of_load(offer)
            return

    async def _tell_of_load(self, offer: Offer) -> None:
        if not any(one.offered is not None for one in self._by_key.get(offer.key, {}).values()):
            await self.server.offer(offer)

    async def _offer_again_to_others(self) -> None:
        """Offer all of it to each process that follows the first."""
        starts = await self.server.started(0)
        while True:
            starts = await self.server.started(starts)
            for known in list(self._known.values()):
                if known.offered is not None:
                    await self._offer(known)
            for offer in list(self._loads.values()):
                await self._tell_of_load(offer)

    async def _ask_again(self) -> None:
        while True:
            await trio.sleep(_LOOKED_S)
            now = trio.current_time()
            for known in list(self._known.values()):
                if known.again <= now and known.ino not in self._due:
                    self._due[known.ino] = known.path
                    self._wake()

    async def _announce(self) -> None:
        """Tell the site what is offered: what is new at once, and all of it from time to time."""
        if not self.announces:
            return
        all_at, failed_at = trio.current_time() + ANNOUNCED_AGAIN_S, math.inf
        while True:
            with trio.move_on_at(min(all_at, failed_at)):
                await self._to_announce.wait()
                await trio.sleep(_GATHERED_S)
            self._to_announce = trio.Event()
            if trio.current_time() >= all_at:
                self._unannounced.update(dict.fromkeys(self._by_key))
                all_at = trio.current_time() + ANNOUNCED_AGAIN_S
            failed_at = math.inf if await self._announced() else trio.current_time() + _FAILED_AGAIN_S

    async def _announced(self) -> bool:
        """Announce what was not; returns whether all of it could be."""
        blobs = list(self._to_be_announced())
        self._unannounced.clear()
        for at in range(0, len(blobs), _ANNOUNCED_AT_ONCE):
            part = blobs[at : at + _ANNOUNCED_AT_ONCE]
            try:
                await self.fetcher.announce(part)
                if self.site is not None:
                    for blob in part:
                        self.site.over(blob.sha256)
            except IpfsfsError as error:
                log.info("%d blobs are not announced: %s", len(part), error)
                self._unannounced.update({(blob.root, blob.size): None for blob in blobs[at:]})
                return False
        return True

    def _to_be_announced(self) -> Iterator[Announced]:
        for key in self._unannounced:
            same = [one for one in self._by_key.get(key, {}).values() if one.offered is not None]
            if same:
                yield Announced(same[0].sha256, *key, any(bool(one.public) for one in same))

    def _wake(self) -> None:
        self._woken.set()
        self._woken = trio.Event()


def _key(reference: Reference) -> _Key:
    return reference.root, reference.size


def _packed(table: LeafTable) -> bytes | None:
    """Leaves as an offer has them; None where some are no raw blocks."""
    leaves = list(table)
    if any(cid.codec(leaf.cid) != cid.RAW for leaf in leaves):
        return None
    return b"".join(pack_leaf(leaf.length, cid.digest(leaf.cid)) for leaf in leaves)
