"""Which files are vouched for, and until when: a view without the kernel, whose clock a test puts forward."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import pytest
import trio
import trio.testing

from ipfsfs.errors import IntegrityError
from ipfsfs.plain.identities import identity_of
from ipfsfs.store.seal import UNIT, Seal
from ipfsfs.store.tables.findings import Finding
from ipfsfs.view.backing import Node
from ipfsfs.view.upkeep.scrubbed import Scrubbed
from ipfsfs.view.upkeep.scrubbing import Scrubbing
from ipfsfs.view.view import View
from tests.crash.bare_view import bare_view
from tests.support.seals import seal_of

DATA: Final = os.urandom(3 * UNIT + 500)
DAY_S: Final = 86_400.0
WEEK_S: Final = 7 * DAY_S
SOON_S: Final = 60.0
"""A file that waits is verified long before; sealers take a moment to start."""


@dataclass(slots=True, frozen=True, repr=False)
class _Here:
    """A view of files that hold `DATA`, and its clock. Tests ask it and not its parts: what those are is no short text
    for pytest."""

    view: View
    clock: trio.testing.MockClock
    cache: Path

    @property
    def scrubbing(self) -> Scrubbing:
        return self.view.scrubbing

    def vouches(self, seal: Seal) -> bool:
        return self.scrubbing.vouches(seal)

    def progress(self) -> Scrubbed:
        return self.scrubbing.progress

    def found(self) -> list[Finding]:
        return self.view.seals.ledger.findings.all()

    def bytes_read(self) -> int:
        return self.view.upkeep.sealing.sealer.reading.hashed

    def sealed(self, name: str, content: bytes = DATA, **fields: Any) -> tuple[Node, Seal]:
        """A file that was sealed before the mount, as one of this content."""
        path = self.cache / name
        if not path.exists():
            path.write_bytes(DATA)
        with path.open("rb") as file:
            identity = identity_of(file.fileno())
        seal = replace(seal_of(content), identity=identity, seal_id=int.from_bytes(os.urandom(7)), **fields)
        entry = self.view.names.lookup(self.view.nodes.root, os.fsencode(name))
        assert entry is not None
        return entry.node, self.view.seals.put(seal)

    async def until_nothing_is_due(self) -> None:
        with trio.fail_after(SOON_S):
            while self.scrubbing.progress.due:  # noqa: ASYNC110  what is waited for is a field
                await trio.sleep(0.01)


@asynccontextmanager
async def _scrubbed(directory: Path, clock: trio.testing.MockClock, interval_s: float | None) -> AsyncIterator[_Here]:
    (directory / "cache").mkdir()
    async with bare_view(directory, patience_s=1.0, has_origins=False, has_hub=False, scrub_s=interval_s) as (
        view,
        nursery,
    ):
        nursery.start_soon(view.scrubbing.run)
        yield _Here(view, clock, directory / "cache")


def _run(directory: Path, what: Callable[[_Here], Awaitable[None]], interval_s: float | None = WEEK_S) -> None:
    clock = trio.testing.MockClock(rate=1.0)

    async def run() -> None:
        async with _scrubbed(directory, clock, interval_s) as here:
            await what(here)

    trio.run(run, clock=clock)


async def _vouched_for(here: _Here, seal: Seal) -> None:
    with trio.fail_after(SOON_S):
        while not here.vouches(seal):  # noqa: ASYNC110  what is waited for is a field
            await trio.sleep(0.01)


def test_a_file_is_vouched_for_once_it_was_verified_and_again_within_the_interval(tmp_path: Path) -> None:
    async def check(here: _Here) -> None:
        node, seal = here.sealed("file")
        other, others = here.sealed("other")
        await trio.sleep(0.3)
        assert not here.vouches(seal), "nobody wanted it yet"
        here.scrubbing.wanted(node)
        await _vouched_for(here, seal)
        assert not here.vouches(others)
        for _ in range(20):  # in steps that are shorter than what is left when it is due
            here.clock.jump(DAY_S)
            await trio.sleep(0.1)
            await here.until_nothing_is_due()
            assert here.vouches(seal), "nobody opened it again"
        assert (here.progress().vouched_for, other.ino) == (1, others.ino)

    _run(tmp_path, check)


def test_what_cannot_be_verified_in_time_is_vouched_for_no_longer(tmp_path: Path) -> None:
    async def check(here: _Here) -> None:
        node, seal = here.sealed("file")
        here.scrubbing.wanted(node)
        await _vouched_for(here, seal)
        (here.cache / "file").rename(here.cache / "elsewhere")
        here.clock.jump(0.9 * WEEK_S)
        await trio.sleep(0.5)
        assert here.vouches(seal)
        here.clock.jump(0.2 * WEEK_S)
        assert not here.vouches(seal)
        (here.cache / "elsewhere").rename(here.cache / "file")
        _, seal = here.sealed("file")
        here.scrubbing.wanted(node)
        await _vouched_for(here, seal)

    _run(tmp_path, check)


def test_a_file_that_is_sealed_anew_is_another_one(tmp_path: Path) -> None:
    async def check(here: _Here) -> None:
        node, seal = here.sealed("file")
        here.scrubbing.wanted(node)
        await _vouched_for(here, seal)
        here.view.seals.lapse(node.ino)
        (here.cache / "file").write_bytes(DATA)
        _, again = here.sealed("file")
        assert not here.vouches(again)
        here.scrubbing.sealed(again)
        here.scrubbing.used(again)
        assert here.vouches(again), "all of it was read for that"
        assert not here.vouches(seal)

    _run(tmp_path, check)


def test_what_is_sealed_and_never_read_natively_is_not_verified(tmp_path: Path) -> None:
    """So not on a filesystem that checks itself."""

    async def check(here: _Here) -> None:
        seals = [here.sealed(name)[1] for name in ("used", "unused")]
        for seal in seals:
            here.scrubbing.sealed(seal)
        here.scrubbing.used(seals[0])
        assert all(map(here.vouches, seals))
        assert here.progress().vouched_for == 1
        here.clock.jump(6 * DAY_S)
        await here.until_nothing_is_due()
        here.clock.jump(2 * DAY_S)
        assert list(map(here.vouches, seals)) == [True, False]
        assert here.bytes_read() == len(DATA)

    _run(tmp_path, check)


def test_rot_is_told_once_and_the_file_is_never_vouched_for_again(tmp_path: Path) -> None:
    async def check(here: _Here) -> None:
        node, seal = here.sealed("file", DATA[:UNIT] + b"?" + DATA[UNIT + 1 :])
        for _ in range(3):
            here.scrubbing.wanted(node)
            await here.until_nothing_is_due()
            here.clock.jump(DAY_S)
        with trio.fail_after(SOON_S):
            while not here.view.seals.is_found(b"file"):  # noqa: ASYNC110  what is waited for is a field
                await trio.sleep(0.01)
        (found,) = here.found()
        assert (found.kind, found.ino, found.detail) == ("rot", node.ino, f"bytes from {UNIT} on")
        assert not here.vouches(seal)
        assert here.bytes_read() == len(DATA), "it was read once"

    _run(tmp_path, check)


def test_rot_that_a_read_finds_ends_it_at_once(tmp_path: Path) -> None:
    """What the page cache has may be wrong where the disk, which is what is verified, is right by now."""

    async def check(here: _Here) -> None:
        node, seal = here.sealed("file")
        here.scrubbing.wanted(node)
        await _vouched_for(here, seal)
        error = here.view.upkeep.found_rotten(node, seal, 1)
        assert isinstance(error, IntegrityError)
        assert not here.vouches(seal)
        here.scrubbing.wanted(node)
        await here.until_nothing_is_due()
        assert not here.vouches(seal)

    _run(tmp_path, check)


@pytest.mark.parametrize("fields", [{"leased": False}, {"boot": "another", "settled": False}], ids=str)
def test_h16_what_may_have_been_written_is_no_rot_and_has_no_seal_any_more(
    tmp_path: Path, fields: dict[str, Any]
) -> None:
    async def check(here: _Here) -> None:
        node, seal = here.sealed("file", DATA[:-1] + b"?", **fields)
        here.scrubbing.wanted(node)
        await here.until_nothing_is_due()
        with trio.fail_after(SOON_S):
            while here.view.seals.get(node.ino) is not None:  # noqa: ASYNC110  what is waited for is a field
                await trio.sleep(0.01)
        assert not here.vouches(seal)
        assert here.found() == []

    _run(tmp_path, check)


def test_where_every_read_is_checked_nothing_is_verified(tmp_path: Path) -> None:
    async def check(here: _Here) -> None:
        node, seal = here.sealed("file")
        here.scrubbing.wanted(node)
        here.scrubbing.sealed(seal)
        await trio.sleep(0.3)
        assert not here.vouches(seal)
        assert here.progress().due == 0
        assert here.bytes_read() == 0

    _run(tmp_path, check, None)


def test_no_more_is_known_than_there_is_memory_for(tmp_path: Path) -> None:
    """The files that are forgotten are those which are due soonest."""

    async def check(here: _Here) -> None:
        _, seal = here.sealed("file")
        for ino in range(1, 100_002):
            one = replace(seal, identity=replace(seal.identity, ino=ino))
            here.scrubbing.sealed(one)
            here.scrubbing.used(one)
        assert here.progress().vouched_for == 100_000
        assert not here.vouches(replace(seal, identity=replace(seal.identity, ino=1)))
        assert here.vouches(replace(seal, identity=replace(seal.identity, ino=2)))

    _run(tmp_path, check)
