"""CARs: what is written is read, in pieces of any length; what is cut, endless or wrong is refused."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterable
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipfsfs.errors import FormatError
from ipfsfs.unixfs import car, dagpb
from ipfsfs.unixfs.car import Reader
from ipfsfs.unixfs.cid import dag_pb_cid, dag_pb_cid_v0, from_text, raw_cid

Blocks = list[tuple[bytes, bytes]]


def _raw(block: bytes) -> tuple[bytes, bytes]:
    return raw_cid(sha256(block).digest()), block


def _identity(block: bytes) -> tuple[bytes, bytes]:
    return b"\x01\x55\x00" + dagpb.varint(len(block)) + block, block


def _car(blocks: Iterable[tuple[bytes, bytes]], roots: Iterable[bytes] = ()) -> bytes:
    return car.header(roots) + b"".join(car.frame(*block) for block in blocks)


def _read(data: bytes, piece: int = 1 << 20) -> tuple[list[bytes] | None, Blocks]:
    reader = Reader()
    found = [block for at in range(0, len(data), piece) for block in reader.feed(data[at : at + piece])]
    reader.finish()
    return reader.roots, found


_CIDS = st.binary(min_size=32, max_size=32).flatmap(
    lambda digest: st.sampled_from([raw_cid(digest), dag_pb_cid(digest), dag_pb_cid_v0(digest)])
)
_BLOCKS = st.binary(
    max_size=300
).flatmap(
    lambda block: st.sampled_from(
        [
            _raw(block),
            (dag_pb_cid(sha256(block).digest()), block),
            (dag_pb_cid_v0(sha256(block).digest()), block),
            (b"\x01\x71\x12\x20" + sha256(block).digest(), block),  # dag-cbor
            (b"\x01\xa9\x02\x12\x20" + sha256(block).digest(), block),  # dag-json
            _identity(block[:128]),
        ]
    )
)


@given(st.lists(_CIDS, max_size=30), st.lists(_BLOCKS, max_size=8), st.integers(1, 400))
def test_there_and_back_in_pieces_of_any_length(roots: list[bytes], blocks: Blocks, piece: int) -> None:
    assert _read(_car(blocks, roots), piece) == (roots, blocks)


def test_a_car_as_the_specification_shows_it() -> None:
    """The header of the fixture carv1-basic of https://ipld.io/specs/transport/car/fixture/."""
    roots = [
        from_text("bafyreihyrpefhacm6kkp4ql6j6udakdit7g3dmkzfriqfykhjw6cad5lrm"),
        from_text("bafyreidj5idub6mapiupjwjsyyxhyhedxycv4vihfsicm2vt46o7morwlm"),
    ]
    expected = bytes.fromhex(
        "63a265726f6f747382d82a58250001711220f88bc853804cf294fe417e4fa83028689fcdb1b1592c5102e1474dbc200fab8b"
        "d82a5825000171122069ea0740f9807a28f4d932c62e7c1c83be055e55072c90266ab3e79df63a365b6776657273696f6e01"
    )
    assert car.header(roots) == expected
    assert _read(expected) == (roots, [])


@pytest.mark.parametrize("count", [0, 1, 23, 24, 255, 256, 25_000])
def test_any_number_of_roots(count: int) -> None:
    roots = [raw_cid(number.to_bytes(32, "big")) for number in range(count)]
    assert _read(car.header(roots))[0] == roots


def test_largest_frames() -> None:
    blocks = [_raw(bytes(dagpb.BLOCK_MAX)), _identity(bytes(128)), _raw(b"")]
    assert _read(_car(blocks))[1] == blocks


_WHOLE = _car([_raw(b"some"), _raw(b"more")], [raw_cid(bytes(32))])
_FIRST = len(car.header([raw_cid(bytes(32))]))
_ENDS = {_FIRST, _FIRST + 1 + 36 + 4, len(_WHOLE)}


@pytest.mark.parametrize("length", range(len(_WHOLE) + 1))
def test_a_car_that_is_cut_short(length: int) -> None:
    """Between two frames it looks whole: the format cannot tell."""
    if length in _ENDS:
        assert len(_read(_WHOLE[:length])[1]) == sorted(_ENDS).index(length)
    else:
        with pytest.raises(FormatError, match="ends within"):
            _read(_WHOLE[:length], 1)


_HEADER = car.header([])


@pytest.mark.parametrize(
    ("rest", "fault"),
    [
        (car.frame(_raw(b"a")[0], b"b"), "is not the CID of the 1 bytes"),
        (car.frame(_raw(b"a")[0], b""), "is not the CID of the 0 bytes"),
        (car.frame(*_raw(bytes(dagpb.BLOCK_MAX + 1))), "a block of 2097153 bytes"),
        (car.frame(b"\x01\x55\x00\x01a", b"b"), "is not the CID"),
        (car.frame(b"\x01\x55\x00\x01a", b"aa"), "is not the CID"),
        (car.frame(*_identity(bytes(129))), "neither a CID"),
        (car.frame(b"\x01\x55\x1e\x20" + bytes(32), b"a"), "neither a CID"),  # blake3
        (car.frame(b"\x01\x55\x12\x1f" + bytes(31), b"a"), "neither a CID"),  # a sha2-256 cut short
        (car.frame(b"\x01\x55\x12\x20" + bytes(31), b""), "neither a CID"),  # a digest cut short
        (car.frame(b"\x02\x55\x12\x20" + bytes(32), b"a"), "neither a CID"),
        (car.frame(b"\x01\xd5\x00\x12\x20" + bytes(32), b"a"), "longer than it needs to be"),
        (car.frame(b"\x01" + b"\xff" * 40, b""), "too large"),
        (b"\x02\x01\x55", "cut short"),
        (b"\x00", "no bytes"),
        (b"\x80\x00", "not minimal"),
        (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff", "256 MiB or more"),
        (dagpb.varint(car.FRAME_MAX + 1), "2097313 bytes"),
    ],
)
def test_frames_that_are_refused(rest: bytes, fault: str) -> None:
    with pytest.raises(FormatError, match=fault):
        _read(_HEADER + rest)


def _sized(body: bytes) -> bytes:
    return dagpb.varint(len(body)) + body


_LINK = b"\xd8\x2a\x58\x25\x00" + raw_cid(bytes(32))


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"\x0a\xa1\x67version\x02",  # the beginning of a CARv2
        _sized(b"\xa2\x67version\x01\x65roots\x80"),  # keys out of order
        _sized(b"\xa2\x65roots\x80\x67version\x02"),
        _sized(b"\xa2\x65roots\x80\x67version\x18\x01"),  # a number longer than it needs to be
        _sized(b"\xa2\x65roots\x98\x00\x67version\x01"),
        _sized(b"\xa2\x65roots\x9f\xff\x67version\x01"),  # an array without a length
        _sized(b"\xa2\x65roots\x9a\xff\xff\xff\xff\x67version\x01"),
        _sized(b"\xa2\x65roots\x80\x67version\x01\x00"),  # bytes behind it
        _sized(b"\xa2\x65roots\x81\x67version\x01"),  # a root that is missing
        _sized(b"\xa2\x65roots\x81\xd8\x2a\x40\x67version\x01"),  # a link without bytes
        _sized(b"\xa2\x65roots\x81\xd8\x2a\x43\x00\x01\x55\x67version\x01"),  # half a CID
        _sized(b"\xa2\x65roots\x81" + _LINK + b"\x61a\x67version\x01"),
        _sized(b"\xa2\x65roots\x81" + _LINK.replace(b"\x58\x25\x00", b"\x58\x25\x01") + b"\x67version\x01"),
        _sized(b"\xa2\x65roots\x81" + _LINK[2:] + b"\x67version\x01"),  # bytes that are no link
        _sized(b"\xa3\x65roots\x80\x67version\x01\x61a\x01"),
        _sized(b"\x80"),
        b"<html>",
    ],
)
def test_headers_that_are_refused(header: bytes) -> None:
    with pytest.raises(FormatError):
        _read(header)


def test_a_header_that_is_too_long_is_refused_at_once() -> None:
    with pytest.raises(FormatError, match="a header or frame of 1048577 bytes"):
        list(Reader().feed(dagpb.varint(car.HEADER_MAX + 1)))


def test_a_large_piece_is_not_copied_as_a_whole() -> None:
    piece = car.header([]) + car.frame(*_raw(bytes(1 << 20))) * 32
    tracemalloc.start()
    try:
        assert sum(1 for _ in Reader().feed(piece)) == 32
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_time_and_memory_are_those_of_one_frame() -> None:
    """128 MiB in 64 KiB pieces, 100,000 frames in one piece, and a frame that comes byte by byte."""
    block = bytes(1 << 20)
    framed = car.frame(*_raw(block))
    reader = Reader()
    list(reader.feed(car.header([])))
    tracemalloc.start()
    started = time.process_time()
    try:
        for _ in range(128):
            for at in range(0, len(framed), 65_536):
                for _cid, got in reader.feed(framed[at : at + 65_536]):
                    assert got == block
        assert time.process_time() - started < 10
        small = car.frame(*_raw(b"x")) * 100_000
        started = time.process_time()
        assert sum(1 for _ in reader.feed(small)) == 100_000
        assert time.process_time() - started < 10
        reader.finish()
        started = time.process_time()
        slow = car.frame(*_raw(bytes(300_000)))
        assert sum(1 for at in range(len(slow)) for _ in reader.feed(slow[at : at + 1])) == 1
        assert time.process_time() - started < 10
        assert tracemalloc.get_traced_memory()[1] < 12 << 20
    finally:
        tracemalloc.stop()


@given(st.binary(max_size=300) | st.binary(max_size=200).map(lambda rest: _HEADER + rest), st.integers(1, 50))
@settings(max_examples=300)
def test_noise_is_refused_or_holds_blocks(noise: bytes, piece: int) -> None:
    _only_checked_blocks(noise, piece)


@given(st.lists(_BLOCKS, min_size=1, max_size=4), st.integers(1, 400), st.data())
@settings(max_examples=300)
def test_a_damaged_car_is_refused_or_holds_other_blocks(blocks: Blocks, piece: int, draw: st.DataObject) -> None:
    damaged = bytearray(_car(blocks, [blocks[0][0]]))
    for _ in range(draw.draw(st.integers(1, 3))):
        at = draw.draw(st.integers(0, len(damaged)))
        damaged[at : at + draw.draw(st.integers(0, 3))] = draw.draw(st.binary(max_size=3))
    _only_checked_blocks(bytes(damaged), piece)


def _only_checked_blocks(data: bytes, piece: int) -> None:
    reader = Reader()
    try:
        for at in range(0, len(data), piece):
            for cid, block in reader.feed(data[at : at + piece]):
                assert cid.endswith(sha256(block).digest()) or (len(block) <= 128 and cid.endswith(block))
        reader.finish()
    except FormatError:
        pass
