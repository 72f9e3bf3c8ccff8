"""The text of a placeholder: each reference has one, and nothing else is one."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipfsfs.errors import FormatError
from ipfsfs.unixfs import cid, file, reference
from ipfsfs.unixfs.chunk import fixed
from ipfsfs.unixfs.cid import dag_pb_cid, dag_pb_cid_v0, raw_cid, to_text
from ipfsfs.unixfs.reference import Reference

_DIGEST = sha256(b"a model").digest()
_DAG = dag_pb_cid(_DIGEST)
_DAG_TEXT = b"ipfs://" + to_text(_DAG).encode()
_RAW = raw_cid(_DIGEST)
_RAW_TEXT = b"ipfs://" + to_text(_RAW).encode()

_UINT64 = st.integers(0, (1 << 64) - 1)
_MODES = st.integers(0, 0o777)
_DAGS = st.builds(
    Reference,
    st.binary(min_size=32, max_size=32).map(dag_pb_cid),
    st.integers(1, reference.SIZE_MAX),
    _MODES,
    st.none() | _UINT64,
)
_LEAVES = st.builds(
    Reference, st.binary(min_size=32, max_size=32).map(raw_cid), st.integers(1, 2 << 20), _MODES, st.none()
)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (_DAG_TEXT + b"?size=4976698672", Reference(_DAG, 4976698672)),
        (_DAG_TEXT + b"?size=9223372036854775807", Reference(_DAG, (1 << 63) - 1)),
        (_DAG_TEXT + b"?size=5&mode=0444", Reference(_DAG, 5, 0o444)),
        (_DAG_TEXT + b"?size=5&mode=0000&tsize=66", Reference(_DAG, 5, 0, 66)),
        (_DAG_TEXT + b"?size=5&tsize=0", Reference(_DAG, 5, 0o644, 0)),
        (_RAW_TEXT + b"?size=1048576", Reference(_RAW, 1 << 20)),
        (_RAW_TEXT + b"?size=2097152&mode=0755", Reference(_RAW, 2 << 20, 0o755)),
        (b"ipfs://" + to_text(cid.EMPTY).encode() + b"?size=0", Reference(cid.EMPTY, 0)),
    ],
)
def test_text_of_a_reference(written: bytes, expected: Reference) -> None:
    assert reference.text(expected) == written
    assert reference.parse(written) == expected


@given(_DAGS | _LEAVES)
def test_there_and_back(made: Reference) -> None:
    written = reference.text(made)
    read = reference.parse(written)
    assert read is not None
    assert (read.root, read.size, read.mode, read.link_tsize()) == (
        made.root,
        made.size,
        made.mode,
        made.link_tsize(),
    )
    assert reference.text(read) == written
    assert len(written) <= reference.TEXT_MAX


def test_the_longest_text() -> None:
    longest = Reference(_DAG, reference.SIZE_MAX, 0o777, (1 << 64) - 1)
    assert len(reference.text(longest)) == reference.TEXT_MAX
    assert reference.parse(reference.text(longest)) == longest


def test_a_leaf_is_as_long_as_its_file() -> None:
    """Also one longer than a mebibyte, which `ipfs add` would have cut."""
    assert Reference(_RAW, 2 << 20).link_tsize() == 2 << 20 != file.fixed_tsize(2 << 20)


_USUAL = str(file.fixed_tsize(5 << 20)).encode()


@pytest.mark.parametrize(
    "written",
    [
        b"",
        _DAG_TEXT,
        _DAG_TEXT + b"?size=",
        _DAG_TEXT + b"?size=05",
        _DAG_TEXT + b"?size=+5",
        _DAG_TEXT + b"?size=-5",
        _DAG_TEXT + b"?size=5_0",
        _DAG_TEXT + "?size=٥".encode(),
        _DAG_TEXT + b"?size=9223372036854775808",
        _DAG_TEXT + b"?size=5\n",
        _DAG_TEXT + b"?size=5 ",
        _DAG_TEXT + b"?size=5&",
        _DAG_TEXT + b"?size=5&name=x",
        _DAG_TEXT + b"?size=5&size=5",
        _DAG_TEXT + b"?size=5&mode=0644",  # the default
        _DAG_TEXT + b"?size=5&mode=444",
        _DAG_TEXT + b"?size=5&mode=00444",
        _DAG_TEXT + b"?size=5&mode=4755",
        _DAG_TEXT + b"?size=5&mode=0888",
        _DAG_TEXT + b"?mode=0444&size=5",
        _DAG_TEXT + b"?size=5&tsize=66&mode=0444",
        _DAG_TEXT + b"?size=5&tsize=066",
        _DAG_TEXT + b"?size=5&tsize=18446744073709551616",
        _DAG_TEXT + b"?size=5242880&tsize=" + _USUAL,  # the default
        _DAG_TEXT + b"/?size=5",
        _DAG_TEXT + b"#size=5",
        b" " + _DAG_TEXT + b"?size=5",
        b"IPFS" + _DAG_TEXT[4:] + b"?size=5",
        b"ipfs://" + to_text(_DAG).upper().encode() + b"?size=5",
        b"ipfs://f" + _DAG.hex().encode() + b"?size=5",
        b"ipfs://" + to_text(dag_pb_cid_v0(_DIGEST)).encode() + b"?size=5",
        b"ipfs://" + to_text(b"\x01\x71\x12\x20" + _DIGEST).encode() + b"?size=5",  # dag-cbor
        b"ipfs://" + to_text(b"\x01\x55\x1e\x20" + _DIGEST).encode() + b"?size=5",  # blake3
        b"ipfs://" + to_text(b"\x01\x55\x00\x20" + _DIGEST).encode() + b"?size=5",  # an identity CID
        _DAG_TEXT[:-1] + b"?size=5",
        _RAW_TEXT + b"?size=2097153",
        _RAW_TEXT + b"?size=0",
        _DAG_TEXT + b"?size=0",
        _RAW_TEXT + b"?size=5&tsize=5",
        _RAW_TEXT + b"?size=5&tsize=6",
        b"ipfs://" + to_text(cid.EMPTY).encode() + b"?size=1",
        b"../../blobs/ebae58",
        b"ipfs://" + b"b" * 4000,
    ],
)
def test_any_other_text_is_of_an_ordinary_symlink(written: bytes) -> None:
    assert reference.parse(written) is None


def test_the_last_character_of_a_cid_has_one_spelling() -> None:
    """It holds two bits more than the CID."""
    spellings = {
        last
        for last in b"abcdefghijklmnopqrstuvwxyz234567"
        if reference.parse(_DAG_TEXT[:-1] + bytes([last]) + b"?size=5")
    }
    assert spellings >= {_DAG_TEXT[-1]}
    for last in spellings:
        read = reference.parse(_DAG_TEXT[:-1] + bytes([last]) + b"?size=5")
        assert read is not None
        assert to_text(read.root).encode() == _DAG_TEXT[7:-1] + bytes([last])
    assert len(spellings) == 8


@given(_DAGS | _LEAVES, st.data())
@settings(max_examples=300)
def test_damaged_text_is_none_or_spells_what_it_says(made: Reference, draw: st.DataObject) -> None:
    written = bytearray(reference.text(made))
    at = draw.draw(st.integers(0, len(written)))
    written[at : at + draw.draw(st.integers(0, 3))] = draw.draw(
        st.binary(max_size=3) | st.sampled_from([b"0", b"&", b"&mode=0600", b"&tsize=1", b"a"])
    )
    read = reference.parse(bytes(written))
    assert read is None or reference.text(read) == written


@given(st.binary(max_size=300))
def test_noise_is_none(noise: bytes) -> None:
    assert reference.parse(noise) is None


@pytest.mark.parametrize(
    ("made", "fault"),
    [
        (Reference(dag_pb_cid_v0(_DIGEST), 5), "not a CIDv1"),
        (Reference(_RAW, -1), "size is -1"),
        (Reference(_DAG, 1 << 63), "size is 9223372036854775808"),
        (Reference(_DAG, 5, 0o1777), "mode is 0o1777"),
        (Reference(_DAG, 5, -1), "mode is -0o1"),
        (Reference(_DAG, 5, tsize=-1), "tsize is -1"),
        (Reference(_DAG, 5, tsize=1 << 64), "tsize is 18446744073709551616"),
        (Reference(_RAW, 0), "0 bytes"),
        (Reference(_RAW, 5, tsize=6), "a tsize of 6"),
        (Reference(_RAW, (2 << 20) + 1), "2097153 bytes"),
    ],
)
def test_a_reference_that_no_text_can_say(made: Reference, fault: str) -> None:
    with pytest.raises(FormatError, match=fault):
        reference.text(made)


@given(st.integers(0, 3 << 30) | st.integers(0, 4 << 20) | st.integers(-3, 3).map(lambda near: (1 << 30) + near))
@settings(max_examples=60, deadline=None)
def test_tsize_follows_from_the_size_where_leaves_are_a_mebibyte(size: int) -> None:
    built = file.build([(raw_cid(bytes(32)), length) for length in fixed(size)])
    assert file.fixed_tsize(size) == built.tsize


@pytest.mark.parametrize("leaves", [1, 2, 1023, 1024, 1025, 2048, 2049, (1 << 20) + 1])
@pytest.mark.parametrize("short_of", [0, (1 << 20) - 1])
def test_tsize_where_a_level_begins(leaves: int, short_of: int) -> None:
    size = (leaves << 20) - short_of
    assert file.fixed_tsize(size) == file.build([(raw_cid(bytes(32)), length) for length in fixed(size)]).tsize


def test_a_file_cut_otherwise_says_its_tsize() -> None:
    built = file.build([(raw_cid(bytes(32)), length) for length in (5, 1 << 20, 64, 7)])
    made = Reference(built.cid, built.size, tsize=built.tsize)
    assert b"&tsize=" in reference.text(made)
    read = reference.parse(reference.text(made))
    assert read is not None
    assert read.link_tsize() == built.tsize


@given(_DAGS | _LEAVES)
def test_what_is_packed_is_unpacked(found: Reference) -> None:
    assert Reference.unpacked(found.packed()) == found
