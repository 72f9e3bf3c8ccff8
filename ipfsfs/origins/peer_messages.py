"""What machines say to each other in JSON, as objects: what is encoded here is all that is understood here.

Whatever comes may be hostile: at most MESSAGE_MAX bytes, no NaN, no surprises of type, numbers in their bounds, hashes
of the right length. Anything else raises FormatError, and nothing of the message counts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from ipfsfs.errors import FormatError, UsageError
from ipfsfs.origins.peer_list import HostPort, host_port
from ipfsfs.unixfs import cid

MESSAGE_MAX: Final = 1 << 20
"""Bytes of a message."""
BLOBS_MOST: Final = 4_096
"""In one message."""
HOLDERS_MOST: Final = 8
"""That are told of one blob."""
SIZE_MAX: Final = (1 << 63) - 1
ANNOUNCE: Final = "/ipfsfs/v1/announce"
ASK: Final = "/ipfsfs/v1/ask"
LEASE: Final = "/ipfsfs/v1/lease"
PEER: Final = "/ipfsfs/v1/peer"
OTHERS: Final = "Ipfsfs-Others"
"""The header of an answer to a *have* that says how many other machines ask for blocks."""
RUN: Final = "leaves"
"""The parameter of a *have* of a leaf that asks for so many leaves, one after the other, of the file that `root` names;
and, as a header of the answer, how many there are."""
RUN_HEADER: Final = "Ipfsfs-Leaves"
RUN_MOST: Final = 8
RUN_MAX: Final = 2 << 20
"""Bytes of such leaves together: no more than of one block."""
FOR_ANOTHER: Final = "for-another"
"""The parameter of a *have* that is put on behalf of another machine."""
_ID: Final = re.compile(r"[0-9a-f]{32}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_WORD: Final = re.compile(r"[ -~]{0,100}")

_COUNTS: Final = ("blobs", "bytes", "announced", "leases", "gave")

Message = dict[str, Any]


@dataclass(slots=True, frozen=True)
class Announced:
    """A blob that a machine has all of: the sha2-256 of its content, its root and its bytes; and whether the Hub gives
    it to anyone."""

    sha256: bytes
    root: bytes
    size: int
    public: bool


@dataclass(slots=True, frozen=True)
class Found:
    """A blob that others have: its root, its bytes, by HOST:PORT who has it, and whether anyone may have it."""

    root: bytes
    size: int
    holders: tuple[str, ...]
    public: bool


@dataclass(slots=True, frozen=True)
class Held:
    """A lease of another machine: whose, as HOST:PORT, how many bytes are there, how many come in a second, and for
    how many seconds it has been held."""

    holder: str
    done: int
    rate: float
    age_s: float


@dataclass(slots=True)
class Leases:
    """What became of wishes for leases, by sha2-256."""

    granted: set[bytes] = field(default_factory=set)
    held: dict[bytes, Held] = field(default_factory=dict)
    found: dict[bytes, Found] = field(default_factory=dict)


@dataclass(slots=True, frozen=True)
class Announcement:
    """`port`: where the sender serves, at the address that the message comes from."""

    id: str
    port: int
    blobs: tuple[Announced, ...]

    def message(self) -> Message:
        """As it travels."""
        blobs = [[blob.sha256.hex(), cid.to_text(blob.root), blob.size, blob.public] for blob in self.blobs]
        return {"id": self.id, "port": self.port, "blobs": blobs}

    @classmethod
    def of(cls, said: Message) -> Announcement:
        """Raises FormatError."""
        return cls(_id(said), _port(said), tuple(_announced(entry) for entry in _list(said, "blobs")))


@dataclass(slots=True, frozen=True)
class Question:
    """What is known of some blobs?"""

    id: str
    blobs: tuple[bytes, ...]

    def message(self) -> Message:
        """As it travels."""
        return {"id": self.id, "blobs": [sha256.hex() for sha256 in self.blobs]}

    @classmethod
    def of(cls, said: Message) -> Question:
        """Raises FormatError."""
        return cls(_id(said), tuple(_sha256(entry) for entry in _list(said, "blobs")))


@dataclass(slots=True, frozen=True)
class Wish:
    """For leases. `want`: sha2-256 and size, -1 where that is not known; `hold`: which are held, and bytes done;
    `release`: which are not needed any more; `gone`: announced holders that do not answer.

    `first`: whether the receiver is the first that such a blob belongs to. `on_behalf`: the machine that wishes, as
    HOST:PORT, where another one passes the wish on; empty where the sender is the one."""

    id: str
    port: int
    want: tuple[tuple[bytes, int], ...] = ()
    hold: tuple[tuple[bytes, int], ...] = ()
    release: tuple[bytes, ...] = ()
    first: bool = True
    gone: tuple[tuple[bytes, str], ...] = ()
    on_behalf: str = ""

    def message(self) -> Message:
        """As it travels."""
        message: Message = {
            "id": self.id,
            "port": self.port,
            "want": [[sha256.hex(), size] for sha256, size in self.want],
            "hold": [[sha256.hex(), done] for sha256, done in self.hold],
            "release": [sha256.hex() for sha256 in self.release],
            "first": self.first,
        }
        if self.gone:
            message["gone"] = [[sha256.hex(), holder] for sha256, holder in self.gone]
        if self.on_behalf:
            message["for"] = self.on_behalf
        return message

    @classmethod
    def of(cls, said: Message) -> Wish:
        """Raises FormatError."""
        on_behalf = said.get("for", "")
        return cls(
            _id(said),
            _port(said),
            tuple((_sha256(first), _number(second, -1)) for first, second in _pairs(said, "want")),
            tuple((_sha256(first), _number(second)) for first, second in _pairs(said, "hold")),
            tuple(_sha256(entry) for entry in _list(said, "release")),
            _truth(said.get("first", True)),
            tuple((_sha256(first), holder(second)) for first, second in _pairs(said, "gone")),
            holder(on_behalf) if on_behalf != "" else "",
        )


@dataclass(slots=True, frozen=True)
class About:
    """What a machine says of itself: its version, what it shares, blobs that it has and their bytes; how many blobs of
    others it was told of, how many leases it has given, and how many bytes to others."""

    id: str
    version: str
    share: str
    blobs: int
    bytes: int
    announced: int
    leases: int
    gave: int
    listed: str = ""
    """A digest of its list of peers: two machines with other digests have other lists."""

    def message(self) -> Message:
        """As it travels."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def of(cls, said: Message) -> About:
        """Raises FormatError."""
        version, share, listed = (_word(said.get(name, "")) for name in ("version", "share", "listed"))
        blobs, size, announced, leases, gave = (_number(said.get(name, 0)) for name in _COUNTS)
        return cls(_id(said), version, share, blobs, size, announced, leases, gave, listed)


def encode(message: Message) -> bytes:
    """Raises FormatError for one that is too long."""
    text = json.dumps(message, separators=(",", ":"), allow_nan=False).encode()
    if len(text) > MESSAGE_MAX:
        raise FormatError(f"a message of {len(text)} bytes is too long")
    return text


def decode(text: bytes) -> Message:
    """Raises FormatError for what is no JSON object, or too long."""
    if len(text) > MESSAGE_MAX:
        raise FormatError(f"a message of {len(text)} bytes is too long")
    try:
        said = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise FormatError("a message is no JSON") from error
    if not isinstance(said, dict):
        raise FormatError("a message is no JSON object")
    return said


def id_of(said: Message) -> str:
    """The id of the machine that says it. Raises FormatError."""
    return _id(said)


def found_message(found: Mapping[bytes, Found]) -> Message:
    """As it travels, by sha2-256 in hex."""
    return {
        sha256.hex(): {
            "root": cid.to_text(blob.root),
            "size": blob.size,
            "public": blob.public,
            "holders": list(blob.holders),
        }
        for sha256, blob in found.items()
    }


def held_message(held: Mapping[bytes, Held]) -> Message:
    """As it travels, by sha2-256 in hex."""
    return {
        sha256.hex(): {
            "holder": lease.holder,
            "done": lease.done,
            "rate": round(lease.rate),
            "age": round(lease.age_s, 3),
        }
        for sha256, lease in held.items()
    }


def found_in(said: Message, asked: Iterable[bytes]) -> dict[bytes, Found]:
    """What an answer's `found` says of what was asked about. Raises FormatError."""
    told = _object(said, "found")
    return {sha256: _found(told[text]) for sha256 in asked if (text := sha256.hex()) in told}


def held_in(said: Message, name: str, asked: Iterable[bytes]) -> dict[bytes, Held]:
    """What an answer says of leases that were asked about. Raises FormatError."""
    told = _object(said, name)
    return {sha256: _held(told[text]) for sha256 in asked if (text := sha256.hex()) in told}


def granted_in(said: Message, asked: Iterable[bytes]) -> set[bytes]:
    """Which of the leases that were asked for an answer grants. Raises FormatError."""
    return {_sha256(entry) for entry in _list(said, "granted")} & set(asked)


def holder(told: object) -> str:
    """A machine as HOST:PORT. Raises FormatError."""
    if not isinstance(told, str):
        raise FormatError("a machine is no text")
    try:
        at: HostPort = host_port(told)
    except UsageError as error:
        raise FormatError(str(error)) from error
    return str(at)


def _found(told: object) -> Found:
    if not isinstance(told, dict):
        raise FormatError("what is found is no object")
    holders = _list(told, "holders")[:HOLDERS_MOST]
    root = _root(told.get("root"))
    return Found(root, _number(told.get("size")), tuple(map(holder, holders)), _truth(told.get("public", False)))


def _held(told: object) -> Held:
    if not isinstance(told, dict):
        raise FormatError("a lease is no object")
    where = holder(told.get("holder"))
    return Held(where, _number(told.get("done")), _seconds(told.get("rate")), _seconds(told.get("age")))


def _announced(entry: object) -> Announced:
    if not isinstance(entry, list) or len(entry) != 4:
        raise FormatError("an announced blob has four parts")
    return Announced(_sha256(entry[0]), _root(entry[1]), _number(entry[2]), _truth(entry[3]))


def _pairs(said: Message, name: str) -> list[tuple[object, object]]:
    pairs: list[tuple[object, object]] = []
    for entry in _list(said, name):
        if not isinstance(entry, list) or len(entry) != 2:
            raise FormatError(f"no pair in {name}")
        pairs.append((entry[0], entry[1]))
    return pairs


def _list(said: Message, name: str) -> Sequence[object]:
    told = said.get(name, [])
    if not isinstance(told, list) or len(told) > BLOBS_MOST:
        raise FormatError(f"{name} is no list of at most {BLOBS_MOST}")
    return told


def _object(said: Message, name: str) -> Message:
    told = said.get(name, {})
    if not isinstance(told, dict):
        raise FormatError(f"{name} is no object")
    return told


def _id(said: Message) -> str:
    told = said.get("id")
    if not isinstance(told, str) or not _ID.fullmatch(told):
        raise FormatError("no id of a machine")
    return told


def _port(said: Message) -> int:
    told = _number(said.get("port", 0))
    if told >= 1 << 16:
        raise FormatError("no port")
    return told


def _sha256(told: object) -> bytes:
    if not isinstance(told, str) or not _SHA256.fullmatch(told):
        raise FormatError("no sha256")
    return bytes.fromhex(told)


def _root(told: object) -> bytes:
    """The CID of a file."""
    root = cid.from_text(told) if isinstance(told, str) else b""
    if cid.unixfs_codec(root) is None:
        raise FormatError("no CID of a file")
    return root


def _number(told: object, least: int = 0) -> int:
    if not isinstance(told, int) or isinstance(told, bool) or not least <= told <= SIZE_MAX:
        raise FormatError("no number that makes sense")
    return told


def _seconds(told: object) -> float:
    if isinstance(told, bool) or not isinstance(told, int | float) or not 0 <= told <= SIZE_MAX:
        raise FormatError("no number that makes sense")
    return float(told)


def _truth(told: object) -> bool:
    if not isinstance(told, bool):
        raise FormatError("neither true nor false")
    return told


def _word(told: object) -> str:
    if not isinstance(told, str) or not _WORD.fullmatch(told):
        raise FormatError("no word")
    return told


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")
