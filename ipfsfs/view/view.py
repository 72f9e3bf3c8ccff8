"""The view: the parts of this room put together, and the opening and closing of files that touches them all."""

from __future__ import annotations

import os
import stat as stat_
from dataclasses import dataclass, field
from pathlib import Path

import trio

from ipfsfs.caches.place import Place
from ipfsfs.exchange.below import Below
from ipfsfs.exchange.by_leaves import ByLeaves
from ipfsfs.exchange.eviction import Possible
from ipfsfs.exchange.having import Having
from ipfsfs.exchange.heal import Healing
from ipfsfs.exchange.heal_kept import HealingKept
from ipfsfs.exchange.keeping import Keeping
from ipfsfs.exchange.loads import Loads
from ipfsfs.exchange.local_leaves import LocalLeaves
from ipfsfs.exchange.offers import Offers, Share
from ipfsfs.exchange.on_hub import OnHub, Token
from ipfsfs.exchange.published_offers import PublishedOffers
from ipfsfs.exchange.recutting import Recutting
from ipfsfs.exchange.site import Site
from ipfsfs.exchange.trees import SealedLeaves, Trees
from ipfsfs.plain.checked import Checking
from ipfsfs.plain.directory import PlainDirectory
from ipfsfs.plain.ownership import Ownership
from ipfsfs.store.arrivals import Arrivals
from ipfsfs.store.extents import Extents
from ipfsfs.store.index import Index
from ipfsfs.store.kept import Kept
from ipfsfs.store.ledger import Ledger
from ipfsfs.store.quarantine import Quarantine
from ipfsfs.store.seal import Seal
from ipfsfs.store.seals import Seals
from ipfsfs.store.uses import Uses
from ipfsfs.unixfs.chunk import Chunker
from ipfsfs.view.access import Access
from ipfsfs.view.attributes import Attributes, Changes
from ipfsfs.view.background import Background, logged
from ipfsfs.view.backing import Caller, Node, Opened, stale
from ipfsfs.view.counts import Counts
from ipfsfs.view.handles import Handle, Handles
from ipfsfs.view.linking import Linking
from ipfsfs.view.listings import Listings
from ipfsfs.view.locking import KeptContent, Leasing, Locking
from ipfsfs.view.making import AsAsked, AsTeam
from ipfsfs.view.names import Entry, Names
from ipfsfs.view.native import Native
from ipfsfs.view.nodes import NodeTable
from ipfsfs.view.open_files import OpenFiles
from ipfsfs.view.placeholder import serving as placeholder_serving
from ipfsfs.view.placeholder.ahead import Ahead
from ipfsfs.view.placeholder.appearing import Appearing
from ipfsfs.view.placeholder.bringing import Bringing
from ipfsfs.view.placeholder.evicting import Evicting
from ipfsfs.view.placeholder.hydrating import Hydrating
from ipfsfs.view.placeholder.open_links import OpenLinks
from ipfsfs.view.placeholder.pinning import Pinning
from ipfsfs.view.placeholder.placeholder import Placeholders
from ipfsfs.view.placeholder.proof import Proof
from ipfsfs.view.placeholder.room import Room
from ipfsfs.view.placeholder.taking_back import TakingBack
from ipfsfs.view.placeholder.ways_back import WaysBack
from ipfsfs.view.records import Records
from ipfsfs.view.renames import Renames
from ipfsfs.view.resident.breaking import Breaker
from ipfsfs.view.resident.content import Serving
from ipfsfs.view.resident.reading import Reader
from ipfsfs.view.resident.resident import Resident
from ipfsfs.view.resident.writing import Writer
from ipfsfs.view.resident.xattrs import Xattrs
from ipfsfs.view.team import Team, as_team
from ipfsfs.view.upkeep.damage import Damage
from ipfsfs.view.upkeep.healing import PlacingInView
from ipfsfs.view.upkeep.promises import Promises
from ipfsfs.view.upkeep.scrubbing import Scrubbing
from ipfsfs.view.upkeep.sealing import Sealing
from ipfsfs.view.upkeep.upkeep import Upkeep
from ipfsfs.workers.fetcher.client import Fetcher
from ipfsfs.workers.keeper.client import Keeper
from ipfsfs.workers.sealer.client import Sealer
from ipfsfs.workers.server.client import Server


@dataclass(slots=True, frozen=True)
class Others:
    """How this machine shares with others. `announces`: whether others learn what is downloaded here; `asks_public`:
    that only of what the Hub gives to anyone. `trusts_peers`: what they say a blob is is believed before it is
    proven. `is_read_only`: nothing can be made in the view."""

    announces: bool
    asks_public: bool
    trusts_peers: bool
    is_read_only: bool


@dataclass(slots=True, frozen=True)
class Dependencies:
    """What a view needs, opened by the daemon."""

    plain: PlainDirectory
    mountpoint: Path
    place: Place
    index: Index | None
    ledger: Ledger
    quarantine: Quarantine
    sealer: Sealer
    chunker: Chunker
    boot: str
    ownership: Ownership
    descriptor_limit: int
    degraded: str
    fetcher: Fetcher
    extents: Extents
    patience_s: float
    """How long a read waits for bytes that are not here."""
    cache_size: int | None
    """How many bytes may be kept of what origins have; None: what the disk has room for."""
    eviction: Possible
    """Whether files can be evicted."""
    checking: Checking
    native_from: int
    """The size in bytes from which a file is read natively, where it may be."""
    server: Server | None = None
    """Gives what is here to other machines; None where nothing is served."""
    share: Share = "public"
    """What other machines may have."""
    announces: bool = False
    """Whether there are other machines to tell what is here."""
    token: Token = Token.ANYONE
    """For whom the Hub is asked when a file is read that is not here."""
    others: Others | None = None
    """Other machines that share with this one; None where none do."""
    leasing: Leasing | None = None
    """What is known of downloads on other machines, where another than the site is to say it."""
    keeper: Keeper | None = None
    """What has clients wait for those."""
    team: Team | None = None
    """The group that shares the view, if one does."""
    scrub_s: float | None = None
    """How often a file is verified that is read natively while its filesystem does not check it; None: none is read so,
    and every read of it is checked."""


@dataclass(slots=True)
class View:
    """The mounted tree. Its parts each serve one kind of request; opening and closing is served here."""

    plain: PlainDirectory
    nodes: NodeTable
    files: OpenFiles
    handles: Handles
    native: Native
    seals: Seals
    upkeep: Upkeep
    scrubbing: Scrubbing
    resident: Resident
    names: Names
    renames: Renames
    listings: Listings
    trees: Trees
    hydrating: Hydrating
    arrivals: Arrivals
    room: Room
    bringing: Bringing
    fetcher: Fetcher
    healing: Healing
    healing_kept: HealingKept
    linking: Linking
    pinning: Pinning
    site: Site | None
    """What other machines have; None where none are asked."""
    appearing: Appearing | None
    published: PublishedOffers
    locking: Locking
    offers: Offers | None
    team: Team | None
    counts: Counts = field(default_factory=Counts)

    @classmethod
    def build(cls, on: Dependencies, nursery: trio.Nursery) -> View:
        """Put a view together; its background tasks run in `nursery`."""
        nodes = NodeTable(on.plain, on.place, on.descriptor_limit)
        files = OpenFiles()
        seals = Seals(on.plain.dev, on.index, on.ledger, on.degraded)
        background = Background(nursery)
        promises = Promises.build(nodes, files, seals, on.sealer, on.quarantine, background)
        damage = Damage(seals, background, on.mountpoint)
        scrubbing = Scrubbing(nodes, files, seals, on.sealer, damage, on.boot, on.scrub_s)
        sealing = Sealing(nodes, files, seals, promises, on.sealer, on.chunker, on.boot, scrubbing)
        uses = Uses(seals)
        upkeep = Upkeep(nodes, seals, promises, sealing, scrubbing, damage, background, uses)
        trees = Trees(on.plain, on.place, SealedLeaves(seals))
        records = Records(nodes, files, seals, upkeep)
        keeping = Keeping(Kept.open(on.extents.fd), on.ledger.pins, on.plain.dev, records.linked_elsewhere)
        breaker = Breaker(seals, upkeep, keeping)
        native = Native(on.checking, scrubbing, on.ownership, on.native_from)
        reader, writer = Reader(seals, upkeep, on.boot), Writer(on.ownership, breaker, upkeep)
        serving = Serving(nodes, files, reader, writer, breaker, upkeep, native)
        resident = Resident(nodes, seals, serving, Xattrs(nodes, files, seals, trees, upkeep, on.team), keeping)
        nodes.begin(resident)
        on_hub = OnHub(on.fetcher, on.plain.fd)
        recutting = Recutting(on.fetcher, on.extents, on_hub, on.token)
        others = on.others
        site = None
        if others is not None:
            announces, is_for_all = others.announces, others.asks_public
            site = Site(on.fetcher, on.plain.fd, promises.downloads, background, announces, is_for_all, on.token)
            upkeep.site = site
        having, local = Having(recutting, site), LocalLeaves(seals)
        loads = Loads(on.fetcher, on.extents, background, on.patience_s, local, keeping, recutting, having)
        links = OpenLinks(nodes)
        arrivals = Arrivals(seals)
        taking_back = TakingBack(nodes, records, site)
        hydrating = Hydrating(nodes, loads, upkeep, resident, links, arrivals, uses, taking_back, on.team)
        proof = Proof(nodes, loads, on_hub, others is not None and others.trusts_peers)
        elsewhere = placeholder_serving.Serving(nodes, loads, hydrating, resident, links, proof)
        placeholders = Placeholders(elsewhere, on.team)
        possible = on.eviction
        ways_back = WaysBack(on.fetcher, on_hub, on.sealer, on.token, possible.has_origins, possible.has_hub)
        evicting = Evicting(nodes, files, upkeep, elsewhere, arrivals, possible, ways_back)
        below = Below(on.plain.fd, on.place)
        offers = None
        if on.server is not None:
            published, announces = on.ledger.published, on.announces
            offers = Offers(seals, on.server, on.fetcher, on_hub, on.place, on.share, announces, published, site)
            seals.follower = loads.follower = offers
            if site is not None and on.token is Token.OWNER:
                site.here = offers
        making = AsAsked(on.ownership) if on.team is None else AsTeam(on.ownership, on.team)
        names = Names(nodes, resident, placeholders, records, upkeep, making, on.team)
        bringing = Bringing(names, loads, below)
        appearing = None
        if site is not None and others is not None:
            ahead = Ahead(bringing, background, on.extents.fd, on.cache_size)
            appearing = Appearing(names, site, others.is_read_only, ahead)
        return cls(
            plain=on.plain,
            nodes=nodes,
            files=files,
            handles=Handles(native),
            native=native,
            seals=seals,
            upkeep=upkeep,
            scrubbing=scrubbing,
            resident=resident,
            names=names,
            renames=Renames(nodes, records, upkeep, on.team),
            listings=Listings(nodes, names, on.team),
            trees=trees,
            hydrating=hydrating,
            arrivals=arrivals,
            room=Room(evicting, below, loads, seals, uses, os.fsencode(on.mountpoint), on.cache_size),
            bringing=bringing,
            fetcher=on.fetcher,
            healing=Healing(
                on.fetcher,
                on_hub,
                on.extents,
                on.plain,
                on.place,
                on.quarantine.fd,
                seals,
                PlacingInView(promises.quarantining, upkeep, keeping, on.extents),
            ),
            healing_kept=HealingKept(ByLeaves(on.fetcher, on.extents), LocalLeaves(seals), keeping),
            linking=Linking(records),
            locking=Locking(nodes, background, on.leasing or site, on.keeper),
            offers=offers,
            published=PublishedOffers(on.plain, seals, on.ledger.published, on.server, offers, on.share == "published"),
            pinning=Pinning(on.plain, on.place, seals, sealing, loads, hydrating, keeping),
            site=site,
            appearing=appearing,
            team=on.team,
        )

    async def appear(self, parent: Node, name: bytes, caller: Caller) -> Entry | None:
        """What stands under a name that is absent, once other machines were asked, where that may be; at most 20 ms
        later. Raises OSError."""
        return None if self.appearing is None else await self.appearing.look(parent, name, caller)

    def open_nowait(self, node: Node, access: Access, caller: Caller) -> Handle | None:
        """Open a file as `open` does; None where that has to wait."""
        if self.locking.is_keeper(caller):
            return self.handles.add_ours(node, KeptContent())
        opened = node.backing.open_nowait(node, access, caller)
        return None if opened is None else self.handles.add(node, opened)

    async def open(self, node: Node, access: Access, caller: Caller) -> Handle:
        """Open a file.

        Raises OSError; ESTALE where the file is not what the kernel was told it is, so that it looks again (H22).
        """
        handle = self.handles.add(node, await node.backing.open(node, access, caller))
        if access.writes:
            await self.locking.opened(node)
        return handle

    async def create(
        self, parent: Node, name: bytes, access: Access, mode: int, caller: Caller
    ) -> tuple[Entry, Handle]:
        """Make and open a file; one that was made beneath a moment ago is opened, unless O_EXCL forbids that. The
        kernel may know such a file by another name.

        Raises OSError.
        """
        try:
            entry, fd = self.names.create(parent, name, access, mode, caller)
        except FileExistsError:
            found = self.names.lookup(parent, name, caller)
            if access.exclusive or found is None or not stat_.S_ISREG(found.attributes.st_mode):
                raise
            if caller.uid not in (0, os.geteuid()):
                raise stale() from None  # the kernel looks again, and checks whether this user may
            handle = await self.open(found.node, access, caller)
            return found._replace(attributes=found.node.backing.attributes(found.node)), handle
        made = self.resident.made(entry.node, fd, access, caller)
        handle = self.handles.add(entry.node, Opened(made, True))
        await self.locking.opened(entry.node)
        return entry, handle

    async def change(self, node: Node, changes: Changes, handle: int | None, caller: Caller) -> Attributes:
        """Set attributes, by a handle where there is one, and return all of them. Raises OSError."""
        content = self.handles[handle] if handle is not None else None
        if self.team is not None and (changes.mode is not None or changes.gid is not None):
            changes = as_team(self.team, self.nodes, node, changes)
        return await node.backing.change(node, changes, content, caller)

    async def give_up_seals_of_writers(self) -> None:
        """Before the store is released while files are open: what may be written has no seal any more (H17)."""
        while (seals := self._seals_of_writers()) or self.seals.has_unmarked:
            for seal in seals:
                await self.seals.unseal(seal)
            await self.seals.mark_lapsed()

    def _seals_of_writers(self) -> list[Seal]:
        ours = [node for node in self.files.open_for_writing() if node.dev == self.seals.dev]
        return [seal for node in ours if (seal := self.seals.get(node.ino)) is not None]

    async def run(self) -> None:
        """Run the background tasks, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.upkeep.run)
            nursery.start_soon(self.hydrating.run)
            nursery.start_soon(self.arrivals.run)
            nursery.start_soon(logged, self.room.run)
            if self.site is not None:
                nursery.start_soon(logged, self.site.run)
            if self.offers is not None:
                nursery.start_soon(logged, self.offers.run)
            nursery.start_soon(logged, self.published.run)

    def close(self) -> None:
        """Close every descriptor."""
        self.nodes.close()
        self.pinning.close()
