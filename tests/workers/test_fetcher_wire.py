"""A fetcher that says anything at all: it reads what comes from anywhere, and the daemon reads what it says."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from hashlib import sha256

import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ipfsfs.errors import FetcherLost, FormatError, IpfsfsError
from ipfsfs.unixfs import cid
from ipfsfs.workers import wire
from ipfsfs.workers.fetcher.client import Arrived, Fetcher, Finished
from ipfsfs.workers.fetcher.table import LeafTable, pack
from ipfsfs.workers.fetcher.talk import FetcherTalk
from ipfsfs.workers.process import Process
from ipfsfs.workers.start import Command

_LEAF = cid.raw_cid(sha256(b"leaf").digest())
_TABLE = LeafTable(pack(0, 4, _LEAF) + pack(4, 4, _LEAF))

_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from([0, 4, 8, 1 << 64, "StoreError", "Ended", "00" * 32])
    | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
_likely_parts = st.tuples(st.sampled_from([0, 4, 5, "4", None]), st.integers(), st.text(max_size=5), _values).map(list)
_headers = st.fixed_dictionaries(
    {"id": st.sampled_from([1, 1, 1, 2, "1", None])},
    optional={
        "part": _likely_parts | _values,
        "failed": _values,
        "error": _values,
        "said": _values,
        "sha256": _values,
        **dict.fromkeys(("lost", "hint", "served_by", "given_by", "paths", "size"), _values),
    },
)


async def _table(fetcher: Fetcher) -> None:
    await fetcher.table(_LEAF, 8)


async def _leaves(fetcher: Fetcher) -> None:
    async with fetcher.leaves("extent", _TABLE.records, [None, None]) as arriving:
        async for arrived in arriving:
            assert isinstance(arrived, Arrived)
            assert (arrived.offset in (0, 4), 0 <= arrived.checksum < 1 << 64) == (True, True)


async def _finish(fetcher: Fetcher) -> None:
    found = await fetcher.finish("extent", _TABLE, [1, 2])
    assert isinstance(found, Finished)
    assert len(found.sha256) == 32
    assert all(0 <= offset < 8 for offset in found.lost)


async def _pinned(fetcher: Fetcher) -> None:
    await fetcher.pinned(_LEAF, lambda _: None)


async def _whole(fetcher: Fetcher) -> None:
    await fetcher.whole("extent", "00" * 32, -1, (), lambda _: None)


async def _given(fetcher: Fetcher) -> None:
    await fetcher.given(_TABLE, bytes(32), ())


async def _cut(fetcher: Fetcher) -> None:
    table = await fetcher.cut("extent", _LEAF, 8, ())
    assert len(table) >= 0


async def _listed(fetcher: Fetcher) -> None:
    await fetcher.listed("00" * 32, b"")


@pytest.mark.parametrize("ask", [_table, _leaves, _finish, _pinned, _whole, _cut, _given, _listed])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(frames=st.lists(st.tuples(_headers, st.binary(max_size=100)), max_size=5))
def test_whatever_it_says_is_an_answer_or_an_error_of_ours(
    ask: Callable[[Fetcher], Awaitable[None]], frames: list[tuple[dict[str, object], bytes]]
) -> None:
    async def main() -> None:
        talk = FetcherTalk()
        fetcher = Fetcher(Process(Command("fetcher", "", (), (), b"/"), talk), talk)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_asked, ask, fetcher)
            await trio.testing.wait_all_tasks_blocked()
            decoder = wire.Decoder()
            with suppress(FormatError, LookupError, TypeError, ValueError):  # as `Process` does, which then ends it
                for header, blob in frames:
                    for told, behind in decoder.feed(wire.encode(json.loads(json.dumps(header)), blob)):
                        talk.take(told, behind)
            talk.lose("the fetcher is gone")

    trio.run(main)


async def _asked(ask: Callable[[Fetcher], Awaitable[None]], fetcher: Fetcher) -> None:
    with trio.fail_after(10):
        try:
            await ask(fetcher)
        except IpfsfsError as error:
            assert str(error)  # noqa: PT017 - most end in one of several errors, and some do not


def test_an_answer_that_makes_no_sense_is_told_as_such() -> None:
    async def main() -> None:
        talk = FetcherTalk()
        fetcher = Fetcher(Process(Command("fetcher", "", (), (), b"/"), talk), talk)
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                with pytest.raises(FetcherLost, match="makes no sense"):
                    await _leaves(fetcher)

            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            talk.take({"id": 1, "part": [77, 1, "", []]}, b"")

    trio.run(main)
