"""Whether what is downloaded here is for all machines, for the Hub gives it to anyone: else none need wait for it."""

from __future__ import annotations

import logging
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

import trio

from ipfsfs.errors import IpfsfsError
from ipfsfs.exchange.whereabouts import any_file
from ipfsfs.origins.hub_file import HubFile
from ipfsfs.workers.fetcher.client import Fetcher

log = logging.getLogger(__name__)

_HOLDS_S: Final = 600.0
"""How long it holds good whether the Hub gives a revision to anyone."""
_MOST: Final = 1_024


@dataclass(slots=True)
class ForAll:
    """Asks the Hub, without a token, of one file for each revision of a repository."""

    fetcher: Fetcher
    plain_fd: int
    _said: OrderedDict[tuple[str, str, str], tuple[bool, float]] = field(default_factory=OrderedDict)
    """By revision, whether anyone may have it, and when the Hub said so."""
    _limiter: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(1))

    async def has(self, sha256: bytes, file: HubFile | None, repository: bytes | None) -> bool:
        """Whether anyone may have a blob: `file` on the Hub, or, where that is not known, any file of the repository at
        a path that a snapshot links to. True where nothing can be asked; False where the Hub does not say."""
        digest = sha256
        if file is None and repository is not None:
            found = await trio.to_thread.run_sync(any_file, self.plain_fd, repository, limiter=self._limiter)
            file, digest = found or (None, sha256)
        if file is None:
            return True
        key, now = (file.kind, file.repository, file.revision), trio.current_time()
        is_public, since = self._said.get(key, (False, -_HOLDS_S))
        if now < since + _HOLDS_S:
            return is_public
        try:
            is_public = await self.fetcher.public([file], digest)
        except IpfsfsError as error:
            log.info("whether anyone may have %s is not known: %s", file.repository, error)
            return False
        self._said[key] = is_public, now
        while len(self._said) > _MOST:
            self._said.popitem(last=False)
        return is_public
