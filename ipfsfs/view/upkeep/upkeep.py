"""Upkeep: what follows from what happens to files. Those who serve requests name the event; what comes of it is here.

No event waits, except those whose outcome a request depends on: a file gets a promised name, or loses it before it was
compared with that, or sealed content changes.
"""

from __future__ import annotations

import logging
import math
import os
import stat as stat_
import time
from dataclasses import dataclass
from typing import Final

import trio

from ipfsfs.errors import IntegrityError
from ipfsfs.exchange.site import Site
from ipfsfs.store.seal import UNIT, Seal
from ipfsfs.store.seals import Seals
from ipfsfs.store.uses import Uses
from ipfsfs.view.background import Background, logged
from ipfsfs.view.backing import Node
from ipfsfs.view.nodes import NodeTable
from ipfsfs.view.open_files import Broken
from ipfsfs.view.upkeep.damage import Damage
from ipfsfs.view.upkeep.promises import Promises, describe_process
from ipfsfs.view.upkeep.scrubbing import Scrubbing
from ipfsfs.view.upkeep.sealing import Sealing

log = logging.getLogger(__name__)

_ROOM_S: Final = 1.0
"""How long a removed file may keep its blocks: until the kernel has forgotten it, and the sealer let go of it."""


@dataclass(slots=True)
class Upkeep:
    """Hears of what happens to files, and has them sealed, held to their promises, and reported."""

    nodes: NodeTable
    seals: Seals
    promises: Promises
    sealing: Sealing
    scrubbing: Scrubbing
    damage: Damage
    background: Background
    uses: Uses
    site: Site | None = None
    """What other machines have; None where no others are asked."""
    _last_removal: float = -math.inf
    """When a file last lost its last name (s, monotonic): until the kernel has forgotten it, it keeps its blocks."""

    def made(self, node: Node, parent: Node, name: bytes) -> None:
        """A file was made."""
        if node.dev == self.nodes.plain.dev:
            self.promises.made(node, self.nodes.place(parent), name)
        self.sealing.changed(node)

    def is_unverified(self, st: os.stat_result) -> bool:
        """Whether a file was not yet checked against its name, which the kernel must not trust for long until then."""
        return self.promises.is_unverified(st)

    async def check_promise(
        self, parent: Node, name: bytes, st: os.stat_result, new_parent: Node, new_name: bytes
    ) -> None:
        """A file is about to be renamed. Raises IntegrityError when it does not keep what the new name promises."""
        await self.promises.check(parent, name, st, new_parent, new_name)

    async def about_to_be_named(self, parent: Node, name: bytes, fd: int) -> None:
        """The file that `fd` holds is about to get a name by a link or an exchange. Raises OSError."""
        await self.promises.named(parent, name, fd)

    async def renamed(self, st: os.stat_result, parent: Node, name: bytes) -> None:
        """A file got another name by a rename or an exchange."""
        await self.promises.moved(st, parent, name)
        if self.site is not None and stat_.S_ISREG(st.st_mode):
            place = self.nodes.place(parent)
            promise = place.classify(name).promise
            if promise is not None:
                self.site.named(promise, st.st_size, self.nodes.path_of(parent, name))
            elif place.lists(name):
                self.site.listing(self.nodes.path_of(parent, name))

    def changed(self, node: Node) -> None:
        """A file may need a new seal: it was renamed, or its attributes were set."""
        self.sealing.changed(node)

    def opened_for_reading(self) -> None:
        """A worker opens a file, and is about to load it."""
        self.sealing.make_way(self.site)

    def closed(self, node: Node) -> None:
        """A file is open no longer."""
        if node.dev == self.nodes.plain.dev:
            self.uses.note(node.ino)

    def opened_for_writing(self, node: Node, size: int) -> None:
        """A file was opened for writing."""
        if node.parent is not None and node.dev == self.nodes.plain.dev:
            self.promises.reopened(node, self.nodes.place(node.parent), size)

    def written(self, node: Node, offset: int, length: int) -> None:
        """Bytes were written to a file."""
        if node.dev == self.nodes.plain.dev:
            self.promises.written(node, offset, length)

    def written_unseen(self, node: Node) -> None:
        """A file is open for writes that pass the daemon: what was known of its bytes counts no longer."""
        if node.dev == self.nodes.plain.dev:
            self.promises.written(node, 0, 0)
            self.promises.truncated(node.ino, 0)

    def truncated(self, node: Node, size: int) -> None:
        """A file was cut or extended."""
        if node.dev == self.nodes.plain.dev:
            self.promises.truncated(node.ino, size)

    def last_writer_gone(self, node: Node) -> None:
        """A file that was written is open for writing no longer."""
        self.sealing.changed(node)

    async def about_to_change(self, node: Node, seal: Seal, pid: int) -> Broken:
        """A process is about to change sealed content. Returns when what is to be kept of it is kept."""
        self.scrubbing.changed(seal.ino)
        if not self.promises.keeps_promise(node, seal):
            return Broken(seal, "")
        return Broken(seal, await self.promises.keep_old(node, seal, describe_process(pid)))

    def changed_in_place(self, node: Node, broken: Broken, pid: int) -> None:
        """Sealed content was changed by a process."""
        if self.promises.keeps_promise(node, broken.seal):
            who = describe_process(pid)
            self.background.start(self.promises.changed_in_place, node, broken.seal, broken.kept_as, who)

    def not_changed(self, node: Node, broken: Broken) -> None:
        """Sealed content that was about to change did not, for the call failed: the file wants its seal back."""
        self.promises.drop_old(broken.kept_as)
        self.sealing.changed(node)

    def moved(self, node: Node, *, directory: bool) -> None:
        """A file or directory has another name."""
        if directory:
            self.background.start(self.sealing.seal_below, self.nodes.path(node))
        else:
            self.sealing.changed(node)

    def unlinked(self, parent: Node, name: bytes) -> None:
        """A name was removed through the view."""
        if self.site is not None:
            promise = self.nodes.place(parent).classify(name).promise
            if promise is not None:
                self.site.removed(promise)

    def name_gone(self, path: bytes) -> None:
        """What stood at a path stands there no longer: what was found wrong with it counts no longer."""
        if self.seals.is_found(path):
            self.background.start(self.seals.mended, path)

    def removed(self, ino: int, *, known: bool) -> None:
        """A file lost its last name. `known`: the kernel still knows it, so that it may be written yet."""
        if known:
            self.seals.lapse(ino)
        else:
            self.seals.forget(ino)
        self.scrubbing.changed(ino)
        self.promises.finished(ino)
        self._last_removal = time.monotonic()

    def room_to_come(self) -> bool:
        """Whether a disk that is full may have room in a moment, for a file was just removed."""
        return time.monotonic() - self._last_removal < _ROOM_S

    def lacks_seal(self, node: Node, st: os.stat_result) -> None:
        """A file without a seal that agrees with it was opened, or asked for its CID."""
        self.sealing.opened_unsealed(node, st)

    def tree_lacks_seals(self) -> None:
        """A directory was asked for its CID, and files below it have no seal."""
        self.sealing.walking.look_again()

    def found_changed(self, node: Node) -> None:
        """A file is not what it was sealed as: it was changed beneath the view."""
        self.sealing.changed(node)

    def found_rotten(self, node: Node, seal: Seal, unit: int) -> IntegrityError:
        """A unit of a sealed file is not what was written there, and nothing was written since: report it once.

        Returns the error for whoever read it.
        """
        path = self.nodes.path(node)
        shown = os.fsdecode(path)
        advice = self.damage.is_rot(path, seal, unit)
        self.scrubbing.found_damaged(seal)
        return IntegrityError(
            f"{shown}: bytes {unit * UNIT} to {min((unit + 1) * UNIT, seal.size)} are not what was written there",
            hint=f"The disk returned other bytes than were sealed. {advice}",
        )

    async def run(self) -> None:
        """Carry on with all of it, until cancelled."""
        self.promises.take_up()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.seals.run)
            nursery.start_soon(logged, self.uses.run)
            nursery.start_soon(logged, self.sealing.run)
            nursery.start_soon(logged, self.sealing.seal_what_was_there)
            nursery.start_soon(logged, self.scrubbing.run)
