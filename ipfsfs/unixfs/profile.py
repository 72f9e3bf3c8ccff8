"""The parameters that decide a file's CID besides its bytes (IPIP-499)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(slots=True, frozen=True)
class Profile:
    """A named set of parameters. Two importers with the same profile give the same CIDs.

    `chunk`: the longest leaf in bytes. `width`: links of a file's interior node. A directory becomes a HAMT when it is
    larger than `shard_above` bytes, measured by `shard_by`: "block-bytes" is its exact block, "links-bytes" the sum of
    its names and CIDs.
    """

    name: str
    cid_version: Literal[0, 1]
    raw_leaves: bool
    chunk: int
    width: int
    shard_by: Literal["block-bytes", "links-bytes"]
    shard_above: int


V1_2025 = Profile("unixfs-v1-2025", 1, True, 1 << 20, 1024, "block-bytes", 262_144)
V0_2015 = Profile("unixfs-v0-2015", 0, False, 262_144, 174, "links-bytes", 262_144)
