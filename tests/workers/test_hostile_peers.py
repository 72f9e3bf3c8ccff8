"""Peers that lie, stall, die, or are none: a load ends right, whoever was asked, and the peer is left alone."""

from __future__ import annotations

import os
import time
from contextlib import aclosing
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
import trio

from ipfsfs.errors import NotHeld, OriginError
from ipfsfs.origins import peer_messages
from ipfsfs.origins.address import Address
from ipfsfs.origins.http import Client
from ipfsfs.origins.message import Request
from ipfsfs.origins.peer import Hints, Peer
from ipfsfs.origins.peer_list import HostPort
from ipfsfs.origins.peer_messages import Announcement, Held, Question, Wish
from ipfsfs.origins.rendezvous import owners
from ipfsfs.origins.signing import HEADER, Asked, Token
from ipfsfs.unixfs import cid
from ipfsfs.workers.fetcher.site_messages import PeerSource, PeerState
from tests.support.hostile_server import Behaviour, Stream, answering, hostile_server, repeat, saying
from tests.support.site import TOKEN, Machine, blob, cut, free_port, machines, running

SIZE = 48 << 20
_ID = "f" * 32
_ANOTHER = "a token of quite another site"


async def _half_a_block(stream: Stream, number: int) -> None:
    await stream.send_all(saying(bytes(1 << 20))[: 1 << 19])
    await trio.sleep_forever()


async def _nothing(stream: Stream, number: int) -> None:
    await trio.sleep_forever()


async def _dies(stream: Stream, number: int) -> None:
    await stream.send_all(saying(bytes(1 << 20))[: 1 << 19])
    await stream.aclose()


async def _endless(stream: Stream, number: int) -> None:
    await stream.send_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    await repeat(stream, b"10000\r\n" + bytes(1 << 16) + b"\r\n")


BEHAVIOURS: dict[str, tuple[Behaviour, str]] = {
    "lies": (answering(saying(bytes(1 << 20))), "bytes that are not"),
    "gives nothing as a block": (answering(saying(b"")), "bytes that are not"),
    "sends garbage": (answering(os.urandom(4_096) + b"\r\n\r\n"), "does not speak HTTP"),
    "never ends": (_endless, "more than"),
    "stops in a block": (_half_a_block, ""),
    "says nothing": (_nothing, ""),
    "dies in a block": (_dies, "closed the connection"),
    "answers 500": (answering(saying(b"oh", "500 Internal Server Error")), "500"),
    "is busy": (answering(saying(b"", "429 Too Many Requests", "Retry-After: 5")), "busy"),
    "redirects": (answering(saying(b"", "302 Found", "Location: http://169.254.169.254/")), "redirects"),
}


@pytest.mark.parametrize("what", BEHAVIOURS)
@pytest.mark.parametrize("is_holder", [False, True], ids=["an owner", "a holder"])
def test_h45_a_load_ends_right_whatever_a_peer_does(tmp_path: Path, what: str, is_holder: bool) -> None:
    behaviour, why = BEHAVIOURS[what]
    data = os.urandom(SIZE)

    async def check() -> None:
        async with hostile_server(behaviour) as hostile:
            site = machines(tmp_path, 2, token="", others=[hostile.port])
            with running(site):
                holder, loader = site
                root = holder.server.offer("blob", data)
                holders = (f"127.0.0.1:{hostile.port}", holder.address) if is_holder else (holder.address,)
                async with loader.fetcher() as fetcher:
                    began = trio.current_time()
                    arrived = await loader.load(fetcher, PeerSource(root, SIZE, holders), data)
                    took_s = trio.current_time() - began
                    assert {leaf.by for leaf in arrived} == {holder.name, loader.name}
                    assert took_s < 20, "it cost a time-out, and not one for each leaf"
                    assert len(hostile.requests) < 0.7 * len(arrived), "it was left alone"
                    states = await fetcher.site()
                    (state,) = [state for state in states if state.address.endswith(f":{hostile.port}")]
                    assert not state.answers
                    assert why in state.why

    trio.run(check)


@pytest.mark.parametrize(
    ("behind", "count", "came"),
    [
        (b"second", 2, 2),
        (b"second", 1, 0),
        (b"", 1, 1),
        (b"", 0, 1),
        (b"secund", 2, 0),
        (b"second and more", 2, 0),
        (b"sec", 2, 0),
        (b"", 2, 0),
        (b"second", 999_999, 0),
    ],
)
def test_h45_what_comes_in_a_run_is_what_was_asked_for(behind: bytes, count: int, came: int) -> None:
    """A machine that gives other bytes, or more or fewer than it says, is left alone, and nothing of it is taken."""
    leaves = [(cid.raw_cid(sha256(data).digest()), len(data)) for data in (b"first", b"second", b"third")]

    async def check() -> None:
        async with hostile_server(answering(saying(b"first" + behind, "200 OK", f"Ipfsfs-Leaves: {count}"))) as server:
            peer = Peer(HostPort("127.0.0.1", server.port))
            try:
                blocks = await peer.have_run(leaves[0][0], 0, leaves)
            except OriginError:
                blocks = []
            finally:
                await peer.aclose()
            assert blocks == [b"first", b"second"][:came]
            assert peer.standing.is_distrusted == (not came)

    trio.run(check)


def test_h45_a_peer_at_a_tenth_of_the_speed_holds_nothing_up(tmp_path: Path) -> None:
    data = os.urandom(SIZE)
    blocks = {cid.to_text(leaf.cid): data[leaf.offset : leaf.offset + leaf.length] for leaf in cut(data)}

    async def check() -> None:
        async def slowly(stream: Stream, number: int) -> None:
            text = hostile.requests[number].split()[1].removeprefix("/ipfs/").partition("?")[0]
            answer = memoryview(saying(blocks[text]) if text in blocks else saying(b"", "404 Not Found"))
            while answer:
                await stream.send_all(answer[: 1 << 16])
                answer = answer[1 << 16 :]
                await trio.sleep(0.2)  # a leaf takes 3 seconds

        async with hostile_server(slowly) as hostile:
            site = machines(tmp_path, 2, token="", others=[hostile.port])
            with running(site):
                holder, loader = site
                root = holder.server.offer("blob", data)
                source = PeerSource(root, SIZE, (holder.address, f"127.0.0.1:{hostile.port}"))
                async with loader.fetcher() as fetcher:
                    began = trio.current_time()
                    await loader.load(fetcher, source, data)
                    # All of its share would take 16 seconds, at 3 seconds for each batch of 8 leaves.
                    assert trio.current_time() - began < 8

    trio.run(check)


def _state(states: list[PeerState], machine: Machine) -> PeerState:
    return next(state for state in states if state.address == machine.address)


def test_h52_who_has_another_token_gets_nothing_and_learns_nothing(tmp_path: Path) -> None:
    data = os.urandom(3 << 20)
    digest = sha256(data).digest()

    async def check(site: list[Machine]) -> None:
        first, second, _ = site
        root = first.server.offer("blob", data)
        async with first.fetcher() as own:
            await own.announce([blob(root, data)])
            await own.lease([(bytes(32), 5)], [], [])
        async with second.fetcher(token=_ANOTHER) as stranger:
            assert await stranger.find([digest], 1.0) == {}
            answer = await stranger.lease([(digest, -1), (bytes(32), 5)], [], [])
            assert (answer.granted, answer.held, answer.found) == ({digest, bytes(32)}, {}, {})
            with pytest.raises(OriginError):
                await second.load(stranger, PeerSource(root, len(data), (first.address,)), data)
            assert "signed with another token" in _state(await stranger.site(), first).why
        async with second.fetcher(token="") as nobody:
            assert await nobody.find([digest], 1.0) == {}
            assert "not signed" in _state(await nobody.site(), first).why

    with running(site := machines(tmp_path, 3)):
        trio.run(check, site)


def test_h52_whoever_does_not_sign_hears_no_block_no_hash_and_no_hint(tmp_path: Path) -> None:
    data = os.urandom(1 << 20)
    leaf = cid.to_text(cid.raw_cid(sha256(data).digest()))

    async def check(site: list[Machine]) -> None:
        site[0].server.offer("blob", data)
        address = Address("http", "127.0.0.1", site[0].port, "it")
        client = Client("it", address)
        token, body = Token.of(TOKEN), peer_messages.encode(Question(_ID, (sha256(data).digest(),)).message())
        answers = set()
        for method, target, content in (
            ("GET", f"/ipfs/{leaf}?format=raw", b""),
            ("GET", f"/ipfs/{cid.to_text(cid.raw_cid(bytes(32)))}?format=raw", b""),
            ("HEAD", f"/ipfs/{leaf}?format=raw", b""),
            ("POST", peer_messages.ASK, body),
            ("POST", peer_messages.LEASE, body),
            ("POST", peer_messages.ANNOUNCE, body),
            ("GET", peer_messages.PEER, b""),
            ("GET", "/ipfsfs/v1/nothing", b""),
        ):
            answer = await client.ask(Request(method, target, content=content), 1 << 21)
            assert answer.status == 401, target
            answers.add(answer.body)
        assert len(answers - {b""}) == 1, "what is here and what is not is refused in the same words"
        # A signature that is a minute old, used again, or of another clock.
        asked = Asked("GET", f"/ipfs/{leaf}?format=raw", address.authority)
        signed = token.sign(asked, time.time() - 60)
        again = Request("GET", asked.target, ((HEADER, signed.value),))
        assert (await client.ask(again, 1 << 21)).body == data
        assert (await client.ask(again, 1 << 21)).status == 401
        for off_s in (-400, 400):
            late = Request("GET", asked.target, ((HEADER, token.sign(asked, time.time() + off_s).value),))
            answer = await client.ask(late, 1 << 21)
            assert answer.status == 401
            assert b"clocks differ" in answer.body
        await client.aclose()

    with running(site := machines(tmp_path, 1)):
        trio.run(check, site)


def test_h52_an_answer_that_is_not_signed_is_not_believed(tmp_path: Path) -> None:
    """Something at the address of a peer, without the token: what it says of blobs and leases counts for nothing."""
    data = b"content" * 1_000
    held = peer_messages.held_message({sha256(data).digest(): Held("10.0.0.1:1", 0, 0.0, 1.0)})
    body = peer_messages.encode({"id": _ID, "granted": [], "held": held})

    async def check() -> None:
        async with hostile_server(answering(saying(body, "200 OK", f"{HEADER}: v1 {'0' * 64}"))) as hostile:
            site = machines(tmp_path, 1, others=[hostile.port])
            with running(site):
                async with site[0].fetcher() as fetcher:
                    answer = await fetcher.lease([(sha256(data).digest(), -1)], [], [])
                    assert (answer.granted, answer.held) == ({sha256(data).digest()}, {})
                    states = await fetcher.site()
                    (state,) = [state for state in states if state.address.endswith(f":{hostile.port}")]
                    assert "does not sign" in state.why

    trio.run(check)


def test_h52_who_has_not_proved_to_have_the_token_hears_no_question(tmp_path: Path) -> None:
    """A machine of the list that has no token, for its address is another's by now."""
    data = os.urandom(3 << 20)
    digest = sha256(data).digest()

    async def check() -> None:
        async with hostile_server(answering(saying(b"{}"))) as hostile:
            site = machines(tmp_path, 2, others=[hostile.port])
            with running(site):
                holder, loader = site
                root = holder.server.offer("blob", data)
                async with loader.fetcher() as fetcher:
                    await fetcher.find([digest], 2.0)
                    await fetcher.lease([(digest, len(data))], [], [])
                    holders = (f"127.0.0.1:{hostile.port}", holder.address)
                    await loader.load(fetcher, PeerSource(root, len(data), holders), data)
            assert {request.partition("\r\n")[0] for request in hostile.requests} == {"GET /ipfsfs/v1/peer HTTP/1.1"}

    trio.run(check)


def test_h46_two_owners_do_not_both_grant(tmp_path: Path) -> None:
    key = bytes(range(32))

    async def check(site: list[Machine]) -> None:
        by_place = {HostPort("127.0.0.1", machine.port): machine for machine in site}
        first, second = (by_place[at] for at in owners(key, list(by_place), 2))
        ask_first, ask_second = (Peer(HostPort("127.0.0.1", owner.port), Token.of(TOKEN)) for owner in (first, second))

        async def wish(peer: Peer, number: int, *, is_first: bool) -> tuple[list[str], list[str]]:
            message = Wish(f"{number:032x}", 4_000 + number, ((key, -1),), first=is_first).message()
            said = await peer.post(peer_messages.LEASE, message, 2.0)
            return said["granted"], [lease["holder"] for lease in said["held"].values()]

        # One that cannot reach the first owner asks the second, which asks the first for it.
        assert await wish(ask_second, 1, is_first=False) == ([key.hex()], [])
        assert await wish(ask_first, 2, is_first=True) == ([], ["127.0.0.1:4001"])
        assert await wish(ask_second, 3, is_first=False) == ([], ["127.0.0.1:4001"])
        assert await wish(ask_second, 1, is_first=False) == ([key.hex()], [])
        # Where the first does not answer anybody, the second decides.
        first.server.stop()
        assert await wish(ask_second, 2, is_first=False) == ([key.hex()], [])
        assert await wish(ask_second, 3, is_first=False) == ([], ["127.0.0.1:4002"])
        await ask_first.aclose()
        await ask_second.aclose()

    with running(site := machines(tmp_path, 4)):
        trio.run(check, site)


def test_h52_without_a_token_only_machines_of_the_list_are_listened_to(tmp_path: Path) -> None:
    """A site that is open to all: whoever else asks gets public blocks, and changes nothing."""
    data = os.urandom(1 << 20)
    leaf = cid.raw_cid(sha256(data).digest())

    async def check(site: list[Machine]) -> None:
        asked: list[str] = []

        async def notes(stream: Stream, number: int) -> None:
            asked.append(inside.requests[number])
            await stream.send_all(saying(data))

        async with hostile_server(notes) as inside:
            stranger = Client("it", Address("http", "127.0.0.1", site[0].port, "it"))
            query = f"&root={cid.to_text(leaf)}&holders=127.0.0.1:{inside.port}&at=0&length={len(data)}"
            answer = await stranger.ask(Request("GET", f"/ipfs/{cid.to_text(leaf)}?format=raw{query}"), 1 << 21)
            assert answer.status == 404
            assert asked == [], "nobody has it connect to where he likes"
            await stranger.aclose()
        peer = Peer(HostPort("127.0.0.1", site[0].port))
        unlisted = Announcement(_ID, free_port(), (blob(leaf, data),)).message()
        assert (await peer.post(peer_messages.ANNOUNCE, unlisted, 2.0))["taken"] == 0
        listed = Announcement(_ID, site[1].port, (blob(leaf, data),)).message()
        assert (await peer.post(peer_messages.ANNOUNCE, listed, 2.0))["taken"] == 1
        await peer.aclose()

    with running(site := machines(tmp_path, 2, token="")):
        trio.run(check, site)


def test_h52_who_is_at_no_address_of_the_list_changes_nothing(tmp_path: Path) -> None:
    async def check(site: list[Machine]) -> None:
        at = HostPort("127.0.0.1", site[0].port)
        for target, message in (
            (peer_messages.LEASE, Wish(_ID, 4_780, ((bytes(32), 1),)).message()),
            (peer_messages.ANNOUNCE, Announcement(_ID, 4_780, ()).message()),
        ):
            async with aclosing(Peer(at)) as peer:
                with pytest.raises(OriginError, match="401"):
                    await peer.post(target, message, 2.0)
        async with aclosing(Peer(at)) as peer:
            with pytest.raises(OriginError, match="401"):
                await peer.about(2.0)

    site = machines(tmp_path, 1, token="")
    site[0].server.settings = replace(site[0].server.settings, peers="10.11.12.13:4780")
    with running(site):
        trio.run(check, site)


def test_who_names_a_holder_in_vain_spoils_no_others_question(tmp_path: Path) -> None:
    """Of those who ask for a leaf at the same time, the first names a machine that does not have it."""
    data = os.urandom(1 << 20)
    leaf = cid.raw_cid(sha256(data).digest())

    was_asked = trio.Event()

    async def late(stream: Stream, number: int) -> None:
        was_asked.set()
        await trio.sleep(1)
        await stream.send_all(saying(b"", "404 Not Found"))

    async def check(site: list[Machine]) -> None:
        root = site[1].server.offer("blob", data)
        site[1].server.wait_until(blobs=1)
        own, other = (Peer(HostPort("127.0.0.1", site[0].port), Token.of(TOKEN)) for _ in range(2))
        async with hostile_server(late) as empty, trio.open_nursery() as nursery:
            nursery.start_soon(_in_vain, other, leaf, Hints(root, 0, len(data), (f"127.0.0.1:{empty.port}",)))
            await was_asked.wait()
            assert await own.get(leaf, Hints(root, 0, len(data), (site[1].address,))) == data
        await own.aclose()
        await other.aclose()

    with running(site := machines(tmp_path, 2)):
        trio.run(check, site)


async def _in_vain(peer: Peer, leaf: bytes, hints: Hints) -> None:
    with pytest.raises(NotHeld):
        await peer.get(leaf, hints)
