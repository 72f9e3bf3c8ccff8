"""One other machine of the site, as a client sees it: blocks by *have* and *get*, and short messages.

Every request is signed where there is a token, and so must every answer be. A peer whose answers are not, that gives
other bytes than a CID says, or answers with what makes no sense, is left alone for a while, and why is kept.
"""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final
from urllib.parse import quote, urlencode

import trio

from ipfsfs.errors import FormatError, NotHeld, OriginError, Unreachable
from ipfsfs.origins import peer_messages, signing
from ipfsfs.origins.address import Address
from ipfsfs.origins.http import Client
from ipfsfs.origins.hub_file import HubFile
from ipfsfs.origins.message import Answer, Limits, Request
from ipfsfs.origins.origin import Busy
from ipfsfs.origins.peer_list import HostPort
from ipfsfs.origins.peer_messages import HOLDERS_MOST, MESSAGE_MAX, About, Message
from ipfsfs.origins.refusal import refusal
from ipfsfs.origins.signing import Asked, Token
from ipfsfs.origins.standing import Standing
from ipfsfs.unixfs import cid as cids
from ipfsfs.unixfs.dagpb import BLOCK_MAX

log = logging.getLogger(__name__)

LIMITS: Final = Limits(connect_s=3.0, silence_s=5.0, grace_s=15.0)
"""A peer is near: one that does not answer is known sooner than an origin far away."""
GET_S: Final = 20.0
"""How long a peer may take for a block that it has to get itself."""
_ALIVE_S: Final = 0.5
_PROVED_S: Final = 60.0
"""How long it is believed that the machine at an address has the token, after an answer that was signed with it."""
_LOOKED_S: Final = 1.0
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_NUMBER: Final = re.compile(r"[0-9]{1,6}")
_ABSENT: Final = (404, 410, 412)
_REFUSED: Final = (401, 403)
_ONLY_HERE: Final = "only-if-cached"


@dataclass(slots=True, frozen=True)
class Hints:
    """What a peer is told that is to *get* a block: the file's root, where the block's bytes lie in it, who has it (as
    HOST:PORT), and as what file the Hub has it. `length` is 0 for a node, which the Hub has not."""

    root: bytes
    offset: int = 0
    length: int = 0
    holders: tuple[str, ...] = ()
    on_hub: HubFile | None = None

    def query(self) -> str:
        """As it stands behind `format=raw` in a target."""
        said = {"root": cids.to_text(self.root)}
        if self.holders:
            said["holders"] = ",".join(self.holders[:HOLDERS_MOST])
        if self.length:
            said |= {"at": str(self.offset), "length": str(self.length)}
            if self.on_hub is not None and _COMMIT.fullmatch(self.on_hub.revision):
                file = self.on_hub
                said["hub"] = f"{file.kind}/{file.repository}/{file.revision}/{file.path}"
        return "&" + urlencode(said, quote_via=quote)


@dataclass(slots=True)
class _Looked:
    """A look at whether a machine answers."""

    at: float
    is_alive: bool | None = None
    """None while that is not known, for good where who looked was cancelled."""
    done: trio.Event = field(default_factory=trio.Event)


@dataclass(slots=True, eq=False)
class Peer:
    """The machine at an address. `id`: by which it knows itself; empty before it was heard."""

    at: HostPort
    token: Token | None = field(default=None, repr=False)
    standing: Standing = field(default_factory=Standing)
    id: str = ""
    client: Client = field(init=False, repr=False)
    """For blocks."""
    talk: Client = field(init=False, repr=False)
    """For messages, which wait behind no blocks."""
    _proved_at: float = -math.inf
    _proving: trio.Lock = field(default_factory=trio.Lock)
    _looked: _Looked | None = None
    _is_tried: bool = False
    """Whether one question is under way that tells whether it answers again."""

    def __post_init__(self) -> None:
        address = Address("http", self.at.host, self.at.port, f"http://{self.at}")
        self.client = Client(f"peer {self.at}", address, limits=LIMITS)
        self.talk = Client(f"peer {self.at}", address, limits=LIMITS)

    @property
    def name(self) -> str:
        """As `Origin`."""
        return f"peer {self.at}"

    @property
    def is_asked(self) -> bool:
        """Whether it is not left alone for now."""
        return not self._is_tried and not self.standing.paused_s(trio.current_time())

    async def have(self, cid: bytes, within_s: float = LIMITS.silence_s, *, for_another: bool = False) -> bytes:
        """A block that it has itself, compared with its CID. `for_another`: whether another machine wants it. Raises
        NotHeld, Unreachable, OriginError."""
        query = f"&{peer_messages.FOR_ANOTHER}=1" if for_another else ""
        return await self._block(cid, query, only_here=True, within_s=within_s)

    async def have_run(self, root: bytes, at: int, leaves: Sequence[tuple[bytes, int]]) -> list[bytes]:
        """Leaves that lie one after the other in a file from an offset on, by their CIDs and lengths: the first, and as
        many more as it gives at once. Raises as `have`."""
        first, _ = leaves[0]
        asked = f"&root={cids.to_text(root)}&at={at}&{peer_messages.RUN}={len(leaves)}"
        answer = await self._given(first, asked, only_here=True, within_s=LIMITS.silence_s)
        said = answer.head.header(peer_messages.RUN_HEADER.lower())
        leaves = leaves[: max(1, int(said)) if _NUMBER.fullmatch(said) else 1]
        if len(leaves) == 1:
            blocks = [answer.body]
        else:
            ends = list(accumulate(length for _, length in leaves))
            blocks = [answer.body[end - length : end] for (_, length), end in zip(leaves, ends, strict=True)]
            if ends[-1] != len(answer.body):
                raise self._distrust(f"gave {len(answer.body)} bytes for {len(leaves)} leaves of {ends[-1]} bytes")
        await self._check([cid for cid, _ in leaves], blocks)
        return blocks

    async def get(self, cid: bytes, hints: Hints, within_s: float = GET_S) -> bytes:
        """A block that it has, or gets, compared with its CID. Raises NotHeld, Unreachable, OriginError."""
        return await self._block(cid, hints.query(), only_here=False, within_s=within_s)

    async def has(self, cid: bytes, within_s: float) -> bool:
        """Whether it says that it has a block itself. Raises Unreachable, OriginError."""
        target = f"/ipfs/{cids.to_text(cid)}?format=raw"
        answer = await self._ask(Asked("HEAD", target, self._host, only_if_cached=True), 0, within_s)
        if answer.status == 200:
            return True
        if answer.status in _ABSENT:
            return False
        raise self._refusal(answer)

    async def post(self, target: str, message: Message, within_s: float) -> Message:
        """What it answers to a message. Raises Unreachable, OriginError."""
        body = peer_messages.encode(message)
        return self._said(await self._ask(Asked("POST", target, self._host, body=body), MESSAGE_MAX, within_s))

    async def about(self, within_s: float) -> About:
        """What it says of itself. Raises Unreachable, OriginError."""
        said = self._said(await self._ask(Asked("GET", peer_messages.PEER, self._host), MESSAGE_MAX, within_s))
        with self._making_sense():
            return About.of(said)

    async def is_alive(self) -> bool:
        """Whether it answers a short question, which is put once for all who ask this within a moment."""
        while True:
            looked = self._looked
            if looked is None or (looked.done.is_set() and trio.current_time() > looked.at + _LOOKED_S):
                looked = self._looked = _Looked(trio.current_time())
                await self._look(looked)
            await looked.done.wait()
            if looked.is_alive is not None:
                return looked.is_alive
            self._looked = None  # who looked was cancelled

    async def _look(self, looked: _Looked) -> None:
        try:
            await self.about(_ALIVE_S)
            looked.is_alive = True
        except OriginError:
            looked.is_alive = False
        finally:
            looked.done.set()

    async def aclose(self) -> None:
        """Close the connections that are kept."""
        await self.client.aclose()
        await self.talk.aclose()

    @property
    def _host(self) -> str:
        return self.client.address.authority

    async def _block(self, cid: bytes, query: str, *, only_here: bool, within_s: float) -> bytes:
        answer = await self._given(cid, query, only_here=only_here, within_s=within_s)
        await self._check([cid], [answer.body])
        return answer.body

    async def _given(self, cid: bytes, query: str, *, only_here: bool, within_s: float) -> Answer:
        target = f"/ipfs/{cids.to_text(cid)}?format=raw{query}"
        asked = Asked("GET", target, self._host, only_if_cached=only_here)
        answer = await self._counted(asked, within_s)
        if answer.status in _ABSENT:
            raise NotHeld(f"{self.name} does not have {cids.to_text(cid)}")
        if answer.status != 200:
            raise self._refusal(answer)
        return answer

    async def _check(self, expected: Sequence[bytes], blocks: Sequence[bytes]) -> None:
        """Compare what came with the CIDs that it came for."""
        try:
            await trio.to_thread.run_sync(_compare, expected, blocks)
        except FormatError as error:
            given = sum(map(len, blocks))
            raise self._distrust(f"gave {given} bytes that are not {cids.to_text(expected[0])}") from error
        self.standing.leaves += len(blocks)
        self.standing.gave += sum(map(len, blocks))

    async def _counted(self, asked: Asked, within_s: float) -> Answer:
        """The answer to a question for a block, which counts for the peer's rate."""
        rate, came = self.standing.rate, 0
        rate.begins(trio.current_time())
        try:
            answer = await self._ask(asked, BLOCK_MAX, within_s, is_block=True)
            came = len(answer.body) if answer.status == 200 else 0
            return answer
        finally:
            rate.ends(trio.current_time(), came)

    def _said(self, answer: Answer) -> Message:
        if answer.status != 200:
            raise self._refusal(answer)
        with self._making_sense():
            said = peer_messages.decode(answer.body)
            self.id = peer_messages.id_of(said)
            return said

    async def _ask(self, asked: Asked, most: int, within_s: float, *, is_block: bool = False) -> Answer:
        """An answer that is signed as it has to be. How the question ends decides on the peer's standing."""
        await self._prove(asked, within_s)
        self._refuse_in_a_pause()
        tries = self._is_tried = self.standing.is_on_trial
        try:
            return await self._asked(asked, most, within_s, is_block=is_block)
        finally:
            if tries:
                self._is_tried = False

    async def _prove(self, asked: Asked, within_s: float) -> None:
        """Have it sign something first: a question tells what this machine wants, and is for nobody without the token
        (H52). Raises Unreachable, OriginError."""
        if self.token is None or asked.target == peer_messages.PEER or self._is_proved:
            return
        async with self._proving:
            if not self._is_proved:
                await self.about(within_s)

    @property
    def _is_proved(self) -> bool:
        return trio.current_time() < self._proved_at + _PROVED_S

    async def _asked(self, asked: Asked, most: int, within_s: float, *, is_block: bool) -> Answer:
        began, standing = trio.current_time(), self.standing
        try:
            with trio.fail_after(within_s):
                answer, is_signed = await self._answer(asked, most, is_block=is_block)
        except trio.TooSlowError:
            late = Unreachable(f"{self.name} gave no answer within {within_s:g} s")
            standing.late(str(late), trio.current_time(), began, within_s)
            raise late from None
        except Unreachable as error:
            standing.failed(str(error), trio.current_time(), began)
            raise
        except OriginError as error:  # no HTTP, or too much of it
            standing.distrusted(str(error), trio.current_time())
            raise
        if answer.status in _REFUSED:
            refused = refusal(self.name, answer, "")
            standing.failed(str(refused), trio.current_time(), began)
            raise refused
        if not is_signed:
            self._proved_at = -math.inf
            raise self._distrust("does not sign what it answers with this site's token")
        self._proved_at = trio.current_time()
        if answer.status not in (200, *_ABSENT):
            refused = refusal(self.name, answer, "")
            after_s = refused.after_s if isinstance(refused, Busy) else 0.0
            standing.failed(str(refused), trio.current_time(), began, after_s)
            raise refused
        standing.answered(0.0 if is_block else trio.current_time() - began)
        if _NUMBER.fullmatch(others := answer.head.header(peer_messages.OTHERS.lower())):
            standing.asked_by(int(others), trio.current_time())
        return answer

    async def _answer(self, asked: Asked, most: int, *, is_block: bool) -> tuple[Answer, bool]:
        """An answer, and whether it is signed, or need not be."""
        headers = [("Accept", "application/vnd.ipld.raw")] if asked.target.startswith("/ipfs/") else []
        if asked.only_if_cached:
            headers.append(("Cache-Control", _ONLY_HERE))
        if asked.body:
            headers.append(("Content-Type", "application/json"))
        signed = None if self.token is None else self.token.sign(asked, time.time())
        if signed is not None:
            headers.append((signing.HEADER, signed.value))
        # A block may have to be got first: the whole question has its time.
        answer_s = GET_S if is_block and not asked.only_if_cached else None
        request = Request(asked.method, asked.target, tuple(headers), answer_s=answer_s, content=asked.body)
        answer = await (self.client if is_block else self.talk).ask(request, most)
        if self.token is None or signed is None:
            return answer, True
        body = b"" if is_block and answer.status == 200 else answer.body
        said = answer.head.header(signing.HEADER.lower())
        return answer, self.token.is_answer(said, signed.nonce, answer.status, body)

    def _refuse_in_a_pause(self) -> None:
        if self._is_tried:
            raise Unreachable(f"{self.standing.trouble} (being tried again)")
        left_s = self.standing.paused_s(trio.current_time())
        if left_s:
            raise Unreachable(f"{self.standing.trouble} (not asked again for {math.ceil(left_s)} s)")

    def _refusal(self, answer: Answer) -> OriginError:
        return refusal(self.name, answer, "")

    def _distrust(self, why: str) -> OriginError:
        error = OriginError(f"{self.name} {why}", hint="It is left alone for a minute.")
        log.warning("%s; it is left alone for a minute", error)
        self.standing.distrusted(str(error), trio.current_time())
        return error

    @contextmanager
    def _making_sense(self) -> Iterator[None]:
        """What it said is looked at while the block runs."""
        try:
            yield
        except FormatError as error:
            raise self._distrust(f"answers with what makes no sense: {error}") from error


def _compare(expected: Sequence[bytes], blocks: Sequence[bytes]) -> None:
    """Raises FormatError."""
    for cid, block in zip(expected, blocks, strict=True):
        cids.check(cid, block)
