"""Machines that share, by real servers on loopback: what one has the others find, load and are told of."""

from __future__ import annotations

import os
from collections import Counter
from hashlib import sha256
from pathlib import Path

import pytest
import trio

from ipfsfs.errors import OriginError
from ipfsfs.origins.peer_messages import Found, Leases
from ipfsfs.workers.fetcher.site_messages import PeerSource
from tests.support.site import Machine, blob, cut, machines, running

SIZE = 40 * (1 << 20) + 12_345


def test_what_one_machine_has_the_others_find_and_load(tmp_path: Path) -> None:
    data = os.urandom(SIZE)
    digest = sha256(data).digest()

    async def check(site: list[Machine]) -> None:
        first, second, _ = site
        root = first.server.offer("blob", data)
        async with first.fetcher() as own, second.fetcher() as other:
            assert await other.find([digest, bytes(32)], 2.0) == {}
            await own.announce([blob(root, data)])
            found = await other.find([digest, bytes(32)], 2.0)
            assert found == {digest: Found(root, len(data), (first.address,), True)}
            assert await own.find([digest], 2.0) == {}, "it has that itself"
            source = PeerSource(root, len(data), found[digest].holders)
            assert (await other.table(root, len(data), from_peers=source)).records == cut(data).records
            arrived = await second.load(other, source, data)
            by = Counter(leaf.by for leaf in arrived)
            assert by[first.name] > len(arrived) / 3, "who loads alone has leaves from the holder"
            assert all(leaf.is_given for leaf in arrived)
            assert sum(counts.bytes for counts in other.served.values()) == len(data)

    with running(machines(tmp_path, 3)) as site:
        trio.run(check, site)


def test_where_others_load_too_each_leaf_is_had_of_its_owner(tmp_path: Path) -> None:
    data = os.urandom(SIZE)

    async def check(site: list[Machine]) -> None:
        first, second, third = site
        root = first.server.offer("blob", data)
        source = PeerSource(root, len(data), (first.address,))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(first.asked_by_another, root)
            await trio.sleep(0.1)
            async with second.fetcher() as fetcher:
                arrived = await second.load(fetcher, source, data)
            by = {leaf.by for leaf in arrived}
            assert by == {second.name, third.name}, "and the holder gives it once"
            # Whoever loads it next has the same leaves from the same machines, and the holder gives no more but for
            # what was hedged on a busy machine.
            gave = first.gave()
            async with third.fetcher() as fetcher:
                await third.load(fetcher, source, data)
            assert first.gave() - gave <= 0.5 * SIZE
            nursery.cancel_scope.cancel()

    with running(machines(tmp_path, 3)) as site:
        trio.run(check, site)


def test_a_lease_is_one_machines_until_it_ends(tmp_path: Path) -> None:
    key, other_key = bytes(32), bytes([7]) * 32

    async def check(site: list[Machine]) -> None:
        async with site[0].fetcher() as one, site[1].fetcher() as two:
            assert await one.lease([(key, 10), (other_key, -1)], [], []) == Leases({key, other_key})
            answer = await two.lease([(key, 10)], [], [])
            assert answer.granted == set()
            assert answer.held[key].holder == site[0].address
            await trio.sleep(0.3)
            assert await one.lease([], [(key, 5_000)], []) == Leases()
            held = (await two.lease([(key, 10)], [], [])).held[key]
            assert held.done == 5_000
            assert held.rate > 0
            await one.lease([], [], [key])
            assert (await two.lease([(key, 10)], [], [])).granted == {key}
            # What its holder has announced is leased no more: it is found.
            root = site[1].server.offer("blob", b"content" * 1_000)
            data = b"content" * 1_000
            await two.lease([(sha256(data).digest(), 7_000)], [], [])
            await two.announce([blob(root, data)])
            answer = await one.lease([(sha256(data).digest(), 7_000)], [], [])
            assert (answer.granted, answer.held) == (set(), {})
            assert answer.found[sha256(data).digest()].holders == (site[1].address,)

    with running(machines(tmp_path, 3)) as site:
        trio.run(check, site)


def test_h40_a_lease_is_granted_where_who_was_said_to_have_the_blob_is_gone(tmp_path: Path) -> None:
    data = b"content" * 1_000
    digest = sha256(data).digest()

    async def check(site: list[Machine]) -> None:
        root = site[0].server.offer("blob", data)
        async with site[0].fetcher() as gone:
            await gone.announce([blob(root, data)])
        site[0].server.withdraw(root, len(data))
        async with site[1].fetcher() as one, site[2].fetcher() as two:
            assert await one.find([digest], 1.0) == {}
            assert (await one.lease([(digest, 7_000)], [], [])).granted == {digest}
            answer = await two.lease([(digest, 7_000)], [], [])
            assert (answer.granted, set(answer.held)) == (set(), {digest}), "only one of them downloads it"

    with running(machines(tmp_path, 3)) as site:
        trio.run(check, site)


def test_h46_no_answer_of_a_peer_stops_a_download(tmp_path: Path) -> None:
    key = bytes(32)

    async def check() -> None:
        site = machines(tmp_path, 3)
        async with site[0].fetcher() as alone:
            assert await alone.find([key], 0.5) == {}  # the process runs now
            began = trio.current_time()
            assert await alone.lease([(key, 10)], [], []) == Leases({key})
            assert trio.current_time() - began < 5
            with pytest.raises(OriginError, match="cannot be reached"):
                await alone.announce([blob(b"\x01\x55\x12\x20" + key, b"")])

    for number in range(3):
        for name in ("plain", "extents", "blocks"):
            (tmp_path / str(number) / name).mkdir(parents=True)
    trio.run(check)


def test_how_the_machines_of_a_site_fare_is_told(tmp_path: Path) -> None:
    async def check(site: list[Machine]) -> None:
        site[0].server.offer("blob", b"x" * 1_000)
        site[2].server.stop()
        site[0].server.wait_until(blobs=1)
        async with site[1].fetcher() as fetcher:
            states = {state.address: state for state in await fetcher.site()}
            first, own, gone = (states[machine.address] for machine in site)
            assert (first.answers, first.is_self, first.why) == (True, False, "")
            assert (first.blobs, first.bytes, first.share, first.same_list) == (1, 1_000, "all", True)
            assert own.is_self
            assert (gone.answers, gone.same_list) == (False, None)
            assert "cannot be reached" in gone.why

    with running(machines(tmp_path, 3)) as site:
        trio.run(check, site)
