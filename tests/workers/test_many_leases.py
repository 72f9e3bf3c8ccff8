"""Leases of a load with more blobs than one message holds."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import trio

from ipfsfs.exchange.known_here import Downloads
from ipfsfs.exchange.on_hub import Token
from ipfsfs.exchange.site import Site
from tests.support.site import Machine, machines, running

BLOBS = [sha256(b"%d" % number).digest() for number in range(1_500)]


@dataclass(slots=True)
class _Tasks:
    nursery: trio.Nursery

    def start(self, function: Callable[..., Awaitable[object]], *arguments: object) -> None:
        self.nursery.start_soon(function, *arguments)


class _NoDownloads(Downloads):
    def done(self, sha256: bytes) -> int | None:
        return None


def test_all_of_them_are_renewed(tmp_path: Path) -> None:
    async def check(site: list[Machine]) -> None:
        one, other = site
        plain = os.open(one.at / "plain", os.O_RDONLY)
        async with one.fetcher() as own, other.fetcher() as others, trio.open_nursery() as nursery:
            known = Site(own, plain, _NoDownloads(), _Tasks(nursery), True, False, Token.OWNER)
            now = trio.current_time()
            for blob in BLOBS:
                known.blobs.granted(known.blobs.want(blob, now, 1), now)
            nursery.start_soon(known.run)
            await trio.sleep(2.0)
            answer = await others.lease([(blob, 1) for blob in BLOBS], [], [])
            assert len(answer.held) == len(BLOBS)
            nursery.cancel_scope.cancel()
        os.close(plain)

    with running(machines(tmp_path, 2)) as site:
        trio.run(check, site)
