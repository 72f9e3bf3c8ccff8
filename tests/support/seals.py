"""Seals of made-up content."""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from typing import Any, TypeVar

import xxhash

from ipfsfs.identity import Identity
from ipfsfs.store.seal import UNIT, Seal, boot_id, pack_leaf, root_of
from ipfsfs.unixfs.chunk import fixed

T = TypeVar("T")

DEV = 65_024
"""The device that the file of a made-up seal is on."""


def packed(data: bytes) -> tuple[bytes, bytes]:
    """Leaves and checksums of `data` as they stand in a seal, cut as "fixed" does."""
    leaves, at = b"", 0
    for length in fixed(len(data)):
        leaves += pack_leaf(length, hashlib.sha256(data[at : at + length]).digest())
        at += length
    sums = [xxhash.xxh3_64_digest(data[at : at + UNIT])[::-1] for at in range(0, len(data), UNIT)]
    return leaves, b"".join(sums)


def seal_of(data: bytes, ino: int = 12, **fields: Any) -> Seal:
    """A seal of a file that holds `data`; `fields` replace those of the dataclass and of its identity."""
    leaves, sums = packed(data)
    of_file: dict[str, int] = {
        "dev": DEV,
        "ino": ino,
        "born_ns": 1_700_000_000_000_000_001,
        "size": len(data),
        "mtime_ns": 1_700_000_000_000_000_002,
        "ctime_ns": 1_700_000_000_000_000_003,
    }
    identity = Identity(**{name: fields.pop(name, number) for name, number in of_file.items()})
    values: dict[str, Any] = {
        "identity": identity,
        "seal_id": 4_000_000_000_000_000_000 + ino % 1000,
        "root": root_of(leaves),
        "chunker": "auto",
        "leaves": leaves,
        "sums": sums,
        "sha256": hashlib.sha256(data).digest(),
        "leased": True,
        "settled": False,
        "boot": boot_id(),
    }
    return Seal(**{**values, **fields})


def drive(steps: Generator[int, None, T]) -> T:
    """Run a job's generator to its end; returns what came of it."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
