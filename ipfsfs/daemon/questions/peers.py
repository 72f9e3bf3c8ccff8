"""`peers`: the machines that share, and how much the origin was spared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ipfsfs.daemon.questions.question import Asked, NoProgress
from ipfsfs.workers.fetcher.served import by_kind
from ipfsfs.workers.fetcher.site_messages import PeerState

if TYPE_CHECKING:
    from ipfsfs.daemon.lifecycle import Running


@dataclass(slots=True, frozen=True)
class Answer:
    """Sizes are in bytes, and counted since the view was mounted.

    `serves`: the address where this machine serves others; `listed`: what `--peers` named; each None where there is
    none. `from_peers`, `from_hub`, `from_others`: leaves that were fetched. `downloaded`: what programs downloaded
    themselves and is what its name promises. `gave`: what others had from here.
    """

    mountpoint: str
    serves: str | None
    listed: str | None
    has_token: bool
    open: bool
    share: str
    peers: tuple[PeerState, ...]
    from_peers: int
    from_hub: int
    from_others: int
    downloaded: int
    gave: int


@dataclass(slots=True, frozen=True)
class Question(Asked[Answer, NoProgress]):
    """Which machines share with this one, and what came from which?"""

    command: ClassVar[str] = "peers"

    @staticmethod
    def replies() -> tuple[type[Answer], type[NoProgress]]:
        """See `Asked`."""
        return Answer, NoProgress

    async def answer(self, running: Running, report: Callable[[NoProgress], None]) -> Answer:
        """See `Asked`. All machines are asked at once, for 2 s at most. Raises OriginError and FetcherLost."""
        fetcher, config = running.view.fetcher, running.config
        states = await fetcher.site() if config.site.peers is not None else []
        kinds = by_kind(fetcher.served)
        return Answer(
            mountpoint=str(config.mountpoint),
            serves=config.site.serve,
            listed=config.site.peers,
            has_token=config.site.token_file is not None,
            open=config.site.open,
            share=config.site.share,
            peers=tuple(states),
            from_peers=kinds["peers"].bytes,
            from_hub=kinds["hub"].bytes,
            from_others=kinds["others"].bytes,
            downloaded=running.view.upkeep.promises.downloads.kept_bytes,
            gave=0 if running.view.offers is None else running.view.offers.server.totals.gave_bytes,
        )
