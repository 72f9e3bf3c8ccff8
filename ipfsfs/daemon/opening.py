"""What a daemon opens of its store before it mounts."""

from __future__ import annotations

import logging

from ipfsfs.daemon.config import Config
from ipfsfs.errors import StoreError
from ipfsfs.plain.directory import PlainDirectory
from ipfsfs.store import recovery
from ipfsfs.store.index import Index
from ipfsfs.store.layout import Store
from ipfsfs.store.ledger import Ledger
from ipfsfs.store.quarantine import Quarantine

log = logging.getLogger(__name__)


def open_databases(store: Store, plain: PlainDirectory) -> tuple[Ledger, Index | None, str]:
    """The ledger and the index. Without an index the view is degraded, without a ledger there is none."""
    ledger = recovery.open_ledger(store)
    try:
        index = recovery.open_index(store, ledger, plain_root=plain.root)
    except StoreError as error:
        log.error("%s; the view goes on without checks and seals. %s", error, error.hint)
        return ledger, None, str(error)
    if index.reason:
        log.warning("the index was made anew: %s", index.reason)
    return ledger, index, ""


def open_quarantine(store: Store, config: Config) -> Quarantine:
    """The quarantine, without what a daemon that died left half done, and within its limit."""
    quarantine = Quarantine(store.quarantine_fd, config.quarantine_size)
    try:
        quarantine.put_in_order()
    except (StoreError, OSError) as error:  # `fsck` and `status` look there as well
        log.warning("the quarantine cannot be put in order: %s", error)
    return quarantine
