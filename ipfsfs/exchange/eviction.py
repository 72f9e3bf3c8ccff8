"""Evictions of a view as a whole: whether there can be any, and what the last daemon's left half done."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass

from ipfsfs.errors import StoreError
from ipfsfs.plain import vacating
from ipfsfs.store.ledger import Ledger

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Possible:
    """Whether files of a view can be evicted. That is found out when it is asked first, for it takes an exchange of
    names in the plain directory. `has_origins`, `has_hub`: whom files can be had from again."""

    has_origins: bool
    has_hub: bool
    store_fd: int
    plain_fd: int
    _found: str | None = None

    def why_not(self) -> str:
        """Why no file can be; empty where files can. Waits for the disk."""
        if not self.has_origins and not self.has_hub:
            return "it was mounted without an origin to have files from again (--kubo, --gateway, --routing, --hub)"
        if self._found is None:
            try:
                self._found = vacating.why_impossible(self.store_fd, self.plain_fd)
            except OSError as error:  # a full disk, perhaps: it is tried again
                return f"names cannot be exchanged between it and its store now: {error.strerror}"
        return self._found


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
