"""Breaking a seal before sealed bytes change, on disk as well, so that no seal outlives its bytes (H17)."""

from __future__ import annotations

from dataclasses import dataclass

import trio

from ipfsfs.exchange.keeping import Keeping
from ipfsfs.identity import Stat
from ipfsfs.plain import content
from ipfsfs.store.seals import Seals
from ipfsfs.view.open_files import OpenFile
from ipfsfs.view.upkeep.upkeep import Upkeep


@dataclass(slots=True)
class Breaker:
    """Breaks seals. An append breaks one as an overwrite does: what is overwritten after it finds no seal to break."""

    seals: Seals
    upkeep: Upkeep
    keeping: Keeping

    def may_change(self, file: OpenFile) -> bool:
        """Whether a file's content may change at once: nothing vouches for it, and no pin holds these very bytes."""
        is_free = file.seal is None and file.breaking is None
        return is_free and not self.keeping.has_second_name(file.node.dev, file.node.ino)

    async def before_change(self, file: OpenFile, pid: int) -> None:
        """Break a file's seal, durably, before a process changes its content, and let go of what a pin holds of it; no
        other change happens meanwhile."""
        while file.breaking is not None:
            await file.breaking.wait()
        if self.may_change(file):
            return
        seal = file.seal
        file.breaking = trio.Event()
        file.attach(None)
        try:
            await self.keeping.before_change(file.node.dev, file.node.ino)
            if seal is not None:
                seal = self.seals.get(seal.ino) or seal  # its identity may be another now
                file.broken = await self.upkeep.about_to_change(file.node, seal, pid)
                await self.seals.unseal(seal)
        except BaseException:
            file.attach(seal)  # whoever changes the file next is to break it
            raise
        finally:
            file.breaking.set()
            file.breaking = None

    async def before_truncation(self, file: OpenFile, fd: int, pid: int) -> None:
        """The same for a file that may not be open: `fd` is a descriptor of it."""
        await self.before_writer(content.stat(fd))
        if file.seal is None and file.breaking is None:
            file.attach(self.seals.agreeing(content.stat(fd)))  # it may have got one meanwhile
        await self.before_change(file, pid)

    async def before_writer(self, st: Stat) -> None:
        """Before a file is opened for writing: a seal that holds no longer is known on disk not to hold."""
        if st.st_dev == self.seals.dev:
            seal = self.seals.get(st.st_ino)
            if seal is not None and not seal.identity.agrees(st):
                self.seals.lapse(st.st_ino)
            await self.seals.wait_until_marked(st.st_ino)
            if not st.st_nlink:  # opened by way of /proc after its seal was forgotten with its last name
                await self.seals.make_durable()

    def changed(self, file: OpenFile, pid: int) -> None:
        """A change by a process has succeeded: a promise that was broken by it is reported."""
        if file.broken is not None:
            broken, file.broken = file.broken, None
            self.upkeep.changed_in_place(file.node, broken, pid)

    def unchanged(self, file: OpenFile) -> None:
        """The changes that a seal was broken for have all failed: no promise was broken."""
        if file.broken is not None:
            broken, file.broken = file.broken, None
            self.upkeep.not_changed(file.node, broken)
