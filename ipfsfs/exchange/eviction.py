"""Evictions as a daemon sees them before it mounts: whether there can be any, and what the last ones left half done."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

from ipfsfs.errors import StoreError
from ipfsfs.plain import vacating
from ipfsfs.store.ledger import Ledger

log = logging.getLogger(__name__)


def why_impossible(origins: Sequence[object], store_fd: int, plain_fd: int) -> str:
    """Why no file of a view can be evicted that has these origins; empty where files can."""
    if not origins:
        return "it was mounted without an origin to have files from again (--kubo URL, --gateway URL)"
    return vacating.why_impossible(store_fd, plain_fd)


def put_right(plain_fd: int, ledger: Ledger) -> None:
    """Before a mount: put right what a daemon left half done that was killed. What cannot be stays noted. Never raises
    what would keep a view from being mounted."""
    try:
        for left in ledger.leaving.all():
            try:
                vacating.put_right(plain_fd, left.path, left.beside)
            except OSError as error:
                log.warning("%s: what an eviction left beside it stays: %s", os.fsdecode(left.path), error.strerror)
            else:
                ledger.leaving.remove(left.beside)
    except StoreError as error:
        log.warning("what evictions left half done is looked for at the next mount: %s", error)
