"""Damage that a disk did to sealed files, told once: in the log, and in the ledger for `status` and for healing."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from ipfsfs.exchange.findings import remedy
from ipfsfs.store.seal import UNIT, Seal
from ipfsfs.store.seals import Seals
from ipfsfs.store.tables.findings import Finding, FindingKind
from ipfsfs.view.background import Background

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Damage:
    """Tells of damage, whoever found it."""

    seals: Seals
    background: Background
    mountpoint: Path
    """Where users know the view: what they are told to do names files by their absolute paths."""
    _told: set[tuple[bytes, int, int]] = field(default_factory=set)
    """Path, seal and unit of what was told."""

    def is_rot(self, path: bytes, seal: Seal, unit: int) -> str:
        """A unit of the file at a path from the plain root is not what was written there. Returns what to do."""
        at = unit * UNIT
        what = f"rot: bytes from {at} on are not what was written there; reads of them fail"
        return self._tell("rot", path, seal, unit, what, f"bytes from {at} on")

    def is_unreadable(self, path: bytes, seal: Seal) -> str:
        """The disk refuses to read part of the file at a path from the plain root. Returns what to do."""
        detail = "the disk cannot read part of it"
        return self._tell("unreadable", path, seal, -1, f"unreadable: {detail}; reads of that fail", detail)

    def _tell(self, kind: FindingKind, path: bytes, seal: Seal, unit: int, what: str, detail: str) -> str:
        shown = os.fsdecode(path)
        advice = remedy(kind, self.mountpoint / shown)
        if (path, seal.seal_id, unit) not in self._told:
            self._told.add((path, seal.seal_id, unit))
            log.error("%s: %s. %s", shown, what, advice)
            finding = Finding(kind, path, seal.ino, detail, "", time.time_ns())
            self.background.start(self.seals.record, lambda ledger: ledger.findings.add(finding))
        return advice
