"""Origins in order, and the pauses of one that does not answer. The clock is the test's own, so that minutes pass."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest
import trio
from trio.testing import MockClock

from ipfsfs.errors import FormatError, NoOrigin, NotHeld, OriginError, Unreachable
from ipfsfs.origins.checked import Checked
from ipfsfs.origins.http import CONNECTIONS_MAX
from ipfsfs.origins.ordered import Ordered
from ipfsfs.origins.origin import Busy
from ipfsfs.origins.paused import ANSWER_S, Paused
from ipfsfs.unixfs import cid as cids
from tests.support.cars import raw

_BLOCK = b"a block"
_CID = raw(_BLOCK)


@dataclass(slots=True, eq=False)
class Source:
    """An origin in this process: has blocks, or fails as it is told. `asked_at`: when it was."""

    name: str
    blocks: dict[bytes, bytes] = field(default_factory=dict)
    failure: OriginError | None = None
    stalls: bool = False
    takes_s: float = 0.0
    asked_at: list[float] = field(default_factory=list)

    async def block(self, cid: bytes) -> bytes:
        await self._ask()
        if cid not in self.blocks:
            raise NotHeld(f"{self.name} does not have it")
        return self.blocks[cid]

    async def has(self, cid: bytes) -> bool:
        await self._ask()
        return cid in self.blocks

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()

    async def _ask(self) -> None:
        self.asked_at.append(trio.current_time())
        await trio.sleep(self.takes_s)
        if self.stalls:
            await trio.sleep_forever()
        if self.failure is not None:
            raise self.failure


def _run(check: Callable[[], Awaitable[None]]) -> None:
    trio.run(check, clock=MockClock(autojump_threshold=0))


def _ordered(*sources: Source) -> Ordered:
    return Ordered([Paused(Checked(source)) for source in sources])


def test_the_first_that_has_it_is_the_last_that_is_asked() -> None:
    first, second, third = Source("A"), Source("B", {_CID: _BLOCK}), Source("C", {_CID: _BLOCK})

    async def check() -> None:
        assert await _ordered(first, second, third).block(_CID) == _BLOCK
        assert await _ordered(first, second, third).has(_CID)
        assert [len(source.asked_at) for source in (first, second, third)] == [2, 2, 0]

    _run(check)


def test_one_that_stalls_costs_its_time_once() -> None:
    stalled, good = Source("A", stalls=True), Source("B", {_CID: _BLOCK})

    async def check() -> None:
        origins = _ordered(stalled, good)
        took = []
        for _ in range(3):
            began = trio.current_time()
            assert await origins.block(_CID) == _BLOCK
            took.append(trio.current_time() - began)
        assert took == [ANSWER_S, 0, 0]

    _run(check)


def test_one_that_lies_is_passed_over() -> None:
    async def check() -> None:
        origins = _ordered(Source("A", {_CID: b"a lie"}), Source("B", {_CID: _BLOCK}))
        assert await origins.block(_CID) == _BLOCK

    _run(check)


def test_the_error_says_what_each_said_and_what_hope_there_is() -> None:
    async def check() -> None:
        gone = Source("C", failure=Unreachable("C cannot be reached"))
        refuses = Source("B", failure=OriginError("B refuses access", hint="Ask B."))
        cases: list[tuple[list[Source], type[OriginError], str]] = [
            ([], NoOrigin, "none is set"),
            ([Source("A")], NotHeld, "A does not have it"),
            ([Source("A"), refuses], OriginError, "A does not have it; B refuses access"),
            ([Source("A"), refuses, gone], Unreachable, "A does not have it; B refuses access; C cannot be reached"),
        ]
        for sources, kind, said in cases:
            with pytest.raises(OriginError) as caught:
                await _ordered(*sources).block(_CID)
            assert type(caught.value) is kind
            assert str(caught.value) == f"no origin gives {cids.to_text(_CID)}: {said}"
            assert caught.value.hint == ("Ask B." if refuses in sources else "")
            with pytest.raises(OriginError) if {gone, refuses} & {*sources} else trio.CancelScope():
                assert not await _ordered(*sources).has(_CID)

    _run(check)


def test_offline_is_noticed_once_and_then_fails_fast() -> None:
    source = Source("A", failure=Unreachable("A cannot be reached"))

    async def check() -> None:
        origins = _ordered(source)
        for _ in range(1000):
            with pytest.raises(Unreachable) as caught:
                await origins.block(_CID)
        assert len(source.asked_at) == 1
        assert str(caught.value).endswith("A cannot be reached (not asked again for 1 s)")

    _run(check)


def test_pauses_grow_up_to_a_minute_and_an_answer_ends_them() -> None:
    source = Source("A", {_CID: _BLOCK}, failure=Unreachable("A cannot be reached"))

    async def check() -> None:
        paused = Paused(source)
        for _ in range(10):
            with pytest.raises(Unreachable):
                await paused.block(_CID)
            await trio.sleep(paused.paused_s)
        pauses = [after - before for before, after in zip(source.asked_at, source.asked_at[1:], strict=False)]
        assert pauses == pytest.approx([1, 2, 4, 8, 16, 32, 60, 60, 60])
        source.failure = None
        assert await paused.block(_CID) == _BLOCK
        assert (paused.trouble, paused.paused_s) == ("", 0)
        source.failure = Unreachable("A again")
        with pytest.raises(Unreachable):
            await paused.block(_CID)
        assert paused.paused_s == pytest.approx(1)

    _run(check)


def test_one_that_says_when_to_come_again_is_left_alone_until_then() -> None:
    async def check() -> None:
        paused = Paused(Source("A", failure=Busy("A is busy", after_s=30)))
        with pytest.raises(Unreachable):
            await paused.block(_CID)
        assert paused.paused_s == pytest.approx(30)

    _run(check)


def test_failures_beside_each_other_are_one_and_after_a_pause_one_caller_tries() -> None:
    source = Source("A", stalls=True)

    async def ask(paused: Paused) -> None:
        with pytest.raises(Unreachable):
            await paused.block(_CID)

    async def ask_all(paused: Paused) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(ask, paused)

    async def check() -> None:
        paused = Paused(source)
        await ask_all(paused)
        assert len(source.asked_at) == CONNECTIONS_MAX, "the others waited for a connection, and are refused"
        assert paused.paused_s == pytest.approx(1)
        await trio.sleep(1)
        await ask_all(paused)
        assert len(source.asked_at) == CONNECTIONS_MAX + 1
        assert paused.paused_s == pytest.approx(2)

    _run(check)


def test_a_wait_for_a_connection_is_not_the_origins_fault() -> None:
    source = Source("A", {_CID: _BLOCK}, takes_s=ANSWER_S - 1)

    async def check() -> None:
        paused = Paused(source)
        async with trio.open_nursery() as nursery:
            for _ in range(3 * CONNECTIONS_MAX):
                nursery.start_soon(paused.block, _CID)
        assert (paused.counts.blocks, paused.counts.failures) == (3 * CONNECTIONS_MAX, 0)

    _run(check)


def test_a_caller_that_is_cancelled_as_it_tries_leaves_the_next_to_try() -> None:
    source = Source("A", {_CID: _BLOCK}, failure=Unreachable("A cannot be reached"))

    async def check() -> None:
        paused = Paused(source)
        with pytest.raises(Unreachable):
            await paused.block(_CID)
        await trio.sleep(1)
        source.failure, source.stalls = None, True
        with trio.move_on_after(3):
            await paused.block(_CID)
        source.stalls = False
        assert await paused.block(_CID) == _BLOCK

    _run(check)


def test_what_was_asked_and_given_is_counted() -> None:
    source = Source("A", {_CID: _BLOCK})

    async def check() -> None:
        paused = Paused(source)
        await paused.block(_CID)
        await paused.has(_CID)
        with pytest.raises(NotHeld):
            await paused.block(raw(b"another"))
        assert paused.trouble == "", "it answered"
        source.failure = OriginError("A refuses access")
        with pytest.raises(OriginError, match="refuses"):
            await paused.block(_CID)
        counts = paused.counts
        assert (counts.asked, counts.blocks, counts.bytes, counts.failures) == (4, 1, len(_BLOCK), 1)
        assert (paused.trouble, paused.paused_s) == ("A refuses access", 0), "it can be reached"

    _run(check)


def test_a_liar_is_asked_again_after_a_minute() -> None:
    source = Source("A", {_CID: b"a lie"})

    async def check() -> None:
        checked = Checked(source)
        with pytest.raises(OriginError, match="A gave 5 bytes that are not"):
            await checked.block(_CID)
        source.blocks[_CID] = _BLOCK
        await trio.sleep(59)
        with pytest.raises(OriginError, match=r"A gave 5 bytes that are not .*; it is not asked for another 1 s"):
            await checked.block(_CID)
        await trio.sleep(1)
        assert await checked.block(_CID) == _BLOCK

    _run(check)


@pytest.mark.parametrize("size", [0, 1, 127, 128])
def test_an_identity_cid_holds_its_block(size: int) -> None:
    block = b"i" * size
    length = bytes([size]) if size < 128 else b"\x80\x01"

    async def check() -> None:
        source = Source("A")
        assert await Checked(source).block(b"\x01\x55\x00" + length + block) == block
        assert not source.asked_at

    _run(check)


@pytest.mark.parametrize(
    "cid",
    [
        b"",
        b"\x01",
        b"\x02\x55\x12\x20" + bytes(32),
        b"\x01\x55\x12\x20" + bytes(31),
        b"\x01\x55\x12\x20" + bytes(33),
        b"\x01\x55\x12\x10" + bytes(16),
        b"\x01\x55\x13\x40" + bytes(64),
        b"\x01\x55\x00\x81\x01" + bytes(129),
        b"\x01" + b"\x80" * 100 + b"\x12\x20" + bytes(32),
        b"\x12\x20" + bytes(33),
    ],
)
def test_a_cid_that_cannot_be_checked_is_not_asked_for(cid: bytes) -> None:
    async def check() -> None:
        source = Source("A")
        for call in (Checked(source).block, Checked(source).has):
            with pytest.raises(FormatError):
                await call(cid)
        assert not source.asked_at

    _run(check)
