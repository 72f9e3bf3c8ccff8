"""`status`: the state of the view, in numbers and words."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from ipfsfs import __version__
from ipfsfs.daemon.config import Check, OriginConfig, Share
from ipfsfs.daemon.questions.question import Asked, NoProgress, in_thread
from ipfsfs.errors import StoreError
from ipfsfs.exchange.findings import Recorded
from ipfsfs.plain.checked import Checker
from ipfsfs.store import quarantine
from ipfsfs.store.quarantine import Kept
from ipfsfs.unixfs.chunk import Chunker
from ipfsfs.view.upkeep.scrubbed import Scrubbed

if TYPE_CHECKING:
    from ipfsfs.daemon.lifecycle import Running


@dataclass(slots=True, frozen=True)
class Served:
    """What other machines are given. `offered`, `offered_bytes`: files, those among them that are being loaded, and
    their bytes. `gave_bytes`, to so many `machines`, and `refused` requests: since the server's process began. `state`:
    how that fares."""

    address: str
    share: Share
    to_anyone: bool
    offered: int
    offered_bytes: int
    gave_bytes: int
    machines: int
    refused: int
    state: str


@dataclass(slots=True, frozen=True)
class Answer:
    """Sizes are in bytes, times in whole seconds (`since` from the epoch). `degraded` is empty or says why.
    `scrubbing`: None where every read is checked. `checked_by`, `native` and `native_why`: how large sealed files are
    read, but for those that something keeps from it, which `why` tells of.
    """

    mountpoint: str
    mounted: bool
    pid: int
    store: str
    version: str
    since: int
    uptime_s: int
    chunker: Chunker
    allow_other: bool
    team: str | None
    restart: bool
    origins: tuple[OriginConfig, ...]
    hub: OriginConfig | None
    patience_s: int
    cache_size: int | None
    no_eviction: str
    too_large: str
    check: Check
    scrub_s: int
    scrubbing: Scrubbed | None
    metrics: str | None
    served: Served | None
    upstream: str | None
    upstream_says: str
    fetcher: str
    sealed: int
    sealed_bytes: int
    unsealed: int
    looked_at_everything: bool
    rot: tuple[Recorded, ...]
    broken_promises: tuple[Recorded, ...]
    withdrawn: tuple[Recorded, ...]
    quarantine: tuple[Kept, ...]
    quarantine_size: int
    quarantine_limit: int
    degraded: str
    sealer: str
    sealing: str
    features: tuple[str, ...]
    checked_by: Checker
    native: bool
    native_why: str
    files_known_to_the_kernel: int
    open_files: int
    being_put_in_place: int
    log: str


@dataclass(slots=True, frozen=True)
class Question(Asked[Answer, NoProgress]):
    """What is the state of the view?"""

    command: ClassVar[str] = "status"

    @staticmethod
    def replies() -> tuple[type[Answer], type[NoProgress]]:
        """See `Asked`."""
        return Answer, NoProgress

    async def answer(self, running: Running, report: Callable[[NoProgress], None]) -> Answer:
        """See `Asked`. Never fails: where the store cannot be read, `degraded` says why."""
        view = running.view
        files, size = await _sealed(running)
        recorded = await _recorded(running)
        reads = view.native.usually()
        return Answer(
            mountpoint=str(running.config.mountpoint),
            mounted=running.mounted,
            pid=os.getpid(),
            store=str(running.store.directory),
            version=__version__,
            since=int(running.since),
            uptime_s=int(time.time() - running.since),
            chunker=running.config.chunker,
            allow_other=running.config.allow_other,
            team=running.config.team,
            restart=running.config.restarts is not None,
            origins=running.config.origins,
            hub=running.config.hub,
            patience_s=running.config.patience_s,
            cache_size=running.config.cache_size,
            no_eviction=await in_thread(view.room.evicting.possible.why_not),
            too_large=view.room.trouble,
            check=running.config.check,
            scrub_s=running.config.scrub_s,
            scrubbing=view.scrubbing.progress if running.config.check == "native" else None,
            metrics=running.config.metrics,
            served=_served(running),
            upstream=running.config.upstream,
            upstream_says=running.following.state,
            fetcher=view.fetcher.state or "ready",
            sealed=files,
            sealed_bytes=size,
            unsealed=view.upkeep.sealing.unsealed,
            looked_at_everything=view.upkeep.sealing.walked,
            rot=tuple(finding for finding in recorded.findings if finding.kind in ("rot", "unreadable")),
            broken_promises=tuple(finding for finding in recorded.findings if finding.kind == "broken_promise"),
            withdrawn=tuple(finding for finding in recorded.findings if finding.kind == "withdrawn"),
            quarantine=tuple(recorded.kept),
            quarantine_size=recorded.usage.size,
            quarantine_limit=recorded.usage.limit,
            degraded=view.seals.degraded or recorded.unreadable,
            sealer=running.sealer.state or "ready",
            sealing=os.fsdecode(running.sealer.reading.path),
            features=tuple(running.features),
            checked_by=reads.checked_by,
            native=reads.native,
            native_why=reads.why,
            files_known_to_the_kernel=len(view.nodes),
            open_files=len(view.handles),
            being_put_in_place=len(view.hydrating.loads.placing),
            log=str(running.store.log_path),
        )


def _served(running: Running) -> Served | None:
    offers, site = running.view.offers, running.config.site
    if offers is None or site.serve is None:
        return None
    totals = offers.server.totals
    return Served(
        address=site.serve,
        share=site.share,
        to_anyone=site.open or site.token_file is None,
        offered=totals.blobs,
        offered_bytes=totals.blob_bytes,
        gave_bytes=totals.gave_bytes,
        machines=len(totals.by_peer),
        refused=totals.refused,
        state=offers.server.state or "ready",
    )


async def _sealed(running: Running) -> tuple[int, int]:
    """How many files have a seal, and their bytes."""
    seals = running.view.seals
    try:
        await seals.flush()
        await seals.look_after()
        if seals.index is not None:
            totals = await in_thread(seals.index.totals)
            return totals.files, totals.bytes
    except StoreError as error:
        seals.fail(error)
    return 0, 0


@dataclass(slots=True)
class _Records:
    """What the store says of files with wrong content, as far as it can be read; else `unreadable` says why not."""

    findings: list[Recorded] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)
    usage: quarantine.Usage = field(default_factory=lambda: quarantine.Usage(0, 0))
    unreadable: str = ""


async def _recorded(running: Running) -> _Records:
    records = _Records()
    try:
        found = await in_thread(running.view.seals.ledger.findings.all)
        records.findings = [Recorded.of(finding) for finding in found]
        records.kept = await in_thread(quarantine.kept, running.store.quarantine_fd)
        records.usage = await in_thread(running.quarantine.usage)
    except (StoreError, OSError) as error:
        records.unreadable = str(error)
    return records
