"""Which files on the Hub have the content of a file of the cache, as links and listings say."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from enum import Enum

import trio

from ipfsfs.errors import FormatError, OriginError
from ipfsfs.exchange.linked import LinkedFiles
from ipfsfs.exchange.whereabouts import FILES_MOST, whereabouts
from ipfsfs.origins.hub_file import HubFile
from ipfsfs.origins.hub_files import MAIN
from ipfsfs.workers.fetcher.client import Fetcher
from ipfsfs.workers.fetcher.hub_jobs import LISTED_MOST

log = logging.getLogger(__name__)


class Token(Enum):
    """For whom content is had from the Hub: only the user who mounted has it had with the token (H41)."""

    OWNER = "the user who mounted asks"
    ANYONE = "other users may be asking"


@dataclass(slots=True, eq=False)
class OnHub:
    """Looks files up. `plain_fd`: the plain directory."""

    fetcher: Fetcher
    plain_fd: int
    _linked: LinkedFiles = field(init=False)

    def __post_init__(self) -> None:
        self._linked = LinkedFiles(self.plain_fd)

    async def for_anyone(self, path: bytes, digest: str) -> list[HubFile]:
        """As which files on the Hub anyone may have the blob at a path: those of links in snapshots; where there are
        none, those of listings. For many blobs that are asked about in turn, until `forget_links`."""
        if linked := await trio.to_thread.run_sync(self._linked.of, path):
            return linked
        return (await self.find(path, digest, Token.ANYONE))[0]

    def forget_links(self) -> None:
        """No more blobs are asked about for now."""
        self._linked.forget()

    async def find(self, path: bytes, digest: str, token: Token) -> tuple[list[HubFile], int]:
        """The files on the Hub that the file at a path, or one of this digest (hex), is of; and its size where a
        listing says that, else -1. Nothing is asked of the Hub."""
        found = await trio.to_thread.run_sync(whereabouts, self.plain_fd, path)
        files, size = found.files, -1
        for listing in found.listings:
            for name in [digest] if digest else found.digests:
                try:
                    paths, said = await self.fetcher.listed(name, listing.text)
                except (FormatError, OriginError) as error:
                    log.info("the listing of %s is not read: %s", listing.file.repository, error)
                    break
                size = max(size, said)
                files += [replace(listing.file, path=path) for path in paths]
        if token is Token.ANYONE:
            files = [replace(file, with_token=False) for file in files]
        return list(dict.fromkeys(files)), size

    async def names(self, path: bytes) -> set[str] | None:
        """All names by which the blob at a path is known here: those of links in snapshots, and in listings. None where
        that cannot be told."""
        found = await trio.to_thread.run_sync(whereabouts, self.plain_fd, path)
        names = set(found.names)
        if len(found.listings) == FILES_MOST:
            return None  # there may be more
        for listing in found.listings:
            for digest in found.digests:
                try:
                    paths, _ = await self.fetcher.listed(digest, listing.text)
                except (FormatError, OriginError) as error:
                    log.info("the listing of %s is not read: %s", listing.file.repository, error)
                    return None
                if len(paths) == LISTED_MOST:
                    return None  # there may be more
                names.update(paths)
        return names

    async def find_ever(self, path: bytes, token: Token) -> list[HubFile]:
        """The same, and behind them what stands at their paths in the main branch: a repository whose history was
        rewritten has lost its revisions, and not the content. What comes from there has to be compared with a CID."""
        files, _ = await self.find(path, "", token)
        return list(dict.fromkeys([*files, *(replace(file, revision=MAIN) for file in files)]))
