"""Frames between daemon and sealer."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfsfs.errors import FormatError
from ipfsfs.identity import Identity
from ipfsfs.plain.tree import Found, Unreadable
from ipfsfs.workers import wire
from ipfsfs.workers.sealer import answers
from ipfsfs.workers.sealer.outcome import Busy, Changed, Digest, Failed, Gone, Sealed, Secret, Unfit, Verified

_IDENTITY = Identity(65_024, 2**64 - 1, 1, 2, 3, 4)


@given(st.lists(st.tuples(st.binary(max_size=40), st.binary(max_size=300)), max_size=6), st.integers(1, 50))
def test_frames_arrive_whole_however_they_are_cut(frames: list[tuple[bytes, bytes]], piece: int) -> None:
    sent = [({"path": wire.text(path)}, blob) for path, blob in frames]
    stream = b"".join(wire.encode(header, blob) for header, blob in sent)
    decoder = wire.Decoder()
    received = [frame for at in range(0, len(stream), piece) for frame in decoder.feed(stream[at : at + piece])]
    assert received == sent
    assert [wire.path(header["path"]) for header, _ in received] == [path for path, _ in frames]


@pytest.mark.parametrize(
    "data",
    [
        struct.pack(">II", wire.HEADER_MAX + 1, 0),
        struct.pack(">II", 2, wire.BLOB_MAX + 1),
        struct.pack(">II", 2, 0) + b"[]",
        struct.pack(">II", 2, 0) + b"{{",
        struct.pack(">II", 1, 0) + b"\xff",
    ],
)
def test_what_is_no_frame_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        list(wire.Decoder().feed(data))


def test_a_frame_the_other_side_would_refuse_is_not_made() -> None:
    with pytest.raises(FormatError):
        wire.encode({"path": "x" * wire.HEADER_MAX})


@pytest.mark.parametrize(
    "outcome",
    [
        Sealed(_IDENTITY, b"\1\x55root", b"leaves", b"sums", b"", False),
        Sealed(_IDENTITY, b"\1\x55root", b"", b"", b"\0" * 32, True),
        Digest(_IDENTITY, b"\1" * 32, 7, True),
        Digest(_IDENTITY, b"\1" * 32, 0, False),
        Verified((0, 2**40), (1,), None, True),
        Verified((), (), False, False),
        Busy("it is open for writing"),
        Busy("it was changed a moment ago", 1.25),
        Changed(),
        Gone(),
        Secret(_IDENTITY),
        Unfit(_IDENTITY, "it is too large"),
        Failed(5, "Input/output error"),
    ],
)
def test_outcomes_arrive_as_they_were(outcome: answers.Outcome) -> None:
    ((header, blob),) = wire.Decoder().feed(wire.encode(*answers.encode(outcome)))
    assert answers.decode(header, blob) == outcome


def test_found_files_arrive_as_they_were() -> None:
    batch: list[Found | Unreadable] = [Found(b"a/\xff\xc3\xa9 \\n", _IDENTITY), Unreadable(b"b", 13)]
    ((header, _),) = wire.Decoder().feed(wire.encode({"found": answers.encode_batch(batch)}))
    assert answers.decode_batch(header["found"]) == batch
