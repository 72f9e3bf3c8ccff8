"""CIDs: raw bytes inside, text at the edges.

Everything inside keys blocks by the bytes of a CID. The two kinds that we make (CIDv1, sha2-256, raw or dag-pb) are
turned to text and back by the standard library in 3 microseconds; all others go through multiformats, which knows every
base and codec, takes a hundred microseconds, and 0.1 s to be imported. Hence it is imported where it is first needed.
"""

from __future__ import annotations

import base64
import binascii
from hashlib import sha256
from typing import Final

from ipfsfs.errors import FormatError

XATTR = "ipfs.cid"
"""The extended attribute that holds the CID of a file as text; the name that Kubo's own mount uses."""

RAW = 0x55
DAG_PB = 0x70

IDENTITY_MAX: Final = 128
"""An identity CID, which holds its block in place of a hash, may hold at most these bytes."""

_IDENTITY = 0x00
_SHA2_256 = b"\x12\x20"
_V1_RAW = bytes((1, RAW)) + _SHA2_256
_V1_DAG_PB = bytes((1, DAG_PB)) + _SHA2_256
V1_SIZE: Final = 36
"""The bytes of a CIDv1 of sha2-256 that is raw or dag-pb."""

_V0_SIZE = 34
_V1_TEXT_SIZE = 59
# The longest binary CID that is of use: an identity CID of 128 bytes and its prefix. Text beyond this many characters
# is no CID in any base, and decoding base58 takes time quadratic in its length.
_LONGEST_TEXT = 512


def raw_cid(digest: bytes) -> bytes:
    """The CIDv1 (36 bytes) of a raw block whose sha2-256 is `digest` (32 bytes)."""
    return _V1_RAW + digest


def dag_pb_cid(digest: bytes) -> bytes:
    """The CIDv1 (36 bytes) of a dag-pb block whose sha2-256 is `digest` (32 bytes)."""
    return _V1_DAG_PB + digest


def dag_pb_cid_v0(digest: bytes) -> bytes:
    """The CIDv0 (34 bytes, a bare multihash) of a dag-pb block whose sha2-256 is `digest` (32 bytes)."""
    return _SHA2_256 + digest


EMPTY: Final = raw_cid(sha256(b"").digest())
"""The CID of the file without bytes."""


def unixfs_codec(cid: bytes) -> int | None:
    """`RAW` or `DAG_PB` for the CIDs of sha2-256 that UnixFS is made of (version 0, or 1); None for all other bytes."""
    if len(cid) == V1_SIZE:
        if cid.startswith(_V1_RAW):
            return RAW
        if cid.startswith(_V1_DAG_PB):
            return DAG_PB
    elif len(cid) == _V0_SIZE and cid.startswith(_SHA2_256):
        return DAG_PB
    return None


def codec(cid: bytes) -> int:
    """The multicodec of the content: `RAW`, `DAG_PB` or another. Raises FormatError if `cid` is no CID of sha2-256."""
    known = unixfs_codec(cid)
    return _parse(cid)[0] if known is None else known


def digest(cid: bytes) -> bytes:
    """The sha2-256 (32 bytes) that `cid` names its block by. Raises FormatError for any other hash function."""
    codec(cid)
    return cid[-32:]


def leading(data: bytes) -> bytes:
    """The CID that `data` begins with: of sha2-256, or an identity CID. Raises FormatError if it begins with neither.

    Takes the same time however long `data` is.
    """
    return data[: _hash(data)[2]]


def inlined(cid: bytes) -> bytes | None:
    """The block that an identity CID holds; None for a CID of sha2-256. Raises FormatError for all others."""
    function, start, end = _hash(cid)
    if end != len(cid):
        raise FormatError(f"a CID with {len(cid) - end} bytes behind it")
    return cid[start:] if function == _IDENTITY else None


def check(cid: bytes, block: bytes) -> None:
    """Raises FormatError unless `cid` is the CID of `block`: by sha2-256, or as an identity CID."""
    function, start, end = _hash(cid)
    hashed = block if function == _IDENTITY else sha256(block).digest()
    if end != len(cid) or cid[start:] != hashed:
        raise FormatError(f"{to_text(cid)} is not the CID of the {len(block)} bytes that came for it")


def to_text(cid: bytes) -> str:
    """The usual text of a CID: base32 in lower case for version 1, base58btc for version 0."""
    if len(cid) == _V0_SIZE and cid.startswith(_SHA2_256):
        from multiformats import CID

        return str(CID.decode(cid))
    return "b" + base64.b32encode(cid).decode("ascii").rstrip("=").lower()


def from_text(text: str) -> bytes:
    """The bytes of the CID that `text` spells, in any multibase or as CIDv0. Raises FormatError with the text."""
    if len(text) == _V1_TEXT_SIZE and text[0] == "b":
        try:
            cid = base64.b32decode(text[1:].upper() + "======")
        except (binascii.Error, ValueError):
            raise _not_a_cid(text) from None
        # The last character holds two bits more than the CID; only the spelling that we would give is taken.
        if cid.startswith((_V1_RAW, _V1_DAG_PB)) and to_text(cid) == text:
            return cid
    if not text or len(text) > _LONGEST_TEXT or not text.isascii():
        raise _not_a_cid(text)
    from multiformats import CID

    try:
        return bytes(CID.decode(text))
    except Exception as error:  # on bad text multiformats raises its own errors, and IndexError for some
        raise _not_a_cid(text) from error


def _not_a_cid(text: str) -> FormatError:
    return FormatError(f"not a CID: {text[:80]!r}", hint="A CID looks like bafkrei..., bafybei... or Qm...")


def _parse(cid: bytes) -> tuple[int, bytes]:
    """Codec and digest of a CIDv1 of sha2-256 with any codec."""
    if cid[:1] == b"\x01" and cid[-34:-32] == _SHA2_256:
        value = shift = 0
        for at in range(1, len(cid) - 34):
            value |= (cid[at] & 0x7F) << shift
            shift += 7
            if cid[at] < 0x80:
                if at == len(cid) - 35:
                    return value, cid[-32:]
                break
    raise FormatError(f"not a CID of sha2-256: {cid[:64].hex()}")


def _hash(data: bytes) -> tuple[int, int, int]:
    """The hash function of the CID that `data` begins with, and where its digest begins and ends."""
    if data.startswith(_SHA2_256) and len(data) >= _V0_SIZE:
        return _SHA2_256[0], 2, _V0_SIZE
    version, at = _number(data, 0)
    if version == 1:
        _, at = _number(data, at)
        function, at = _number(data, at)
        length, at = _number(data, at)
        known = length == 32 if function == _SHA2_256[0] else function == _IDENTITY and length <= IDENTITY_MAX
        if known and at + length <= len(data):
            return function, at, at + length
    raise FormatError(f"neither a CID of sha2-256 nor one that holds its block: {data[:40].hex()}")


def _number(data: bytes, at: int) -> tuple[int, int]:
    """The varint at `at`, at most nine bytes as in https://github.com/multiformats/unsigned-varint, and its end."""
    value = 0
    for shift, byte in enumerate(data[at : at + 9]):
        value |= (byte & 0x7F) << 7 * shift
        if byte < 0x80:
            if byte == 0 and shift:
                break
            return value, at + shift + 1
    raise FormatError(f"a CID with a number cut short, too large, or longer than it needs to be: {data[:40].hex()}")
