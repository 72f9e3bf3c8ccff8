"""CIDs as text and as bytes."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfsfs.errors import FormatError
from ipfsfs.unixfs import cid

_DIGESTS = st.binary(min_size=32, max_size=32)
_TEXT = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"
_BYTES = bytes.fromhex("01551220e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")


@given(_DIGESTS)
def test_there_and_back(digest: bytes) -> None:
    for made, codec in (
        (cid.raw_cid(digest), cid.RAW),
        (cid.dag_pb_cid(digest), cid.DAG_PB),
        (cid.dag_pb_cid_v0(digest), cid.DAG_PB),
    ):
        assert cid.codec(made) == codec
        assert cid.digest(made) == digest
        assert cid.from_text(cid.to_text(made)) == made


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (_TEXT, _BYTES),
        (_TEXT.upper(), _BYTES),  # base32upper
        ("f" + _BYTES.hex(), _BYTES),  # base16
        ("zb2rhe5P4gXftAwvA4eXQ5HJwsER2owDyS9sKaQRRVQPn93bA", None),  # base58btc, dag-pb or raw
        (
            "QmdfTbBqBPQ7VNxZEYEj14VmRuZBkqFbiwReogJgS1zR1n",
            bytes.fromhex("1220e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ),
        ("bafyreigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi", None),  # dag-cbor
    ],
)
def test_every_spelling_is_read(text: str, expected: bytes | None) -> None:
    found = cid.from_text(text)
    assert expected is None or found == expected
    assert len(cid.digest(found)) == 32
    assert cid.from_text(cid.to_text(found)) == found


def test_a_cid_as_long_as_version_0_need_not_be_one() -> None:
    identity = b"\x01\x55\x00\x1e" + bytes(30)
    assert cid.to_text(identity).startswith("bafk")
    assert cid.from_text(cid.to_text(identity)) == identity


@pytest.mark.parametrize(
    "text",
    [
        "",
        "b",
        "Qm",
        "hello",
        "/ipfs/" + _TEXT,
        _TEXT[:-1],
        _TEXT + "a",
        _TEXT[:-1] + "v",  # bits behind the end
        _TEXT[:20] + "é" + _TEXT[21:],
        _TEXT[:20] + "1" + _TEXT[21:],
        _TEXT[:20] + "=" + _TEXT[21:],
        " " + _TEXT,
        _TEXT + "\n",
        "b" + "a" * 58,
        "z" + "1" * 100_000,
        "ሴ",
    ],
)
def test_what_is_no_cid_is_refused_by_name(text: str) -> None:
    with pytest.raises(FormatError) as caught:
        cid.from_text(text)
    assert repr(text[:80]) in str(caught.value)


@given(st.text(max_size=80) | st.text(alphabet="bafkreiqm234567QmZz1", min_size=40, max_size=64))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        found = cid.from_text(text)
    except FormatError:
        return
    assert cid.from_text(cid.to_text(found)) == found


@given(st.binary(max_size=40) | st.binary(min_size=34, max_size=36).map(lambda rest: b"\x01" + rest))
def test_any_bytes_have_a_digest_or_are_refused(data: bytes) -> None:
    try:
        digest = cid.digest(data)
    except FormatError:
        return
    assert digest == data[-32:]
    assert data[-34:-32] == b"\x12\x20"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x01",
        _BYTES[:-1],
        _BYTES + b"\0",
        b"\x02" + _BYTES[1:],
        b"\x13" + _BYTES[3:],
        b"\x01\x55\x1e" + _BYTES[3:],
        b"\x01\x55\x00\x00",
    ],
)
def test_what_is_no_cid_of_sha2_256_has_no_digest(data: bytes) -> None:
    with pytest.raises(FormatError, match="not a CID of sha2-256"):
        cid.digest(data)


def test_the_usual_cids_need_no_multiformats() -> None:
    """It takes 0.1 s to import, which every start of a command would pay."""
    script = (
        "import sys; from ipfsfs.unixfs import cid; "
        f"assert cid.to_text(cid.from_text({_TEXT!r})) == {_TEXT!r}; assert 'multiformats' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, env={"PYTHONPATH": ":".join(sys.path)})
