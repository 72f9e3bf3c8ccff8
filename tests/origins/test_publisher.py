"""Publishing to a real Kubo: CARs, pins with names, IPNS."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import trio

from ipfsfs.errors import NotHeld, OriginError, UsageError
from ipfsfs.origins.kubo import Kubo
from ipfsfs.origins.origin import Publisher
from ipfsfs.origins.registry import open_publisher
from ipfsfs.origins.settings import OriginSettings
from ipfsfs.unixfs import cid as cids
from ipfsfs.unixfs import dagpb
from tests.origins.conftest import BLOCKS
from tests.support.cars import car_of, car_with, pieces, raw
from tests.support.kubo_node import CANARY, KuboNode

pytestmark = pytest.mark.kubo


def _publish(node: KuboNode, check: Callable[[Publisher], Awaitable[None]], authorization: str = "") -> None:
    async def main() -> None:
        settings = OriginSettings("kubo", node.api, authorization or f"Bearer {CANARY}")
        publisher = open_publisher(settings)
        with trio.fail_after(30):
            try:
                await check(publisher)
            finally:
                await publisher.aclose()

    trio.run(main)


def _blocks(seed: int, sizes: list[int]) -> list[bytes]:
    source = random.Random(seed)
    return [source.randbytes(size) for size in sizes]


def test_only_what_is_missing_is_missing(node: KuboNode) -> None:
    new = _blocks(1, [10, 20, 30])

    async def check(publisher: Publisher) -> None:
        asked = [raw(block) for block in [*BLOCKS, *new]]
        assert await publisher.missing(asked) == {raw(block) for block in new}
        assert await publisher.missing([]) == set()

    _publish(node, check)


def test_a_car_of_many_mebibytes_is_stored(node: KuboNode) -> None:
    blocks = _blocks(2, [1 << 20] * 24 + [5])

    async def check(publisher: Publisher) -> None:
        await publisher.put(pieces(car_of(blocks), 300_000))
        assert await publisher.missing(map(raw, blocks)) == set()

    _publish(node, check)
    assert cids.to_text(raw(blocks[0])) not in node.ask("pin", "ls"), "nothing is pinned by that"


def test_a_pin_has_its_name_and_holds_what_is_below(node: KuboNode) -> None:
    leaves = _blocks(3, [1000, 2000])
    directory = _directory({b"a": leaves[0], b"b": leaves[1]})
    root = cids.dag_pb_cid(raw(directory)[-32:])
    name = "models/a name with spaces & signs"

    async def check(publisher: Publisher) -> None:
        assert isinstance(publisher, Kubo)
        publisher.pin_stalls_s = 0.5
        await publisher.put(pieces(car_with(root, [(root, directory), (raw(leaves[0]), leaves[0])]), 1000))
        with pytest.raises(NotHeld, match=cids.to_text(raw(leaves[1]))):
            await publisher.pin(root, name)
        await publisher.put(pieces(car_of([leaves[1]]), 1000))
        await publisher.pin(root, name)
        await publisher.pin(root, name)

    _publish(node, check)
    assert f"{cids.to_text(root)} recursive {name}" in node.ask("pin", "ls", "--names", "--type=recursive")
    node.ask("pin", "rm", cids.to_text(root))


def test_a_name_is_published_and_resolved_offline(node: KuboNode) -> None:
    first, second = raw(BLOCKS[0]), raw(BLOCKS[1])

    async def check(publisher: Publisher) -> None:
        name = await publisher.publish_name("models", first)
        assert await publisher.resolve_name(name) == first
        assert await publisher.publish_name("models", second) == name
        assert await publisher.resolve_name(f"/ipns/{name}") == second
        other = await publisher.publish_name("others", first)
        assert other != name
        unpublished = node.ask("key", "gen", "unpublished").strip()
        with pytest.raises(NotHeld, match="could not resolve name"):
            await publisher.resolve_name(unpublished)

    _publish(node, check)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda data: data[:-7], "unexpected EOF"),
        (lambda data: b"\x0bno car at all", "invalid header"),
        (lambda data: data[:-1] + bytes([data[-1] ^ 1]), "mismatch"),
    ],
    ids=["cut short", "no car", "a flipped bit"],
)
def test_a_car_that_is_none_is_refused(node: KuboNode, spoil: Callable[[bytes], bytes], said: str) -> None:
    async def check(publisher: Publisher) -> None:
        with pytest.raises(OriginError, match=said):
            await publisher.put(pieces(spoil(car_of(_blocks(4, [3000]))), 500))

    _publish(node, check)


def test_an_error_of_the_blocks_source_comes_out_as_it_is(node: KuboNode) -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield car_of(_blocks(5, [1000]))
        raise LookupError("the disk is gone")

    async def check(publisher: Publisher) -> None:
        with pytest.raises(LookupError, match="the disk is gone"):
            await publisher.put(failing())
        await publisher.put(pieces(car_of(_blocks(5, [1000])), 100))

    _publish(node, check)


def test_without_credentials_the_refusal_is_said_and_nothing_of_them_shown(node: KuboNode) -> None:
    async def check(publisher: Publisher) -> None:
        for call in (
            lambda: publisher.missing([raw(b"x")]),
            lambda: publisher.put(pieces(car_of(_blocks(6, [1 << 20] * 4)), 1 << 20)),
            lambda: publisher.pin(raw(b"x"), "x"),
        ):
            with pytest.raises(OriginError, match=r"refuses access .403: Kubo RPC Access Denied") as caught:
                await call()
            assert "other-canary" not in str(caught.value) + caught.value.hint

    _publish(node, check, "Bearer other-canary")


def test_what_cannot_be_asked_is_refused_here(node: KuboNode) -> None:
    async def check(publisher: Publisher) -> None:
        with pytest.raises(UsageError):
            await publisher.pin(raw(b"x"), "é" * 128)
        for key in ("", "a/b", "a b", "é"):
            with pytest.raises(UsageError):
                await publisher.publish_name(key, raw(b"x"))
            with pytest.raises(UsageError):
                await publisher.resolve_name(f"/ipns/{key}")

    _publish(node, check)


def _directory(files: dict[bytes, bytes]) -> bytes:
    links = [dagpb.encode_link(raw(content), name, len(content)) for name, content in files.items()]
    return dagpb.encode_node(links, dagpb.encode_unixfs(dagpb.Unixfs(dagpb.Type.DIRECTORY)))
