"""Outcomes and what a walk finds, as frames and back. Both ends are ours: what does not fit is a KeyError or the like,
which the client takes for a sealer gone wrong."""

from __future__ import annotations

import struct
from dataclasses import astuple

from ipfsfs.identity import Identity
from ipfsfs.plain.tree import Found, Unreadable
from ipfsfs.workers import wire
from ipfsfs.workers.sealer.outcome import (
    Busy,
    Changed,
    Digest,
    Failed,
    Gone,
    Sealed,
    Secret,
    Shared,
    Unfit,
    Verified,
)
from ipfsfs.workers.wire import Header

Outcome = Sealed | Digest | Verified | Shared | Busy | Changed | Gone | Secret | Unfit | Failed

_BARE: dict[str, type[Changed] | type[Gone]] = {"Changed": Changed, "Gone": Gone}


def encode(outcome: Outcome) -> tuple[Header, bytes]:
    """A header and the bytes after it."""
    header: Header = {"kind": type(outcome).__name__}
    match outcome:
        case Sealed():
            header["identity"] = astuple(outcome.identity)
            header["root"] = outcome.root.hex()
            header["sha256"] = outcome.sha256.hex()
            header["leased"] = outcome.leased
            header["leaves"] = len(outcome.leaves)
            return header, outcome.leaves + outcome.sums
        case Digest():
            header["identity"] = astuple(outcome.identity)
            header["sha256"] = outcome.sha256.hex()
            header["followed"] = outcome.followed
            header["lasting"] = outcome.lasting
        case Verified():
            header["kept_promise"] = outcome.kept_promise
            header["unchanged"] = outcome.unchanged
            header["unreadable"] = outcome.unreadable
            header["units"] = len(outcome.bad_units)
            offsets = outcome.bad_units + outcome.bad_leaves
            return header, struct.pack(f">{len(offsets)}Q", *offsets)
        case Shared():
            header["bytes"] = outcome.bytes
        case Busy():
            header["reason"] = outcome.reason
            header["rest_s"] = outcome.rest_s
        case Secret():
            header["identity"] = astuple(outcome.identity)
        case Unfit():
            header["identity"] = astuple(outcome.identity)
            header["reason"] = outcome.reason
        case Failed():
            header["errno"] = outcome.errno
            header["message"] = outcome.message
    return header, b""


def decode(header: Header, blob: bytes) -> Outcome:
    """The reverse of `encode`."""
    match header["kind"]:
        case "Sealed":
            root, sha256 = bytes.fromhex(header["root"]), bytes.fromhex(header["sha256"])
            cut = header["leaves"]
            return Sealed(Identity(*header["identity"]), root, blob[:cut], blob[cut:], sha256, header["leased"])
        case "Digest":
            sha256 = bytes.fromhex(header["sha256"])
            return Digest(Identity(*header["identity"]), sha256, header["followed"], header["lasting"])
        case "Verified":
            offsets = struct.unpack(f">{len(blob) // 8}Q", blob)
            cut = header["units"]
            said = header["kept_promise"], header["unchanged"], header["unreadable"]
            return Verified(offsets[:cut], offsets[cut:], *said)
        case "Shared":
            return Shared(header["bytes"])
        case "Busy":
            return Busy(header["reason"], header["rest_s"])
        case "Secret":
            return Secret(Identity(*header["identity"]))
        case "Unfit":
            return Unfit(Identity(*header["identity"]), header["reason"])
        case "Failed":
            return Failed(header["errno"], header["message"])
        case kind:
            return _BARE[kind]()


def encode_batch(batch: list[Found | Unreadable]) -> list[list[int | str]]:
    """What a walk found, for a header."""
    return [
        [wire.text(item.path), *(astuple(item.identity) if isinstance(item, Found) else (item.errno,))]
        for item in batch
    ]


def decode_batch(rows: list[list[int | str]]) -> list[Found | Unreadable]:
    """The reverse of `encode_batch`."""
    batch: list[Found | Unreadable] = []
    for path, *numbers in rows:
        where, values = wire.path(str(path)), [int(number) for number in numbers]
        batch.append(Unreadable(where, *values) if len(values) == 1 else Found(where, Identity(*values)))
    return batch
