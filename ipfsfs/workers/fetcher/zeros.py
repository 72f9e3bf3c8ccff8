"""Leaves that are nothing but zeros: a hole of an extent holds them, and no origin has to give them."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Final

from ipfsfs.unixfs import cid

ZEROS: Final = "no origin (zeros)"
"""Stands for an origin: the leaf was had from nowhere."""


def is_zeros(leaf_cid: bytes, length: int) -> bool:
    """Whether a leaf of so many bytes is nothing but zeros."""
    return cid.codec(leaf_cid) == cid.RAW and _digest(length) == cid.digest(leaf_cid)


@lru_cache(maxsize=64)
def _digest(length: int) -> bytes:
    """The sha2-256 of so many zeros: most leaves of a file have one length."""
    return hashlib.sha256(bytes(length)).digest()
