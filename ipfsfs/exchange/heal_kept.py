"""Healing what pins hold: leaves that are right stay, the others are had from files of the view, else from origins."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from ipfsfs.errors import IpfsfsError, StoreError
from ipfsfs.exchange.by_leaves import ByLeaves, Origins
from ipfsfs.exchange.keeping import Keeping
from ipfsfs.exchange.kept_files import WrongPinned, table_of
from ipfsfs.exchange.local_leaves import LocalLeaves
from ipfsfs.plain import moving
from ipfsfs.store import kept
from ipfsfs.store.tables.pins import PinnedFile
from ipfsfs.workers.fetcher.table import LeafTable

log = logging.getLogger(__name__)


@dataclass(slots=True, frozen=True)
class PinnedOutcome:
    """What became of a file of pins that was wrong. `source`: where its content was had from. `why`: why it stays as it
    is, with what to do (`hint`); empty where it was healed."""

    wrong: WrongPinned
    source: str = ""
    why: str = ""
    hint: str = ""


@dataclass(slots=True)
class HealingKept:
    """Heals what pins hold."""

    by_leaves: ByLeaves
    local: LocalLeaves
    keeping: Keeping

    async def heal(self, wrong: WrongPinned, progress: Callable[[int], None]) -> PinnedOutcome:
        """Heal a file. `progress` is told how many bytes of it are right. Never raises for what only concerns this."""
        file = wrong.file
        try:
            async with self.keeping.files.held(file):
                if not self.keeping.pins.holds(file.root):
                    return PinnedOutcome(wrong, why="it was unpinned meanwhile")
                source = await self._heal(file, progress)
        except OSError as error:
            return PinnedOutcome(wrong, why=error.strerror or str(error))
        except IpfsfsError as error:
            return PinnedOutcome(wrong, why=str(error), hint=error.hint)
        log.info("%s, which is pinned, was healed from %s", wrong.cid, source)
        return PinnedOutcome(wrong, source)

    async def _heal(self, file: PinnedFile, progress: Callable[[int], None]) -> str:
        """Returns where the content was had from. Raises IpfsfsError, OSError."""
        table = table_of(self.keeping.kept, file) or await self._table(file)
        here = await self.local.sources(file.root, table)
        extents = self.by_leaves.extents

        def begin(target: int) -> None:
            source = self.keeping.kept.open_file(file)
            try:
                moving.copy_what_can_be_read(source, target)
            finally:
                os.close(source)

        whole = await self.by_leaves.mended(kept.name(file), table, begin, Origins(here), progress)
        fd = os.open(whole.extent, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=extents.fd)
        try:
            await self.keeping.take(file, fd)
            await self.keeping.keep_table(file, table.records)
            if not self.keeping.pins.holds(file.root):
                self.keeping.drop_new(file)
                raise StoreError("it was unpinned meanwhile")
            self.keeping.commit(file)
            await self.keeping.sync()
        finally:
            os.close(fd)
            with suppress(OSError):
                os.unlink(whole.extent, dir_fd=extents.fd)
        return whole.sources

    async def _table(self, file: PinnedFile) -> LeafTable:
        return await self.local.table(*file) or await self.by_leaves.fetcher.table(*file)
