"""One file to the sealer, and what comes back into the index."""

from __future__ import annotations

import logging
import os
import secrets
from dataclasses import dataclass

from ipfsfs.caches.place import locate
from ipfsfs.errors import IpfsfsError
from ipfsfs.store.seal import Seal
from ipfsfs.store.seals import Seals
from ipfsfs.store.unsealable import Reason
from ipfsfs.unixfs.chunk import Chunker
from ipfsfs.view.backing import Node
from ipfsfs.view.nodes import NodeTable
from ipfsfs.view.open_files import OpenFiles
from ipfsfs.view.upkeep.promises import Promises
from ipfsfs.view.upkeep.scrubbing import Scrubbing
from ipfsfs.view.upkeep.settling import Settling
from ipfsfs.view.upkeep.sharing import Sharing
from ipfsfs.workers.sealer.client import Sealer, Urgency
from ipfsfs.workers.sealer.outcome import Busy, Changed, Failed, Gone, Sealed, Secret, Unfit

log = logging.getLogger(__name__)

Hashed = Sealed | Busy | Changed | Gone | Secret | Unfit | Failed | None


@dataclass(slots=True)
class Entering:
    """Has files hashed, and enters their seals."""

    nodes: NodeTable
    files: OpenFiles
    seals: Seals
    promises: Promises
    sealer: Sealer
    settling: Settling
    sharing: Sharing
    scrubbing: Scrubbing
    chunker: Chunker
    boot: str

    def is_wanted(self, node: Node) -> bool:
        """Whether a file is to be sealed, by the name it has now."""
        if node.parent is None or node.held >= 0:
            return False
        return self.nodes.place(node.parent).classify(node.name).is_sealed

    async def hash(self, path: bytes, ino: int, urgency: Urgency) -> Hashed:
        """What the sealer says of a file; None when it was lost meanwhile."""
        place, name = locate(path, self.nodes.root_place)
        promised = name.promise
        # What lies in the clients' shared store is known to other machines by the names that lead to it.
        whole = place.holds_shared_content or (promised is not None and not self.promises.knows(ino))
        try:
            outcome = await self.sealer.seal(path, ino, chunker=self.chunker, whole=whole, urgency=urgency)
        except IpfsfsError as error:
            log.warning("%s: %s", os.fsdecode(path), error)
            return None
        match outcome:
            case Sealed() if promised is not None:
                if not (outcome.sha256 or self.promises.digest_of(outcome.identity)):
                    self.promises.forget_digest(ino)
                    return Changed()  # since its rename: the whole has to be hashed after all
            case Secret():
                self.seals.unsealable.add(outcome.identity, Reason.SECRET)
            case Unfit():
                self.seals.unsealable.add(outcome.identity, Reason.UNFIT)
                log.warning("%s: it gets no seal as it is: %s", os.fsdecode(path), outcome.reason)
            case Failed():
                log.warning("%s: not sealed: %s", os.fsdecode(path), outcome.message)
        return outcome

    async def enter(self, path: bytes, sealed: Sealed) -> None:
        """Enter a sealed file, unless it broke a promise, and was withdrawn, has become a secret meanwhile, or is open
        for writing: a write looks for the seal to break where the file is open, and finds none there."""
        node = self.nodes.find(self.nodes.plain.dev, sealed.identity.ino)
        if node is not None and not self.is_wanted(node):
            return
        seal = self._seal_of(sealed)
        promised = locate(path, self.nodes.root_place)[1].promise
        if promised is not None and not await self.promises.sealed(path, promised, seal):
            return
        node = self.nodes.find(self.nodes.plain.dev, seal.ino)
        if node is not None and not self.is_wanted(node):
            return
        file = self.files.of(node) if node is not None else None
        if file is not None and file.writers:
            file.written = True  # its last writer's going makes it due again
            return
        if file is not None and file.breaking is not None:
            return  # it is being truncated, which makes it due again
        self.promises.finished(seal.ino)
        seal = self.seals.put(seal)
        self.seals.seen_at(seal.ino, path)
        if file is not None and file.fd >= 0 and seal.identity.agrees(os.fstat(file.fd)):
            file.attach(seal)
        self.sharing.sealed(seal, path)
        self.scrubbing.sealed(seal)
        await self.seals.mended(path, "rot")
        await self.seals.mended(path, "unreadable")
        await self.settling.sealed(seal, path)

    def _seal_of(self, sealed: Sealed) -> Seal:
        return Seal(
            identity=sealed.identity,
            seal_id=secrets.randbits(62),
            root=sealed.root,
            chunker=self.chunker,
            leaves=sealed.leaves,
            sums=sealed.sums,
            sha256=sealed.sha256 or self.promises.digest_of(sealed.identity),
            leased=sealed.leased,
            settled=False,
            boot=self.boot,
        )
