"""The fetching process: takes jobs from a pipe, does them side by side, answers through another.

Started as `python -m ipfsfs.workers.fetcher.program EXTENTS BLOCKS PLAIN SETTINGS REQUESTS RESULTS`: six inherited
descriptors, of the directories of extents and of blocks, of the plain root, of a file with the origins' settings in
JSON, and of the two pipes. It writes to extents and to nothing else, and ends when the pipe of requests does.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import trio
from trio.lowlevel import FdStream

from ipfsfs.errors import FormatError, IpfsfsError, OriginError
from ipfsfs.origins.peers import Peers
from ipfsfs.origins.registry import HUB, hint, open_hub, open_ordered
from ipfsfs.origins.settings import OriginSettings, SiteSettings
from ipfsfs.plain import syscalls
from ipfsfs.store.blocks import Blocks
from ipfsfs.workers import wire
from ipfsfs.workers.fetcher import served
from ipfsfs.workers.fetcher.job import Job
from ipfsfs.workers.fetcher.jobs import Jobs
from ipfsfs.workers.fetcher.stored import StoredFirst
from ipfsfs.workers.memory import bound_memory, end_by_signal
from ipfsfs.workers.wire import Header

_READ: Final = 1 << 16


@dataclass(slots=True)
class Program:
    """All jobs of the process, by number."""

    jobs: Jobs
    results: FdStream
    _scopes: dict[int, trio.CancelScope] = field(default_factory=dict)
    _sending: trio.Lock = field(default_factory=trio.Lock)

    async def run(self, requests: FdStream) -> None:
        """Work until the pipe of requests ends."""
        decoder = wire.Decoder()
        async with trio.open_nursery() as nursery:
            if self.jobs.peers is not None:
                nursery.start_soon(self.jobs.peers.run)
            while data := await requests.receive_some(_READ):
                for header, blob in decoder.feed(data):
                    self._take(header, blob, nursery)
            nursery.cancel_scope.cancel()

    def _take(self, header: Header, blob: bytes, nursery: trio.Nursery) -> None:
        number = header["id"]
        match header["do"]:
            case "cancel":
                if (scope := self._scopes.get(number)) is not None:
                    scope.cancel()
            case "sign":
                nursery.start_soon(self._send, {"id": number})
            case "hint":
                hint(self.jobs.origin.origin, blob)
            case "more":
                pass  # what is sent of a job is small, and its reader never far behind
            case what:
                scope = self._scopes[number] = trio.CancelScope()
                nursery.start_soon(self._do, number, scope, self.jobs.job(what, header, blob))

    async def _do(self, number: int, scope: trio.CancelScope, job: Job) -> None:
        with scope:
            try:
                answer = await job(partial(self._send_part, number))
                await self._answer(number, answer.header, answer.blob)
            except (IpfsfsError, OSError) as error:
                await self._answer(number, _failure(error))
            except Exception as error:
                # One job that we cannot cope with must not take the process, and all other jobs, with it.
                traceback.print_exc()
                await self._answer(number, {"failed": f"the fetcher failed: {type(error).__name__}", "error": ""})
        del self._scopes[number]

    async def _answer(self, number: int, header: Header, blob: bytes = b"") -> None:
        """With each answer goes how the origins fare."""
        await self._send({"id": number, "origins": served.told(self.jobs.origin.origin), **header}, blob)

    async def _send_part(self, number: int, part: object) -> None:
        await self._send({"id": number, "part": part})

    async def _send(self, header: Header, blob: bytes = b"") -> None:
        frame = wire.encode(header, blob)
        async with self._sending:
            with trio.CancelScope(shield=True):  # half a frame would end all talk
                await self.results.send_all(frame)


def _failure(error: IpfsfsError | OSError) -> Header:
    if isinstance(error, OSError):
        return {"failed": f"the store cannot be written: {error.strerror}", "error": "StoreError"}
    said = error.said if isinstance(error, OriginError) else ()
    return {"failed": str(error), "hint": error.hint, "error": type(error).__name__, "said": said}


def _jobs(extents: int, blocks: int, plain: int, settings_fd: int) -> Jobs:
    text = os.pread(settings_fd, 1 << 20, 0)
    try:
        told = json.loads(text)
        settings = [OriginSettings(**entry) for entry in told["origins"]]
        site = None if told["site"] is None else SiteSettings(**told["site"])
    except (ValueError, TypeError, LookupError) as error:
        raise FormatError(f"no settings of origins: {error}") from error
    hubs = [open_hub(one) for one in settings if one.kind == HUB]
    origin = open_ordered([one for one in settings if one.kind != HUB])
    stored = StoredFirst(Blocks(blocks), origin)
    if site is None:
        return Jobs(extents, plain, stored, hubs[0] if hubs else None)
    anyones = open_hub(OriginSettings(HUB, site.hub)) if site.hub else None
    peers = Peers(site) if site.peers else None
    return Jobs(extents, plain, stored, hubs[0] if hubs else None, peers, anyones)


async def _main(extents: int, blocks: int, plain: int, settings: int, requests: int, results: int) -> None:
    async with FdStream(requests) as receiving, FdStream(results) as sending:
        jobs = _jobs(extents, blocks, plain, settings)
        with suppress(trio.BrokenResourceError):
            await Program(jobs, sending).run(receiving)


def main(arguments: list[str]) -> None:
    """Run the process."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    syscalls.signal_at_parents_end(signal.SIGKILL)
    bound_memory(end_by_signal)
    extents, blocks, plain, settings, requests, results = (int(number) for number in arguments)
    trio.run(_main, extents, blocks, plain, settings, requests, results)


if __name__ == "__main__":
    main(sys.argv[1:])
