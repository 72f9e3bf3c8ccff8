"""How machines of one site know each other: requests and answers carry a MAC made with the site's token, which never
travels (H52).

A request carries `Ipfsfs-Auth: v1 SECONDS NONCE MAC`, with the time of the sender (seconds since the epoch), 32 random
hex digits, and HMAC-SHA256 over what is asked: method, target, host, the header that makes a *have* of it, and the
sha256 of the body. Each nonce is taken once, and only within five minutes of the receiver's clock; so a request that
was overheard cannot be repeated, nor sent to another machine. An answer carries `Ipfsfs-Auth: v1 MAC` over the nonce of
its request, its status and the sha256 of its body; a block's body is left out, for its CID tells what it is.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from ipfsfs.errors import UsageError

HEADER: Final = "Ipfsfs-Auth"
WINDOW_S: Final = 300
"""How far the clocks of two machines may differ."""
TOKEN_LEAST: Final = 16
"""Characters: what is shorter can be guessed from one request that was overheard."""
_TOKEN_MOST: Final = 4_096
_NONCES_MOST: Final = 1 << 20
"""Nonces that are remembered: some 3,500 requests a second for the whole window, in 150 MB."""
TOO_MANY: Final = "too many requests of late"
"""Why a request is not taken which is signed rightly."""
_VALUE: Final = re.compile(r"v1 ([0-9]{1,12}) ([0-9a-f]{32}) ([0-9a-f]{64})")
_ANSWER: Final = re.compile(r"v1 ([0-9a-f]{64})")


@dataclass(slots=True, frozen=True)
class Asked:
    """What the MAC of a request is over. `only_if_cached`: whether it asks for what is here alone."""

    method: str
    target: str
    host: str
    only_if_cached: bool = False
    body: bytes = b""


@dataclass(slots=True, frozen=True)
class Signed:
    """A request that was signed: the value of its header, and its nonce, by which the answer is known."""

    value: str
    nonce: str


@dataclass(slots=True, frozen=True)
class Token:
    """A site's token."""

    key: bytes = field(repr=False)

    @classmethod
    def of(cls, text: str) -> Token:
        """From the text of its file. Raises UsageError where it is too short, too long or has control characters."""
        said = text.strip()
        if not TOKEN_LEAST <= len(said) <= _TOKEN_MOST or not said.isprintable():
            raise UsageError(
                f"a site's token is one line of {TOKEN_LEAST} to {_TOKEN_MOST} characters",
                hint="Make one: head -c 32 /dev/urandom | base64 > FILE; chmod 600 FILE. All machines have the same.",
            )
        return cls(hashlib.sha256(b"ipfsfs site token v1\n" + said.encode()).digest())

    def sign(self, asked: Asked, now: float) -> Signed:
        """Sign a request; `now`: seconds since the epoch."""
        nonce = secrets.token_hex(16)
        return Signed(f"v1 {int(now)} {nonce} {self._of_request(asked, int(now), nonce)}", nonce)

    def sign_answer(self, nonce: str, status: int, body: bytes = b"") -> str:
        """The value of an answer's header."""
        return f"v1 {self._of_answer(nonce, status, body)}"

    def is_answer(self, value: str, nonce: str, status: int, body: bytes = b"") -> bool:
        """Whether an answer to the request with this nonce was signed with the same token."""
        found = _ANSWER.fullmatch(value)
        return found is not None and hmac.compare_digest(found[1], self._of_answer(nonce, status, body))

    def is_request(self, asked: Asked, seconds: int, nonce: str, mac: str) -> bool:
        """Whether a request was signed with this token."""
        return hmac.compare_digest(mac, self._of_request(asked, seconds, nonce))

    def _of_request(self, asked: Asked, seconds: int, nonce: str) -> str:
        kind = "have" if asked.only_if_cached else "get"
        body = hashlib.sha256(asked.body).hexdigest()
        parts = ("ipfsfs request v1", asked.method, asked.target, asked.host, kind, str(seconds), nonce, body)
        return self._mac(parts)

    def _of_answer(self, nonce: str, status: int, body: bytes) -> str:
        return self._mac(("ipfsfs answer v1", nonce, str(status), hashlib.sha256(body).hexdigest()))

    def _mac(self, parts: tuple[str, ...]) -> str:
        return hmac.new(self.key, "\n".join(parts).encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()


@dataclass(slots=True)
class _Second:
    """Requests that were signed within a second: their nonces, and by address how many came from it."""

    nonces: set[bytes] = field(default_factory=set)
    by: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Verifier:
    """Tells which requests come from machines of the site.

    A nonce is remembered until its request is too old to be taken. There is a bound, and none is forgotten before for
    the sake of another: who has as many as there is room left is refused. So one address has half of the room at most,
    two a third each, and who asks little is let in however much others ask.
    """

    token: Token
    most: int = _NONCES_MOST
    _seen: dict[int, _Second] = field(default_factory=dict)
    """By the second in which they were signed."""
    _by: Counter[str] = field(default_factory=Counter)
    _count: int = 0
    _swept: int = 0
    _forgotten: int = -1
    """What was signed until then is not remembered any more, and refused: this clock may be set back."""

    def no_signature(self, value: str, now: float) -> str:
        """Why a request is not taken, whatever it asks; empty where that decides."""
        found = _VALUE.fullmatch(value)
        if found is None:
            return "the request is not signed with a site's token" if not value else "no such signature is known"
        apart = abs(now - int(found[1]))
        return f"the clocks differ by {apart:.0f} s, and may by {WINDOW_S}" if apart > WINDOW_S else ""

    def refusal(self, value: str, asked: Asked, now: float, host: str) -> str:
        """Why a request from an address is not taken, in words; empty where it is, with its nonce used up."""
        found = _VALUE.fullmatch(value)
        if found is None:
            return self.no_signature(value, now)
        seconds, nonce, mac = int(found[1]), bytes.fromhex(found[2]), found[3]
        if not self.token.is_request(asked, seconds, found[2], mac):
            return "the request is signed with another token"
        if why := self.no_signature(value, now):
            return why
        self._forget_old(now)
        if seconds <= self._forgotten or (seconds in self._seen and nonce in self._seen[seconds].nonces):
            return "the request came before"
        if self._by[host] >= self.most - self._count:
            return TOO_MANY
        self._remember(seconds, nonce, host)
        return ""

    def _remember(self, seconds: int, nonce: bytes, host: str) -> None:
        second = self._seen.setdefault(seconds, _Second())
        second.nonces.add(nonce)
        second.by[host] += 1
        self._by[host] += 1
        self._count += 1

    def _forget_old(self, now: float) -> None:
        if int(now) == self._swept:
            return
        self._swept = int(now)
        for seconds in [seconds for seconds in self._seen if seconds < now - WINDOW_S]:
            second = self._seen.pop(seconds)
            self._forgotten = max(self._forgotten, seconds)
            self._count -= len(second.nonces)
            self._by -= second.by


def nonce_of(value: str) -> str:
    """The nonce of a request's header; empty where it has none."""
    found = _VALUE.fullmatch(value)
    return "" if found is None else found[2]
