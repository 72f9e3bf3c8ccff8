"""What is known of other machines, as it travels between daemon and fetcher: JSON behind a frame's header."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ipfsfs.origins.peer_messages import Announced, Found, Held, Leases


@dataclass(slots=True, frozen=True)
class PeerSource:
    """What other machines are asked for leaves of: a file by root and size, and who was found to have it."""

    root: bytes
    size: int
    holders: tuple[str, ...] = ()


@dataclass(slots=True, frozen=True)
class PeerState:
    """A machine of the list, or a holder beside it, as `ipfsfs peers` shows it. `why`: why it does not answer, or was
    left alone; empty where it answers. `gave_bytes`, `gave_leaves`: to this machine. `has_given`: to all. `same_list`:
    whether its list of peers is this machine's; None where it does not say. `paused_s`: for how long it is not asked.
    """

    address: str
    is_listed: bool
    is_self: bool
    answers: bool
    why: str
    version: str
    share: str
    blobs: int
    bytes: int
    announced: int
    leases: int
    has_given: int
    round_trip_s: float
    gave_bytes: int
    gave_leaves: int
    paused_s: float
    same_list: bool | None


@dataclass(slots=True, frozen=True)
class ListedBlob:
    """A large file that a repository's listing names: its digests in hex; `xet` is empty where it has none."""

    path: str
    size: int
    sha256: str
    xet: str


def pack_found(found: Mapping[bytes, Found]) -> list[list[Any]]:
    """As it stands in JSON."""
    return [
        [sha256.hex(), blob.root.hex(), blob.size, list(blob.holders), blob.public] for sha256, blob in found.items()
    ]


def unpack_found(told: Sequence[Any]) -> dict[bytes, Found]:
    """The reverse of `pack_found`. Raises LookupError, TypeError, ValueError."""
    return {
        bytes.fromhex(sha256): Found(bytes.fromhex(root), int(size), tuple(map(str, holders)), bool(public))
        for sha256, root, size, holders, public in told
    }


def pack_leases(leases: Leases) -> bytes:
    """As it stands in a frame."""
    held = [[sha256.hex(), *(asdict(lease).values())] for sha256, lease in leases.held.items()]
    granted = [sha256.hex() for sha256 in leases.granted]
    return json.dumps({"granted": granted, "held": held, "found": pack_found(leases.found)}).encode()


def unpack_leases(blob: bytes) -> Leases:
    """The reverse of `pack_leases`. Raises LookupError, TypeError, ValueError."""
    told = json.loads(blob)
    held = {
        bytes.fromhex(sha256): Held(str(holder), int(done), float(rate), float(age_s))
        for sha256, holder, done, rate, age_s in told["held"]
    }
    return Leases({bytes.fromhex(text) for text in told["granted"]}, held, unpack_found(told["found"]))


def pack_announced(blobs: Sequence[Announced]) -> bytes:
    """As it stands in a frame."""
    return json.dumps([[blob.sha256.hex(), blob.root.hex(), blob.size, blob.public] for blob in blobs]).encode()


def unpack_announced(blob: bytes) -> list[Announced]:
    """The reverse of `pack_announced`."""
    return [
        Announced(bytes.fromhex(sha256), bytes.fromhex(root), size, public)
        for sha256, root, size, public in json.loads(blob)
    ]


def pack_source(source: PeerSource | None) -> dict[str, Any] | None:
    """As it stands in a frame's header."""
    return None if source is None else {**asdict(source), "root": source.root.hex(), "holders": list(source.holders)}


def unpack_source(told: dict[str, Any] | None) -> PeerSource | None:
    """The reverse of `pack_source`."""
    return None if told is None else PeerSource(bytes.fromhex(told["root"]), told["size"], tuple(told["holders"]))
