"""What every origin does, seen against a real Kubo: by its RPC (TCP, Unix socket), by its gateway, and wrapped; and
against our own server."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trio

from ipfsfs.errors import NotHeld, Unreachable
from ipfsfs.origins.checked import Checked
from ipfsfs.origins.kubo import Kubo
from ipfsfs.origins.origin import Origin
from ipfsfs.origins.registry import open_ordered, open_origin
from ipfsfs.origins.settings import KIT, OriginSettings
from tests.origins.conftest import BLOCKS, LARGE
from tests.support.cars import raw
from tests.support.kit import install_kit
from tests.support.kubo_node import CANARY, KuboNode
from tests.support.served import ServedDirectory

pytestmark = pytest.mark.kubo

_ABSENT = raw(b"a block that no node has")
_BEARER = f"Bearer {CANARY}"
_SEARCH_S = 0.5
_FOREIGN_CIDS = {
    "dag-pb, version 0": (bytes.fromhex("1220") + raw(BLOCKS[3])[-32:], BLOCKS[3]),
    "dag-cbor": (b"\x01\x71" + raw(BLOCKS[4])[-34:], BLOCKS[4]),
}


def _tcp(node: KuboNode) -> OriginSettings:
    return OriginSettings("kubo", node.api, _BEARER)


def _unix(node: KuboNode) -> OriginSettings:
    return OriginSettings("kubo", f"unix://{node.socket}", _BEARER)


def _gateway(node: KuboNode) -> OriginSettings:
    return OriginSettings("gateway", node.gateway)


def _subdomains(node: KuboNode) -> OriginSettings:
    return OriginSettings("gateway", node.gateway.replace("127.0.0.1", "localhost"))


def _impatient(origin: Origin) -> Origin:
    if isinstance(origin, Kubo):
        origin.search_s = _SEARCH_S
    return origin


OURS = "our server"
_KINDS: dict[str, Callable[[KuboNode], Origin]] = {
    "kubo by tcp": lambda node: _impatient(open_origin(_tcp(node))),
    "kubo by a unix socket": lambda node: _impatient(open_origin(_unix(node))),
    "gateway": lambda node: open_origin(_gateway(node)),
    "gateway of subdomains": lambda node: open_origin(_subdomains(node)),
    "checked": lambda node: Checked(open_origin(_gateway(node))),
    KIT: lambda node: open_origin(OriginSettings(KIT, "")),
    "ordered": lambda node: open_ordered([_gateway(node), _subdomains(node)]),
}


@dataclass(slots=True)
class Case:
    node: KuboNode | ServedDirectory
    make: Callable[[Any], Origin]

    def run(self, check: Callable[[Origin], Awaitable[None]]) -> None:
        async def main() -> None:
            origin = self.make(self.node)
            with trio.fail_after(20):
                try:
                    await check(origin)
                finally:
                    await origin.aclose()

        trio.run(main)


@pytest.fixture(scope="module")
def kit(node: KuboNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The stand-in for ipfs_kit_py, which has its blocks from the node."""
    directory = str(install_kit(tmp_path_factory.mktemp("kit"), api=node.api))
    sys.path.insert(0, directory)
    yield
    sys.path.remove(directory)
    for name in [name for name in sys.modules if name.partition(".")[0] == KIT]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedDirectory]:
    """Our own server, with the same blocks."""
    server = ServedDirectory(tmp_path_factory.mktemp("ours"))
    server.start()
    try:
        for number, block in enumerate([*BLOCKS, LARGE]):
            server.offer(f"{number}.bin", block, chunk=len(LARGE))
        server.wait_until(blobs=len(BLOCKS) + 1)
        yield server
    finally:
        server.close()


@pytest.fixture(params=[*_KINDS, OURS])
def case(request: pytest.FixtureRequest) -> Case:
    if request.param == OURS:
        ours: ServedDirectory = request.getfixturevalue("ours")
        return Case(ours, lambda server: open_origin(OriginSettings("gateway", server.address)))
    node: KuboNode = request.getfixturevalue("node")
    if request.param == KIT:
        request.getfixturevalue("kit")
    return Case(node, _KINDS[request.param])


def test_a_block_that_is_there(case: Case) -> None:
    async def check(origin: Origin) -> None:
        for block in BLOCKS[:3]:
            assert await origin.block(raw(block)) == block
            assert await origin.has(raw(block))

    case.run(check)


def test_a_block_that_is_not_there(case: Case) -> None:
    async def check(origin: Origin) -> None:
        assert not await origin.has(_ABSENT)
        with pytest.raises(NotHeld) as caught:
            await origin.block(_ABSENT)
        assert origin.name.split(",")[0] in str(caught.value)
        assert await origin.block(raw(BLOCKS[0])) == BLOCKS[0]

    case.run(check)


def test_the_largest_block(case: Case) -> None:
    async def check(origin: Origin) -> None:
        assert await origin.block(raw(LARGE)) == LARGE

    case.run(check)


@pytest.mark.parametrize("which", _FOREIGN_CIDS)
def test_a_block_under_a_cid_of_another_kind(case: Case, which: str) -> None:
    """A block is found by its hash; the codec does not matter."""
    cid, block = _FOREIGN_CIDS[which]

    async def check(origin: Origin) -> None:
        assert await origin.block(cid) == block
        assert await origin.has(cid)

    case.run(check)


def test_many_blocks_at_once(case: Case) -> None:
    found: dict[bytes, bytes] = {}

    async def check(origin: Origin) -> None:
        async with trio.open_nursery() as nursery:
            for block in BLOCKS:
                nursery.start_soon(fetch, origin, raw(block))

    async def fetch(origin: Origin, cid: bytes) -> None:
        found[cid] = await origin.block(cid)

    case.run(check)
    assert found == {raw(block): block for block in BLOCKS}


def test_cancelled_half_way_others_get_what_they_asked_for(case: Case) -> None:
    async def check(origin: Origin) -> None:
        cancelled = 0
        for delay_ms in range(12):
            with trio.move_on_after(delay_ms / 1000) as scope:
                await origin.block(raw(LARGE))
            cancelled += scope.cancelled_caught
            assert await origin.block(raw(BLOCKS[delay_ms])) == BLOCKS[delay_ms]
        assert cancelled

    case.run(check)


def test_gone_and_back(case: Case) -> None:
    async def check(origin: Origin) -> None:
        assert await origin.has(raw(BLOCKS[0]))
        case.node.stop()
        try:
            for _ in range(2):
                began = trio.current_time()
                with pytest.raises(Unreachable) as caught:
                    await origin.block(raw(BLOCKS[0]))
                assert trio.current_time() - began < 2
                assert "cannot be reached" in str(caught.value)
        finally:
            case.node.start()
        with trio.fail_after(10):
            while True:
                try:
                    assert await origin.block(raw(BLOCKS[0])) == BLOCKS[0]
                    break
                except Unreachable:  # it is left alone for a moment
                    await trio.sleep(0.05)

    case.run(check)


def test_kubo_finds_a_block_in_its_swarm_and_says_that_it_does_not_have_it(
    node: KuboNode, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    block = b"a block of another node"
    other = KuboNode(tmp_path_factory.mktemp("kubo"))
    try:
        other.start()
        other.put_blocks([block], tmp_path)
        address = next(line for line in other.ask("id", "-f", "<addrs>").splitlines() if "/127.0.0.1/tcp/" in line)
        node.ask("swarm", "connect", address)

        async def check(origin: Origin) -> None:
            assert not await origin.has(raw(block))
            assert await origin.block(raw(block)) == block

        Case(node, lambda node: open_origin(_tcp(node))).run(check)
    finally:
        other.close()
