"""The way back to a file that only the Hub has, when its nodes are lost: all of it, cut again until its CID comes out.

The Hub knows no CIDs. Of a file that was evicted because the Hub has it the store keeps the table of leaves, by which
ranges of it are compared as they come. Where that table is lost, with the store perhaps, all of the file has to come
before a byte of it can be served: then its leaves are known again, and the root above them is the one that was named.
"""

from __future__ import annotations

import logging
import os
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from ipfsfs.errors import FetcherLost, NotHeld, OriginError, OtherContent
from ipfsfs.exchange.on_hub import OnHub, Token
from ipfsfs.origins.hub_file import HubFile
from ipfsfs.store.extents import Extents
from ipfsfs.unixfs.reference import Reference
from ipfsfs.workers.fetcher.client import Fetcher
from ipfsfs.workers.fetcher.table import LeafTable

log = logging.getLogger(__name__)

_TRIES: Final = 3
"""How often a job is given again to a fetcher that died with it."""
_REMEMBERED: Final = 1_000


@dataclass(slots=True)
class Recutting:
    """Has whole files from the Hub into extents. `token`: for whom it is asked."""

    fetcher: Fetcher
    extents: Extents
    on_hub: OnHub
    token: Token
    _others: OrderedDict[bytes, dict[HubFile, str]] = field(default_factory=OrderedDict)
    """By root, files that were compared and are not what it names, and what was said: they are not fetched again."""

    async def found(self, path: bytes) -> list[HubFile]:
        """The files on the Hub that may have the content of the one at a path."""
        return await self.on_hub.find_ever(path, self.token)

    async def table(self, wanted: Reference, path: bytes) -> LeafTable:
        """The leaves of a file that is to be at a path from the plain root; all of them are in its extent then.

        Raises OriginError, which says what the Hub said, and OSError.
        """
        known = await self.found(path)
        if not known:
            raise NotHeld("no link or listing says where the Hub has the file")
        key = self.extents.whole_key(wanted.root, wanted.size)
        failures: list[OriginError] = []
        for file in known:
            try:
                self._refuse_another(wanted.root, file)
                log.info("%s: all of it is fetched from the Hub, for nobody gives its nodes", os.fsdecode(path))
                os.close(self.extents.open_healing(key))
                table = await self._cut(self.extents.healing_name(key), wanted, file)
            except OtherContent as error:
                self._others.setdefault(wanted.root, {})[file] = str(error)
                failures.append(error)
            except OriginError as error:
                failures.append(error)
            else:
                self.extents.adopt(key, wanted.root, wanted.size)
                return table
        hint = next((error.hint for error in failures if error.hint), "")
        raise OriginError("; ".join(dict.fromkeys(map(str, failures))), hint=hint)

    def _refuse_another(self, root: bytes, file: HubFile) -> None:
        """Raises OtherContent for a file that was compared before."""
        while len(self._others) > _REMEMBERED:
            self._others.popitem(last=False)
        why = self._others.get(root, {}).get(file)
        if why is not None:
            raise OtherContent(why)

    async def _cut(self, extent: str, wanted: Reference, file: HubFile) -> LeafTable:
        for left in range(_TRIES - 1, -1, -1):
            try:
                return await self.fetcher.cut(extent, wanted.root, wanted.size, [file])
            except FetcherLost:
                if not left:
                    raise
        raise AssertionError
