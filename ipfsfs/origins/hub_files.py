"""Files of repositories on a Hub, by ranges: `GET /{kind/}{name}/resolve/{revision}/{path}`.

The Hub redirects what is large to another host, whose answer is taken as well; credentials go to the Hub and to no
other. Nothing here is checked: who asks knows a CID or a sha256 to compare with. Of a large file the redirect says in
`X-Linked-Etag` what its sha256 is, by which huggingface_hub 2.4 names the blob; of others `ETag` says git's name.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from urllib.parse import urljoin, urlsplit

import trio

from ipfsfs.errors import NotHeld, OriginError
from ipfsfs.origins.address import HOST, Address
from ipfsfs.origins.http import Client, Response
from ipfsfs.origins.hub_file import HubFile
from ipfsfs.origins.message import TEXT_MAX, Answer, Limits, Request
from ipfsfs.origins.origin import gives
from ipfsfs.origins.paused import Paused
from ipfsfs.origins.refusal import refusal
from ipfsfs.origins.said import shown
from ipfsfs.printed import command, printable
from ipfsfs.unixfs import cid as cids
from ipfsfs.unixfs import recut

KINDS: Final = ("models", "datasets", "spaces", "kernels")
MAIN: Final = "main"
"""The revision that a repository is had at by those who name none."""
_REDIRECTS: Final = (301, 302, 303, 307, 308)
_HOPS: Final = 4
_REMEMBERED_S: Final = 60.0
"""How long a redirect is remembered: the addresses that the Hub signs are good for some minutes at least."""
_LOCATIONS_MOST: Final = 1_000
_CLIENTS_MOST: Final = 16
_ABSENT: Final = (401, 403, 404, 410, 416)
_ETAG: Final = re.compile(r'(?:W/)?"?([0-9a-f]{64}|[0-9a-f]{40})"?')
_CONTENT_RANGE: Final = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")
_PORTS: Final = {"http": 80, "https": 443}


@dataclass(slots=True, frozen=True)
class Said:
    """What the Hub says of a file: its bytes, and a digest of its content in hex (`etag`), empty where it says none."""

    size: int
    etag: str


@dataclass(slots=True)
class Part:
    """A part of a file that arrives. `total`: the size of the whole file, as the Hub says. `etag`: as in `Said`; empty
    where the Hub itself was not asked, for it was known where it sends us."""

    total: int
    etag: str
    response: Response


class _Located(NamedTuple):
    """An answer for a file, and the digest that was said on the way to it."""

    response: Response
    etag: str


@dataclass(slots=True, eq=False)
class HubFiles:
    """The files of a Hub. `authorization`: value of that header, empty for none; what asks without it never sends it.

    An `Origin` by its form: it has no block by CID alone, but see `HubBlocks`.
    """

    address: Address
    authorization: str = field(default="", repr=False)
    limits: Limits = field(default_factory=Limits)
    pauses: Paused = field(init=False, repr=False)
    _clients: dict[tuple[str, str, int, bool], Client] = field(default_factory=dict, repr=False)
    _locations: dict[HubFile, tuple[str, float]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.pauses = Paused(self)

    @property
    def name(self) -> str:
        return f"hub {self.address.shown}"

    async def block(self, cid: bytes) -> bytes:
        """Raises NotHeld."""
        raise NotHeld(f"{self.name} has no blocks by their CIDs")

    async def has(self, cid: bytes) -> bool:
        """No."""
        return False

    async def aclose(self) -> None:
        """As `Origin`."""
        for client in self._clients.values():
            await client.aclose()

    async def said(self, file: HubFile) -> Said:
        """What the Hub itself says of a file at this moment; where it sent us before may be had for longer than the
        file. Raises NotHeld, Unreachable, OriginError."""
        self._locations.pop(file, None)
        async with self.pauses.asking(), self.open(file, 0, 1) as part:
            await part.response.beginning(1)
            return Said(part.total, part.etag)

    async def range(self, file: HubFile, start: int, length: int) -> bytes:
        """`length` bytes of a file, unchecked. Raises NotHeld, Unreachable (at once while the Hub does not answer),
        OriginError."""
        async with self.pauses.asking(), self.open(file, start, start + length) as part:
            data = await part.response.read(length)
        if len(data) != length:
            raise OriginError(f"{self.name} gives {len(data)} bytes of {length} of {_shown(file)}")
        return data

    @asynccontextmanager
    async def open(self, file: HubFile, start: int, end: int | None = None) -> AsyncGenerator[Part]:
        """The bytes of a file from `start` to `end`, or to its end. The length of what comes is the caller's to bound.

        Raises NotHeld, Unreachable, OriginError.
        """
        asked = f"bytes={start}-" if end is None else f"bytes={start}-{end - 1}"
        async with self._located(file, asked) as (response, etag):
            yield Part(await self._total(response, file, start), etag, response)

    @asynccontextmanager
    async def _located(self, file: HubFile, asked: str) -> AsyncGenerator[_Located]:
        """The answer for a file, from where the Hub sends us, which is remembered for a while."""
        url, when = self._locations.get(file, ("", 0.0))
        if url and trio.current_time() < when + _REMEMBERED_S:
            async with self._ask(url, asked, file) as response:
                if response.head.status in (200, 206):
                    yield _Located(response, "")
                    return
            self._locations.pop(file, None)
        url, etag = self._url(file), ""
        for _ in range(_HOPS):
            async with self._ask(url, asked, file) as response:
                etag = etag or _etag(response)
                if response.head.status not in _REDIRECTS:
                    self._remember(file, url)
                    yield _Located(response, etag)
                    return
                location = response.head.header("location")
                await response.beginning(TEXT_MAX)
            url = self._joined(url, location)
        raise OriginError(f"{self.name} redirects more than {_HOPS} times")

    def _joined(self, url: str, location: str) -> str:
        try:
            return urljoin(url, location)
        except ValueError:
            raise OriginError(f"{self.name} redirects to what is no URL") from None

    def _remember(self, file: HubFile, url: str) -> None:
        if len(self._locations) >= _LOCATIONS_MOST:
            self._locations.clear()
        self._locations[file] = url, trio.current_time()

    def _url(self, file: HubFile) -> str:
        return f"{self.address.scheme}://{self.address.authority}{self.address.prefix}{file.target}"

    @asynccontextmanager
    async def _ask(self, url: str, asked: str, file: HubFile) -> AsyncGenerator[Response]:
        client, target = self._client(url, with_token=file.with_token)
        # Compressed content would have other ranges than the file.
        headers = (("Range", asked), ("Accept-Encoding", "identity"))
        async with client.open(Request("GET", target, headers)) as response:
            yield response

    def _client(self, url: str, *, with_token: bool) -> tuple[Client, str]:
        """The client for the server of a URL, and the target there. Raises OriginError for a URL that is not followed:
        one that leaves TLS, or makes no sense."""
        try:
            parts = urlsplit(url)
            scheme, host, port = parts.scheme, parts.hostname or "", parts.port or _PORTS[parts.scheme]
        except (ValueError, KeyError):
            raise OriginError(f"{self.name} redirects to what is no URL") from None
        is_plain = url.isascii() and url.isprintable() and " " not in url and "@" not in parts.netloc
        if not is_plain or not HOST.fullmatch(host) or (self.address.scheme, scheme) == ("https", "http"):
            where = shown(f"{scheme}://{host}", self.authorization, 200)
            raise OriginError(f"{self.name} redirects to {where}: not followed")
        is_hub = (scheme, host, port) == (self.address.scheme, self.address.host, self.address.port)
        key = scheme, host, port, is_hub and with_token
        if key not in self._clients:
            self._clients[key] = self._new_client(*key)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return self._clients[key], target

    def _new_client(self, scheme: str, host: str, port: int, with_token: bool) -> Client:
        if len(self._clients) >= _CLIENTS_MOST:
            raise OriginError(f"{self.name} redirects to more than {_CLIENTS_MOST} servers")
        at = Address(scheme, host, port, f"{scheme}://{host}")
        return Client(self.name, at, self.authorization if with_token else "", self.limits)

    async def _total(self, response: Response, file: HubFile, start: int) -> int:
        """The size of the whole file, if the answer is what was asked for. Raises NotHeld, OriginError."""
        status = response.head.status
        if status == 206:
            match = _CONTENT_RANGE.fullmatch(response.head.header("content-range"))
            if match is None or int(match[1]) != start:
                raise OriginError(f"{self.name} gives another range of {_shown(file)} than was asked for")
            return int(match[3])
        if status == 200 and start == 0:
            said = response.head.header("content-length")
            if not said.isdigit() or len(said) > 18:
                raise OriginError(f"{self.name} does not say how long {_shown(file)} is")
            return int(said)
        if status == 200:
            raise OriginError(f"{self.name} knows no ranges")
        answer = Answer(response.head, await response.beginning(TEXT_MAX))
        if status in _ABSENT:
            code = shown(response.head.header("x-error-code"), self.authorization, 60)
            private = f"For a private or gated repository: {command('mount --hub-token-file FILE')}"
            hint = private if status in (401, 403, 404) else ""
            raise NotHeld(f"{self.name} does not give {_shown(file)} ({status}{' ' if code else ''}{code})", hint=hint)
        raise refusal(self.name, answer, self.authorization)


@dataclass(slots=True, eq=False)
class HubBlocks:
    """The leaves of one file on a Hub, as an origin: those of which is known where they lie in it (`leaves`: by CID,
    offset and length). Of leaves in dag-pb blocks only those of unixfs-v0-2015 can be had so."""

    hub: HubFiles
    file: HubFile
    leaves: Mapping[bytes, tuple[int, int]]

    @property
    def name(self) -> str:
        return self.hub.name

    async def block(self, cid: bytes) -> bytes:
        """As `Origin`."""
        at = self.leaves.get(cid)
        if at is None:
            raise NotHeld(f"{self.name} is not known to have {cids.to_text(cid)}")
        return recut.leaf_block(cid, await self.hub.range(self.file, *at))

    async def has(self, cid: bytes) -> bool:
        """Whether the Hub gives the block, at this moment: it is asked for the range."""
        return await gives(self, cid)

    async def aclose(self) -> None:
        """As `Origin`; the Hub is shared, and goes on."""


def _etag(response: Response) -> str:
    """The digest of a file that an answer says, in hex; empty where it says none."""
    said = response.head.header("x-linked-etag") or response.head.header("etag")
    match = _ETAG.fullmatch(said)
    return "" if match is None else match[1]


def _shown(file: HubFile) -> str:
    return printable(f"{file.repository}/{file.path} at {file.revision[:8]}")
