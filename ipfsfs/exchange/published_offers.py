"""Offers of what `publish` named: all files and nodes of a tree, be they blobs of a repository or not.

`publish --serve` names a tree to be served, so it is, to anyone, whatever `--share` says of all else; what was
published in another way is by `--share published` only. The files are looked up by their roots: where one is not sealed
here now, its blocks are not here.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Final

import trio

from ipfsfs.errors import IpfsfsError
from ipfsfs.exchange.offers import Offers
from ipfsfs.exchange.residents import residents
from ipfsfs.plain.directory import PlainDirectory
from ipfsfs.store.seals import Seals
from ipfsfs.store.tables.published import Published
from ipfsfs.workers.server.client import Server
from ipfsfs.workers.server.offer import NodesOffer, Offer

log = logging.getLogger(__name__)

_AGAIN_S: Final = 600.0
"""How often files are looked up again that were not here, or elsewhere."""
_Key = tuple[bytes, int]


@dataclass(slots=True, eq=False)
class PublishedOffers:
    """Keeps the server's offers in step with what is published. `offers`: those of blobs, which may be of the same
    files; None where nothing is served. `all_of_it`: not only what is served from here alone."""

    plain: PlainDirectory
    seals: Seals
    published: Published
    server: Server | None
    offers: Offers | None
    all_of_it: bool
    _files: set[_Key] = field(default_factory=set)
    _trees: set[bytes] = field(default_factory=set)
    _woken: trio.Event = field(default_factory=trio.Event)

    def changed(self) -> None:
        """Something was published, or is so no longer. Never waits."""
        self._woken.set()
        if self.offers is not None and self.all_of_it:
            self.offers.look_again()

    async def run(self) -> None:
        """Offer, until cancelled."""
        if self.server is None:
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._follow_processes, self.server)
            while True:
                self._woken = trio.Event()
                try:
                    await self._offer(self.server)
                except IpfsfsError as error:
                    log.warning("what was published cannot be offered: %s", error)
                with trio.move_on_after(_AGAIN_S):
                    await self._woken.wait()

    async def _follow_processes(self, server: Server) -> None:
        """Each process is offered all of it."""
        starts = server.starts
        while True:
            starts = await server.started(starts)
            self._files.clear()
            self._trees.clear()
            self._woken.set()

    async def _offer(self, server: Server) -> None:
        roots = await trio.to_thread.run_sync(self.published.all)
        served = [one.root for one in roots if one.is_served or self.all_of_it]
        wanted: set[bytes] = set()
        for root in served:
            wanted.update(await trio.to_thread.run_sync(self.published.files, root))
            if root not in self._trees:
                nodes = await trio.to_thread.run_sync(self.published.nodes, root)
                await server.offer_nodes(NodesOffer(root, b"".join(nodes), public=True))
                self._trees.add(root)
        for root in self._trees.difference(served):
            server.withdraw_nodes(root)
            self._trees.discard(root)
        for key in [key for key in self._files if key[0] not in wanted]:
            self._files.discard(key)
            if self.offers is not None:
                self.offers.withdraw(key)
        for found in await residents(self.plain, self.seals, wanted):
            seal = found.seal
            await server.offer(Offer(seal.root, seal.size, seal.sha256, True, seal.leaves, "plain", found.path))
            self._files.add((seal.root, seal.size))
