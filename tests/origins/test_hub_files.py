"""Files of a Hub by ranges: redirects and tokens, and Hubs that lie, stall, never end or send elsewhere."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio

from ipfsfs.errors import NotHeld, OriginError, Unreachable
from ipfsfs.origins.checked import Checked
from ipfsfs.origins.hub_file import HubFile
from ipfsfs.origins.hub_files import HubBlocks, HubFiles
from ipfsfs.origins.message import Limits
from ipfsfs.origins.registry import open_hub
from ipfsfs.origins.settings import OriginSettings
from tests.support.cars import raw
from tests.support.hostile_server import Behaviour, Stream, answering, hostile_server, repeat, saying
from tests.support.hub import LocalHub

LEAVES = [random.Random(number).randbytes(300_000) for number in range(3)]
DATA = b"".join(LEAVES)
WHERE = {raw(leaf): (number * 300_000, 300_000) for number, leaf in enumerate(LEAVES)}
CANARY = "hf_" + "Canary" * 5
FILE = HubFile("models", "org/name", "a" * 40, "model.bin", with_token=True)
PATIENT = Limits(connect_s=4, silence_s=4, grace_s=4)


def test_an_origin_of_leaves_by_ranges(tmp_path: Path) -> None:
    """As every origin: blocks that are there, those that are not, others beside them, and no answer at all."""
    with LocalHub(tmp_path) as local:
        commit = local.add("org/name", {"model.bin": DATA, "sub dir/ä#?.bin": DATA[::-1]})
        local.restrict("org/name", "private", CANARY)

        async def main() -> None:
            hub = open_hub(OriginSettings("hub", local.url, f"Bearer {CANARY}"))
            file = HubFile("models", "org/name", commit, "model.bin", with_token=True)
            origin = Checked(HubBlocks(hub, file, WHERE))
            async with trio.open_nursery() as nursery:
                for leaf in LEAVES * 3:
                    nursery.start_soon(_is_given, origin, leaf)
            assert await origin.has(raw(LEAVES[0]))
            assert not await origin.has(raw(b"another"))
            with pytest.raises(NotHeld):
                await origin.block(raw(b"another"))
            other = HubFile("models", "org/name", commit, "sub dir/ä#?.bin", with_token=True)
            assert await hub.range(other, 5, 10) == DATA[::-1][5:15]
            for absent in (
                HubFile("models", "org/name", commit, "model.bin"),
                HubFile("models", "org/name", commit, "no.bin", with_token=True),
                HubFile("models", "org/name", "b" * 40, "model.bin", with_token=True),
                HubFile("datasets", "org/name", commit, "model.bin", with_token=True),
            ):
                with pytest.raises(NotHeld, match="does not give"):
                    await hub.range(absent, 0, 10)
            await hub.aclose()

        trio.run(main)
        asked = local.requests()
        assert {one.authorization for one in asked if one.port == local.content_port} == {None}
        resolved = [one for one in asked if one.status == 302 and one.path.endswith("model.bin")]
        assert len(resolved) <= len(LEAVES * 3), "where it lies is remembered"

    async def gone() -> None:
        hub = open_hub(OriginSettings("hub", local.url))
        with pytest.raises(Unreachable):
            await hub.range(FILE, 0, 10)
        began = trio.current_time()
        with pytest.raises(Unreachable, match="not asked again"):
            await hub.range(FILE, 0, 10)
        assert trio.current_time() - began < 0.1

    trio.run(gone)


async def _is_given(origin: Checked, leaf: bytes) -> None:
    assert await origin.block(raw(leaf)) == leaf


def run(behaviour: Behaviour, check: Callable[[HubFiles], Awaitable[None]], limits: Limits = PATIENT) -> list[str]:
    """Run a check against a Hub that behaves so; returns the requests that came."""
    requests: list[str] = []

    async def main() -> None:
        async with hostile_server(behaviour) as server:
            hub = open_hub(OriginSettings("hub", server.url, f"Bearer {CANARY}"), limits)
            with trio.fail_after(6):
                await check(hub)
            await hub.aclose()
            requests.extend(server.requests)

    trio.run(main)
    return requests


def refused(behaviour: Behaviour, said: str, limits: Limits = PATIENT) -> list[str]:
    async def check(hub: HubFiles) -> None:
        with pytest.raises(OriginError, match=said) as caught:
            await hub.range(FILE, 0, 10)
        assert CANARY not in f"{caught.value} {caught.value.hint} {hub!r}"

    return run(behaviour, check, limits)


async def endless(stream: Stream, number: int) -> None:
    await stream.send_all(b"HTTP/1.1 206 P\r\nContent-Range: bytes 0-9/10\r\nTransfer-Encoding: chunked\r\n\r\n")
    await repeat(stream, b"10000\r\n" + bytes(65_536) + b"\r\n")


async def silent(stream: Stream, number: int) -> None:
    await trio.sleep_forever()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (saying(b"x" * 10, "206 P", "Content-Range: bytes 5-14/20"), "another range"),
        (saying(b"x" * 10, "206 P", "Content-Range: bytes zero-9/20"), "another range"),
        (saying(b"x" * 10, "206 P"), "another range"),
        (saying(b"x" * 5, "206 P", "Content-Range: bytes 0-9/20"), "5 bytes of 10"),
        (saying(b"x" * 11, "206 P", "Content-Range: bytes 0-9/20"), "more than the 10"),
        (saying(b"", "302 Found", "Location: /again"), "more than 4 times"),
        (saying(b"", "302 Found", "Location: ftp://host/x"), "no URL"),
        (saying(b"", "302 Found", "Location: http://user:pw@host/x"), "not followed"),
        (saying(b"", "302 Found", "Location: http://ho st/x"), "not followed|no URL"),
        (saying(b"", "302 Found", "Location: http://[bad/x"), "no URL"),
        (saying(b"", "302 Found"), "more than 4 times|no URL"),
        (saying(b"no", "401 U", "X-Error-Code: GatedRepo"), "401 GatedRepo"),
        (saying(b"no", "500 Oh"), "500"),
        (b"nonsense\r\n\r\n", "HTTP/1.1"),
    ],
)
def test_h41_answers_that_make_no_sense_are_refused(answer: bytes, said: str) -> None:
    refused(answering(answer), said)


def test_h48_answers_without_an_end_are_given_up() -> None:
    refused(endless, "more than the 10")
    refused(silent, "does not answer", Limits(connect_s=1, silence_s=0.3, grace_s=1))


def test_h41_the_token_goes_to_no_other_host() -> None:
    """Neither by a redirect elsewhere, nor where the user does not own the link."""

    async def main() -> None:
        async with hostile_server(answering(saying(b"x" * 10, "206 P", "Content-Range: bytes 0-9/10"))) as other:
            elsewhere = saying(b"", "302 Found", f"Location: http://127.0.0.1:{other.port}/signed?key=1")
            async with hostile_server(answering(elsewhere)) as server:
                hub = open_hub(OriginSettings("hub", server.url, f"Bearer {CANARY}"), PATIENT)
                assert await hub.range(FILE, 0, 10) == b"x" * 10
                assert await hub.range(HubFile("models", "org/name", "c" * 40, "f"), 0, 10) == b"x" * 10
                assert CANARY in server.requests[0]
                assert CANARY not in server.requests[1]
                assert not any(CANARY in request for request in other.requests)
                await hub.aclose()

    trio.run(main)


def test_h41_a_redirect_out_of_tls_is_not_followed() -> None:
    hub = HubFiles(open_hub(OriginSettings("hub", "https://hub.example")).address, f"Bearer {CANARY}")
    with pytest.raises(OriginError, match="not followed"):
        hub._client("http://hub.example/x", with_token=True)
    client, _ = hub._client("https://cdn.example/x", with_token=True)
    assert client.authorization == ""
