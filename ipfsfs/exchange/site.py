"""The site: what other machines have of what is wanted here, and whose download is waited for.

Nothing here speaks to a network: the fetcher does. No answer of others ever ends a download: where they say nothing, or
what makes no sense, it goes on as if there were none (`State.ALONE`).
"""

from __future__ import annotations

import logging
import os
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

import trio

from ipfsfs.caches.registry import repository_over, shared_blob
from ipfsfs.errors import IpfsfsError
from ipfsfs.exchange.for_all import ForAll
from ipfsfs.exchange.hub_rate import HubRate
from ipfsfs.exchange.known_here import Downloads, Here
from ipfsfs.exchange.on_hub import Token
from ipfsfs.exchange.pace import Holder, Load
from ipfsfs.exchange.wanted import BLOBS_MOST, State, Wanted, WantedBlobs
from ipfsfs.exchange.whereabouts import Listing, is_there, lacking, listing_at, listings_of
from ipfsfs.origins.hub_file import HubFile
from ipfsfs.origins.peer_messages import Found, Leases
from ipfsfs.workers.fetcher.client import Fetcher
from ipfsfs.workers.fetcher.site_messages import PeerSource

log = logging.getLogger(__name__)

LOOKUP_S: Final = 0.02
"""How long a LOOKUP, or the opening of a lock, may wait for others: the kernel holds the directory meanwhile."""
_EVERY_S: Final = 0.5
"""How often leases are renewed, and those of others asked about."""
_ANSWER_S: Final = 4.0
"""How long the others may take to answer; both owners of a blob are asked within that."""
_HOLDERS_S: Final = 2.0
"""How long the others may take to say who has what is read."""
_AT_ONCE: Final = 1_024
"""Blobs in one question."""
_AGAIN_S: Final = 30.0
"""How long a download that goes on alone stays so, where none is under way."""
_LISTINGS_MOST: Final = 1_024

Key = TypeVar("Key")
Value = TypeVar("Value")


class Tasks(Protocol):
    """Where background tasks are started."""

    def start(self, function: Callable[..., Awaitable[object]], *arguments: object) -> None: ...


@dataclass(slots=True)
class Site:
    """What this machine knows of blobs that are wanted here.

    `announces`: whether what is downloaded here is offered to all others, so that they may wait for it. `asks_public`:
    whether that is so only for what the Hub gives to anyone. `token`: for whom the Hub is asked.
    """

    fetcher: Fetcher
    plain_fd: int
    downloads: Downloads
    tasks: Tasks
    announces: bool
    asks_public: bool
    token: Token
    here: Here | None = None
    """Knows what is here under other names; None where what one user has is not for another."""
    blobs: WantedBlobs = field(default_factory=WantedBlobs)
    _on_hub: OrderedDict[bytes, HubFile] = field(default_factory=OrderedDict)
    """By sha256, a file of the Hub that is the blob, as a listing says."""
    _xet: OrderedDict[bytes, str] = field(default_factory=OrderedDict)
    """By sha256, the name of a blob in the clients' shared store, as a listing says."""
    _listings: OrderedDict[bytes, tuple[int, int]] = field(default_factory=OrderedDict)
    """By path, the inode and mtime of the listings that were read."""
    _hub_rate: HubRate = field(init=False)
    _for_all: ForAll = field(init=False)
    _paths: OrderedDict[bytes, bytes] = field(default_factory=OrderedDict)
    """By sha256, where a blob was looked for last, from the plain root."""
    _due: trio.Event = field(default_factory=trio.Event)
    _limiter: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(2))

    def __post_init__(self) -> None:
        self._hub_rate = HubRate(self.fetcher)
        self._for_all = ForAll(self.fetcher, self.plain_fd)

    def listing(self, path: bytes) -> None:
        """A listing of a revision stands at a path: the others are asked for all that it names and is not here."""
        self.tasks.start(self._read, path)

    def looked_for(self, sha256: bytes, path: bytes) -> None:
        """A blob is looked for at a path, which no listing that was read names: see that those of its repository are
        read, some of which may have been there before. Never waits."""
        self._paths[sha256] = path
        _bound(self._paths)
        over = repository_over(path)
        if over is not None and over[0] not in self._listings:
            self._remember(over[0], (0, 0))
            self.tasks.start(self._read_all, over[0])

    def is_wanted(self, sha256: bytes) -> bool:
        """Whether a listing here names a blob, or its lock was opened."""
        return self.blobs.get(sha256) is not None

    def is_ours(self, sha256: bytes) -> bool:
        """Whether this machine downloads a blob, or is about to."""
        blob = self.blobs.get(sha256)
        return blob is not None and blob.state in (State.OURS, State.ALONE)

    def is_fresh(self, sha256: bytes) -> bool:
        """Whether another machine has said just now that it has a blob, so that nobody needs to be asked."""
        blob = self.blobs.get(sha256)
        return blob is not None and self.blobs.is_fresh(blob, trio.current_time())

    def is_downloaded(self, sha256: bytes) -> bool:
        """Whether a program downloads a blob through the view now."""
        return self.downloads.done(sha256) is not None

    def was_removed(self, sha256: bytes) -> bool:
        """Whether a blob was removed through the view within ten minutes."""
        return self.blobs.was_removed(sha256, trio.current_time())

    def xet_entry(self, repository: bytes, sha256: bytes) -> bytes | None:
        """Where the clients' own store would have a blob of a repository; None where a listing names no such place."""
        name = self._xet.get(sha256)
        return None if name is None else shared_blob(repository, name)

    async def sought(self, sha256: bytes) -> Found | None:
        """Who has a wanted blob, as another machine says now, or said just now. Waits at most 20 ms."""
        now = trio.current_time()
        blob = self.blobs.get(sha256)
        if blob is None or self.blobs.was_removed(sha256, now):
            return None
        blob.touched = now
        await self._know(blob)
        return blob.found if self.blobs.is_fresh(blob, trio.current_time()) else None

    async def lock_opened(self, sha256: bytes) -> bool:
        """The lock of a blob's download was opened. Returns, within 20 ms, whether the client is to find it taken:
        another machine downloads the blob, or the others have yet to say who has it."""
        now = trio.current_time()
        if self.blobs.was_removed(sha256, now):
            return False
        blob = self.blobs.want(sha256, now)
        if blob.state is State.ALONE and now > blob.since + _AGAIN_S and not self.is_downloaded(sha256):
            blob.become(State.NAMED, now)
        await self._know(blob)
        return blob.is_kept

    async def until_free(self, sha256: bytes) -> None:
        """Return when a client need not be kept waiting at the lock of a blob any more."""
        while (blob := self.blobs.get(sha256)) is not None and blob.is_kept:
            blob.touched = trio.current_time()
            blob.waiting += 1
            self._due.set()
            try:
                await blob.changed.wait()
            finally:
                blob.waiting -= 1

    async def source(self, sha256: bytes, root: bytes, size: int) -> PeerSource | None:
        """Which machines have a blob by this root; None where none says so."""
        blob = self.blobs.get(sha256)
        found = blob.found if blob is not None else None
        if blob is None or found is None or not self.blobs.is_fresh(blob, trio.current_time()):
            try:
                found = (await self.fetcher.find([sha256], _HOLDERS_S)).get(sha256) or found
            except IpfsfsError as error:
                log.info("the others were not asked who has %s: %s", sha256.hex(), error)
        if found is None or (found.root, found.size) != (root, size):
            return None
        return PeerSource(root, size, found.holders)

    def named(self, sha256: bytes, size: int, path: bytes) -> None:
        """A download has got its promised name."""
        self._paths[sha256] = path
        _bound(self._paths)
        self.blobs.named(sha256, size, trio.current_time())

    def removed(self, sha256: bytes) -> None:
        """A promised name was removed through the view."""
        self.blobs.removed(sha256, trio.current_time())
        self.over(sha256)

    def over(self, sha256: bytes) -> None:
        """A blob is here, and announced where it may be; or what was downloaded broke its promise, or gets no seal."""
        self.blobs.over(sha256)
        self._hub_rate.ended(sha256)
        self._due.set()

    def wrong(self, sha256: bytes, root: bytes) -> None:
        """What another machine said to be a blob is not so."""
        self.blobs.wrong(sha256, root)

    async def run(self) -> None:
        """Renew leases, and ask about those of others, until cancelled."""
        self.fetcher.expect()  # to begin with the first question would be too late for a LOOKUP
        while True:
            if not self.blobs.released and not self.blobs.of(State.OURS) and not self.blobs.waited_for():
                self._due = trio.Event()
                await self._due.wait()
            try:
                await self._tell_and_ask()
            except Exception:  # a bug must not have clients wait for what nobody asks about any more
                log.exception("a bug in asking others: what was waited for is downloaded here")
                for blob in self.blobs.waited_for():
                    self.blobs.alone(blob, trio.current_time())
            await trio.sleep(_EVERY_S)
            self.blobs.forget_idle(trio.current_time())

    async def _read(self, path: bytes) -> None:
        found = await trio.to_thread.run_sync(listing_at, self.plain_fd, path, limiter=self._limiter)
        if found is not None:
            await self._read_listing(path, found)

    async def _read_all(self, repository: bytes) -> None:
        listings = await trio.to_thread.run_sync(listings_of, self.plain_fd, repository, limiter=self._limiter)
        for path, found in listings:
            await self._read_listing(path, found)

    async def _read_listing(self, path: bytes, found: Listing) -> None:
        """Want what a listing names and is not here, and ask the others for it."""
        if self._listings.get(path) == found.stamp:
            return
        self._remember(path, found.stamp)
        over = repository_over(path)
        assert over is not None
        self._remember(over[0], (0, 0))
        try:
            listed = await self.fetcher.listed_all(found.text)
        except IpfsfsError as error:
            log.info("%s: not read: %s", os.fsdecode(path), error)
            return
        named = [blob for blob in listed if blob.sha256]
        missing = await trio.to_thread.run_sync(
            lacking, self.plain_fd, over[0], [(blob.sha256, blob.xet) for blob in named], limiter=self._limiter
        )
        now, wanted = trio.current_time(), []
        for blob, is_missing in zip(named, missing, strict=True):
            sha256 = bytes.fromhex(blob.sha256)
            if blob.xet:
                self._xet[sha256] = blob.xet
            if is_missing:
                wanted.append(self.blobs.want(sha256, now, blob.size))
                with_token = found.file.with_token and self.token is Token.OWNER
                file = HubFile(found.file.kind, found.file.repository, found.file.revision, blob.path, with_token)
                self._on_hub[sha256] = file
        _bound(self._on_hub)
        _bound(self._xet)
        asked = [blob for blob in wanted if not self.blobs.was_removed(blob.sha256, now)]
        await self._ask([blob for blob in asked if blob.state is State.NAMED])
        await self._keep_apart(asked)

    def _remember(self, path: bytes, stamp: tuple[int, int]) -> None:
        self._listings[path] = stamp
        while len(self._listings) > _LISTINGS_MOST:
            self._listings.popitem(last=False)

    async def _keep_apart(self, blobs: Sequence[Wanted]) -> None:
        """Of what the Hub does not give to anyone machines tell each other nothing: none waits for another."""
        waited_for = [blob for blob in blobs if blob.state in (State.OURS, State.THEIRS)]
        if not self.asks_public or not waited_for:
            return
        one = waited_for[0].sha256
        over = repository_over(self._paths.get(one, b""))
        if await self._for_all.has(one, self._on_hub.get(one), None if over is None else over[0]):
            return
        for blob in waited_for:
            if blob.state in (State.OURS, State.THEIRS):
                self.blobs.alone(blob, trio.current_time())
        self._due.set()

    async def _know(self, blob: Wanted) -> None:
        """See that the others are asked, where nothing is known, and wait for their answer: for 20 ms at most."""
        now = trio.current_time()
        is_old = blob.is_stale(now) or (blob.state is State.FOUND and not self.blobs.is_fresh(blob, now))
        if blob.state is State.NAMED or is_old:
            self.blobs.asking([blob], now)
            self.tasks.start(self._ask_for_one, blob)
        with trio.move_on_after(LOOKUP_S):
            while blob.state is State.ASKED:
                await blob.changed.wait()

    async def _ask_for_one(self, blob: Wanted) -> None:
        await self._ask([blob])
        await self._keep_apart([blob])

    async def _ask(self, blobs: list[Wanted]) -> None:
        """Ask for blobs, and for the leases of those that nobody has."""
        now = trio.current_time()
        self.blobs.asking(blobs, now)
        for blob in blobs:
            found = None if self.here is None else self.here.resident(blob.sha256)
            if found is not None and blob.is_kept:
                self.blobs.has_holder(blob, found, now)
        blobs = [blob for blob in blobs if blob.state is State.ASKED]
        try:
            for first in range(0, len(blobs), _AT_ONCE):
                await self._ask_for_leases(blobs[first : first + _AT_ONCE], [], [])
        finally:
            for blob in blobs:
                self.blobs.nobody(blob, trio.current_time())
            self._due.set()

    async def _ask_for_leases(self, blobs: list[Wanted], hold: list[tuple[bytes, int]], release: list[bytes]) -> None:
        """Ask for leases, renew others, and give back what is needed no more."""
        want = [(blob.sha256, blob.size) for blob in blobs]
        try:
            with trio.move_on_after(_ANSWER_S):
                self._take(await self.fetcher.lease(want, hold, release))
                return
        except IpfsfsError as error:
            log.info("the others were not asked for leases: %s", error)
        for blob in blobs:
            if blob.is_kept:
                self.blobs.alone(blob, trio.current_time())

    def _take(self, leases: Leases) -> None:
        """What the others said."""
        now = trio.current_time()
        for sha256 in leases.granted:
            if (blob := self.blobs.get(sha256)) is not None and blob.is_kept:
                self._granted(blob, now)
        for sha256, held in leases.held.items():
            if (blob := self.blobs.get(sha256)) is not None:
                self.blobs.held(blob, held, now)
        for sha256, found in leases.found.items():
            if (blob := self.blobs.get(sha256)) is not None and blob.is_kept:
                self.blobs.has_holder(blob, found, now)

    def _granted(self, blob: Wanted, now: float) -> None:
        is_kept_back = blob.state is State.THEIRS and blob.pace is not None and blob.pace.is_complete
        self.blobs.granted(blob, now)
        if not self.announces or is_kept_back:  # nobody is to wait for what will not be offered
            self.blobs.alone(blob, now)

    async def _tell_and_ask(self) -> None:
        now = trio.current_time()
        hold = [
            (blob.sha256, told) for blob in self.blobs.of(State.OURS) if (told := self._watch(blob, now)) is not None
        ]
        theirs = self.blobs.waited_for()  # a lease on another would be kept from the machines that download it
        release, self.blobs.released = list(self.blobs.released), set()
        if not hold and not theirs and not release:
            return
        for first in range(0, max(len(hold), len(theirs), len(release)), _AT_ONCE):
            part = slice(first, first + _AT_ONCE)
            await self._ask_for_leases(theirs[part], hold[part], release[part])
        self._judge(trio.current_time())

    def _watch(self, blob: Wanted, now: float) -> int | None:
        done = self.downloads.done(blob.sha256)
        if done is not None:
            self._hub_rate.note(blob.sha256, now, done)
        elif blob.is_named and not is_there(self.plain_fd, self._paths.get(blob.sha256, b"")):
            self.over(blob.sha256)  # it was withdrawn, or removed beneath the view
            return None
        return self.blobs.watch(blob, done, now)

    def _judge(self, now: float) -> None:
        """Stop waiting for machines that are slower than this one would be alone, and for what does not get on."""
        by_holder: dict[str, list[Wanted]] = {}
        for blob in self.blobs.waited_for():
            by_holder.setdefault(blob.holder, []).append(blob)
        for holder, blobs in by_holder.items():
            self._judge_load(holder, blobs, now)

    def _judge_load(self, holder: str, blobs: list[Wanted], now: float) -> None:
        paces = {blob.sha256: blob.pace for blob in blobs if blob.pace is not None}
        load = Load(self.blobs.holders.get(holder) or Holder(now), list(paces.values()))
        rate = self._hub_rate.known(now)
        if rate is None and load.needs_hub_rate(now) and self._hub_rate.may_probe(now):
            on_hub = [file for sha256 in paces if (file := self._on_hub.get(sha256)) is not None]
            if on_hub:
                self.tasks.start(self._probe, on_hub[0])
                return
        is_slow = load.is_too_slow(now, rate)
        alone = [blob for blob in blobs if (pace := paces.get(blob.sha256)) is not None
                 and (pace.is_late(now) or (is_slow and not pace.is_complete))]  # fmt: skip
        if alone:
            log.info("%d blobs of %s are not waited for: it has %d bytes of them, at %d bytes/s, and lacks %d",
                     len(alone), holder, load.done, load.rate(now), load.left)  # fmt: skip
        for blob in alone:
            self.blobs.alone(blob, now)

    async def _probe(self, file: HubFile) -> None:
        await self._hub_rate.probe(file)
        self._judge(trio.current_time())


def _bound(known: OrderedDict[Key, Value]) -> None:
    while len(known) > BLOBS_MOST:
        known.popitem(last=False)
