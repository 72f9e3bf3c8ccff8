"""CIDs: raw bytes inside, text at the edges.

Everything inside keys blocks by the bytes of a CID. The two kinds that we make (CIDv1, sha2-256, raw or dag-pb) are
turned to text and back by the standard library in 3 microseconds; all others go through multiformats, which knows every
base and codec, takes a hundred microseconds, and 0.1 s to be imported. Hence it is imported where it is first needed.
"""

from __future__ import annotations

import base64
import binascii

from ipfsfs.errors import FormatError

RAW = 0x55
DAG_PB = 0x70

_SHA2_256 = b"\x12\x20"
_V1_RAW = bytes((1, RAW)) + _SHA2_256
_V1_DAG_PB = bytes((1, DAG_PB)) + _SHA2_256
_V1_SIZE = 36
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


def codec(cid: bytes) -> int:
    """The multicodec of the content: `RAW`, `DAG_PB` or another. Raises FormatError if `cid` is no CID of sha2-256."""
    if len(cid) == _V1_SIZE:
        if cid.startswith(_V1_RAW):
            return RAW
        if cid.startswith(_V1_DAG_PB):
            return DAG_PB
    elif len(cid) == _V0_SIZE and cid.startswith(_SHA2_256):
        return DAG_PB
    return _parse(cid)[0]


def digest(cid: bytes) -> bytes:
    """The sha2-256 (32 bytes) that `cid` names its block by. Raises FormatError for any other hash function."""
    codec(cid)
    return cid[-32:]


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
