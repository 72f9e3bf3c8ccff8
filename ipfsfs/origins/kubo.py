"""Kubo by its RPC: an origin of blocks, and a publisher."""

from __future__ import annotations

import math
import re
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

import trio

from ipfsfs.errors import FormatError, NotHeld, OriginError, UsageError
from ipfsfs.origins.http import CONNECTIONS_MAX, Client
from ipfsfs.origins.pinning import STALLS_S, Pinning
from ipfsfs.origins.rpc import OutOfTime, Rpc
from ipfsfs.unixfs import cid as cids
from ipfsfs.unixfs.dagpb import BLOCK_MAX

SEARCH_S: Final = 8.0
"""How long Kubo may look for a block in its swarm: less than the silence after which it counts as unreachable."""
HURRIED_S: Final = 1.0
"""How long it may look after it has just looked in vain: content that only another origin has comes in many blocks."""
_HURRY_S: Final = 30.0
"""For so long after a search in vain."""
_WRITE_S: Final = 60.0
"""How long the answer may take to what makes Kubo write: it flushes a CAR of many blocks to a slow disk."""
_PUBLISH_S: Final = 120.0
"""Kubo puts an IPNS record to the DHT for up to a minute before it answers."""
_LISTED_MAX: Final = 1 << 20
_NAME_MAX: Final = 255
_SHOWN: Final = 200
_SEARCHED: Final = "Is the CID right, and can the node reach one that has it (`ipfs swarm connect ADDRESS`)?"
_KEY: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")
_IPNS: Final = re.compile(r"(?:/ipns/)?([A-Za-z0-9._-]{1,255})")
_CAR_HEADER_MAX: Final = 4096
_FRAME_MAX: Final = 160
"""Bytes of a CAR beside the blocks: its header, and before each block a length and a CID."""


@dataclass(slots=True, eq=False)
class Kubo:
    """A node. `search_s`: how long it may look for a block that it does not have itself.

    `pin_stalls_s`: after how long without progress of a pin it is asked whether a block is missing.
    """

    client: Client
    search_s: float = SEARCH_S
    pin_stalls_s: float = STALLS_S
    _hurried_until: float = -math.inf
    _rpc: Rpc = field(init=False)

    def __post_init__(self) -> None:
        self._rpc = Rpc(self.client)

    @property
    def name(self) -> str:
        return self.client.name

    async def aclose(self) -> None:
        await self.client.aclose()

    async def block(self, cid: bytes) -> bytes:
        """The block, from the node or from its swarm. Raises NotHeld also where the node does not find it in time."""
        text, began = cids.to_text(cid), trio.current_time()
        search_s = min(self.search_s, HURRIED_S) if began < self._hurried_until else self.search_s
        arguments = (("arg", text), ("offline", "false"), ("timeout", f"{search_s:g}s"))
        try:
            block = await self._rpc.call(
                "block/get", arguments, BLOCK_MAX, answer_s=search_s + self.client.limits.silence_s
            )
        except OutOfTime:
            if began >= self._hurried_until:
                self._hurried_until = trio.current_time() + _HURRY_S
            raise NotHeld(f"{self.name} does not find {text} within {search_s:g} s", hint=_SEARCHED) from None
        self._hurried_until = -math.inf
        return block

    async def block_at_hand(self, cid: bytes) -> bytes:
        """The block, if the node has it itself. Raises as `block` does."""
        return await self._rpc.call("block/get", (("arg", cids.to_text(cid)), ("offline", "true")), BLOCK_MAX)

    async def has(self, cid: bytes) -> bool:
        """Whether the node has the block itself."""
        text = cids.to_text(cid)
        try:
            found = await self._rpc.ask("block/stat", (("arg", text), ("offline", "true")))
        except NotHeld:
            return False
        if self._rpc.text(found, "Key") != text:
            raise OriginError(f"{self.name} was asked for {text} and answers for another block")
        return True

    async def missing(self, cids: Iterable[bytes]) -> set[bytes]:
        """Which of these blocks the node does not have. Asks for as many at once as there may be connections."""
        asking = _Asking(self, iter(cids))
        async with trio.open_nursery() as nursery:
            for _ in range(CONNECTIONS_MAX):
                nursery.start_soon(asking.run, nursery.cancel_scope)
        if asking.trouble is not None:
            raise asking.trouble
        return asking.absent

    async def put(self, car: AsyncIterator[bytes]) -> None:
        """Import one CARv1, without pinning. Raises OriginError where the node says that it stored nothing, or less
        than was sent; which blocks it has is another question (`missing`)."""
        boundary = secrets.token_hex(16)
        part = _Part(car, boundary)
        arguments = (("pin-roots", "false"), ("stats", "true"))
        headers = (("Content-Type", f"multipart/form-data; boundary={boundary}"),)
        async with aclosing(part):
            answer = await self._rpc.call(
                "dag/import",
                arguments,
                _LISTED_MAX,
                body=part.pieces,
                headers=headers,
                repeatable=False,
                answer_s=_WRITE_S,
            )
        self._check_import(answer, part.sent)

    async def pin(self, cid: bytes, name: str) -> None:
        """Pin what the node has in full. Raises NotHeld, which names the block, where it does not have one."""
        if len(name.encode()) > _NAME_MAX:
            raise UsageError(f"the name of a pin is longer than {_NAME_MAX} bytes: {name[:60]!r}...")
        await Pinning(self._rpc, cids.to_text(cid), name, self.pin_stalls_s).run()

    async def publish_name(self, key: str, cid: bytes) -> str:
        """Publish under a key, made (ed25519) where there is none. Returns the IPNS name, `k51...`."""
        if not _KEY.fullmatch(key):
            raise UsageError(f"no name for a key: {key[:60]!r}", hint="Letters, digits, and . _ -")
        if key not in await self._keys():
            await self._make_key(key)
        arguments = (("arg", f"/ipfs/{cids.to_text(cid)}"), ("key", key), ("allow-offline", "true"))
        answer = await self._rpc.ask("name/publish", arguments, answer_s=_PUBLISH_S)
        if self._rpc.text(answer, "Value") != f"/ipfs/{cids.to_text(cid)}":
            raise OriginError(f"{self.name} was asked to publish {cids.to_text(cid)} and published something else")
        return self._rpc.text(answer, "Name")

    async def resolve_name(self, name: str) -> bytes:
        """The CID an IPNS name stands for. A name for a path below a CID is refused."""
        found = _IPNS.fullmatch(name)
        if found is None:
            raise UsageError(f"no IPNS name: {name[:80]!r}", hint="They look like k51... or /ipns/k51...")
        arguments = (("arg", f"/ipns/{found[1]}"), ("nocache", "true"), ("timeout", f"{_WRITE_S:g}s"))
        try:
            answer = await self._rpc.ask("name/resolve", arguments, answer_s=_WRITE_S + self.client.limits.silence_s)
        except OutOfTime:
            raise NotHeld(f"{self.name} does not find /ipns/{found[1]} within {_WRITE_S:g} s") from None
        path = self._rpc.text(answer, "Path")
        try:
            return cids.from_text(path.removeprefix("/ipfs/"))
        except FormatError:
            raise OriginError(f"{self.name} says that {name} stands for {self._shown(path)}, which is no CID") from None

    def _shown(self, said: object) -> str:
        return self._rpc.shown(repr(said), _SHOWN)

    async def _keys(self) -> set[str]:
        listed = (await self._rpc.ask("key/list", (), _LISTED_MAX)).get("Keys")
        if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
            raise OriginError(f"{self.name} does not list its keys as Kubo does")
        return {self._rpc.text(one, "Name") for one in listed}

    async def _make_key(self, key: str) -> None:
        try:
            await self._rpc.ask("key/gen", (("arg", key), ("type", "ed25519")), repeatable=False)
        except OriginError as error:
            if "already exists" not in str(error):  # made by another program meanwhile
                raise

    def _check_import(self, answer: bytes, sent: int) -> None:
        stored = blocks = None
        for line in self._rpc.objects(answer):
            root, stats = line.get("Root"), line.get("Stats")
            if isinstance(root, dict) and root.get("PinErrorMsg"):
                raise OriginError(f"{self.name} could not keep a root: {self._shown(root['PinErrorMsg'])}")
            if isinstance(stats, dict):
                blocks, stored = self._rpc.number(stats, "BlockCount"), self._rpc.number(stats, "BlockBytesCount")
        if blocks is None or stored is None:
            raise OriginError(f"{self.name} does not say that it stored anything")
        if sent - stored > _CAR_HEADER_MAX + blocks * _FRAME_MAX:
            raise OriginError(f"{self.name} was sent {sent} bytes and stored {stored}, in {blocks} blocks")


@dataclass(slots=True, eq=False)
class AtNode:
    """A node as an origin of what it has itself: it is asked to search for nothing."""

    node: Kubo

    @property
    def name(self) -> str:
        """As `Origin`."""
        return self.node.name

    async def block(self, cid: bytes) -> bytes:
        """As `Origin`."""
        return await self.node.block_at_hand(cid)

    async def has(self, cid: bytes) -> bool:
        """As `Origin`."""
        return await self.node.has(cid)

    async def aclose(self) -> None:
        """As `Origin`."""
        await self.node.aclose()


@dataclass(slots=True, eq=False)
class _Asking:
    """Tasks that share one list of questions."""

    kubo: Kubo
    cids: Iterator[bytes]
    absent: set[bytes] = field(default_factory=set)
    trouble: Exception | None = None

    async def run(self, whole: trio.CancelScope) -> None:
        try:
            for cid in self.cids:
                if not await self.kubo.has(cid):
                    self.absent.add(cid)
        except Exception as error:  # the first ends all, and is raised once by who asked
            self.trouble = self.trouble or error
            whole.cancel()


@dataclass(slots=True, eq=False)
class _Part:
    """A CAR as the only part of a multipart body. `sent`: bytes of it that were asked for so far."""

    car: AsyncIterator[bytes]
    boundary: str
    sent: int = 0
    pieces: AsyncGenerator[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.pieces = self._pieces()

    async def aclose(self) -> None:
        """Close the body, and the CAR if it can be closed."""
        await self.pieces.aclose()
        if isinstance(self.car, AsyncGenerator):
            await self.car.aclose()

    async def _pieces(self) -> AsyncGenerator[bytes]:
        yield (
            f"--{self.boundary}\r\n"
            'Content-Disposition: form-data; name="file"; filename="blocks.car"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        ).encode()
        async for piece in self.car:
            self.sent += len(piece)
            yield piece
        yield f"\r\n--{self.boundary}--\r\n".encode()
