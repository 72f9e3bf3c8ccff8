"""dag-pb and UnixFS messages: what is written is read back, and only what is well formed is read."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipfsfs.errors import FormatError
from ipfsfs.unixfs import dagpb
from ipfsfs.unixfs.dagpb import Link, Metadata, Type, Unixfs

_UINT64 = st.integers(0, (1 << 64) - 1)
_LINKS = st.lists(st.builds(Link, st.binary(min_size=1, max_size=40), st.binary(max_size=200), _UINT64), max_size=5)
_METADATA = st.builds(
    Metadata,
    st.none() | st.integers(0, 0o7777),
    st.none() | st.tuples(st.integers(-(1 << 63), (1 << 63) - 1), st.integers(0, 999_999_999)),
)
_MESSAGES = st.builds(
    Unixfs,
    st.sampled_from(Type),
    st.none() | st.binary(max_size=200),
    st.none() | _UINT64,
    st.lists(_UINT64, max_size=5),
    st.none() | _UINT64,
    st.none() | _UINT64,
    _METADATA,
)


def _node(links: list[Link], data: bytes) -> bytes:
    return dagpb.encode_node([dagpb.encode_link(link.cid, link.name, link.tsize) for link in links], data)


@given(_LINKS, st.binary(max_size=300))
def test_node_there_and_back(links: list[Link], data: bytes) -> None:
    assert dagpb.decode_node(_node(links, data)) == (links, data)


@given(_MESSAGES)
def test_message_there_and_back(message: Unixfs) -> None:
    assert dagpb.decode_unixfs(dagpb.encode_unixfs(message)) == message


@pytest.mark.parametrize("mtime", [(-(1 << 63), 0), ((1 << 63) - 1, 1), (-1, 999_999_999), (0, 0)])
def test_times_at_the_bounds(mtime: tuple[int, int]) -> None:
    message = Unixfs(Type.FILE, metadata=Metadata(mtime=mtime))
    assert dagpb.decode_unixfs(dagpb.encode_unixfs(message)) == message


def test_negative_time_is_ten_bytes() -> None:
    assert dagpb.encode_metadata(Metadata(mtime=(-1, 0))) == b"\x42\x0b\x08" + b"\xff" * 9 + b"\x01"


@given(_LINKS, _MESSAGES, st.data())
@settings(max_examples=500, deadline=None)
def test_damaged_blocks_are_refused_or_mean_what_they_say(
    links: list[Link], message: Unixfs, draw: st.DataObject
) -> None:
    block = bytearray(_node(links, dagpb.encode_unixfs(message)))
    for _ in range(draw.draw(st.integers(1, 3))):
        at = draw.draw(st.integers(0, len(block) - 1))
        block[at : at + draw.draw(st.integers(0, 2))] = draw.draw(st.binary(max_size=3))
        if not block:
            return
    _read(bytes(block))


@given(
    st.binary(max_size=120) | st.lists(st.sampled_from([0x0A, 0x12, 0x18, 2, 0, 4, 0x80, 8]), max_size=40).map(bytes)
)
@settings(max_examples=500, deadline=None)
def test_noise_is_refused_or_means_what_it_says(block: bytes) -> None:
    _read(block)


def _read(block: bytes) -> None:
    """Nothing but FormatError is raised, and what is read is written as the same fields again."""
    try:
        links, data = dagpb.decode_node(block)
        if data is not None:
            assert dagpb.decode_node(_node(links, data)) == (links, data)
            assert dagpb.encode_unixfs(dagpb.decode_unixfs(data)) == data
    except FormatError:
        pass


_LINK = dagpb.encode_link(b"\x12\x20" + bytes(32), b"a", 1)


def test_data_before_the_links_is_read() -> None:
    assert dagpb.decode_node(b"\x0a\x02\x08\x01" + _LINK + _LINK)[1] == b"\x08\x01"


@pytest.mark.parametrize(
    "block",
    [
        _LINK + b"\x0a\x02\x08\x01" + _LINK,  # data between links
        b"\x0a\x02\x08\x01\x0a\x02\x08\x01",  # data twice
        b"\x12\x02\x12\x00",  # a link without a CID
        b"\x12\x02\x0a\x00",  # a CID without bytes
        b"\x12\x05\x12\x00\x0a\x01\x01",  # fields out of order
        b"\x12\x06\x0a\x01\x01\x0a\x01\x01",  # a field twice
        b"\x12\x07\x0a\x01\x01\x12\x00\x20\x01",  # unknown field of a link
        b"\x1a" + _LINK[1:],  # unknown field of a node
        b"\x0a" + b"\x80" * 9 + b"\x02",  # a number of 65 bits
        b"\x0a\x05\x08\x01",  # cut short
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",  # 16 exbibytes
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",  # a number of 11 bytes
        b"\x0a\x82\x00\x08\x01",  # a number longer than it needs to be
        b"\x0a",
    ],
)
def test_node_that_is_not_well_formed(block: bytes) -> None:
    with pytest.raises(FormatError):
        dagpb.decode_node(block)


def test_node_that_is_too_large() -> None:
    data = bytes(dagpb.BLOCK_MAX - 4)
    block = _node([], data)
    assert len(block) == dagpb.BLOCK_MAX
    assert dagpb.decode_node(block) == ([], data)
    with pytest.raises(FormatError, match="2097153 bytes"):
        dagpb.decode_node(bytes(dagpb.BLOCK_MAX + 1))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x08\x06",  # unknown type
        b"\x12\x01a",  # no type
        b"\x08\x02\x08\x02",  # type twice
        b"\x18\x00\x08\x02",  # out of order
        b"\x08\x02\x50\x01",  # unknown field
        b"\x08\x02\x42\x00",  # time without seconds
        b"\x08\x02\x42\x02\x10\x01",
        b"\x08\x02\x42\x07\x08\x01\x15\x00\x00\x00\x00",  # nanoseconds 0
        b"\x08\x02\x42\x07\x08\x01\x15\x00\xca\x9a\x3b",  # nanoseconds 1,000,000,000
        b"\x08\x02\x42\x06\x08\x01\x15\x01\x00\x00",
    ],
)
def test_message_that_is_not_well_formed(data: bytes) -> None:
    with pytest.raises(FormatError):
        dagpb.decode_unixfs(data)
