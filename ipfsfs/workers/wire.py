"""What goes through the pipes between daemon and sealer: frames of a JSON object and, after it, bytes.

    length of the JSON text (4 bytes, big-endian), length of the bytes (the same), JSON text, bytes

Paths are bytes: in JSON each is a string in which bytes that are no UTF-8 stand as lone surrogates.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from ipfsfs.errors import FormatError

HEADER_MAX: Final = 1 << 20
"""Bytes of JSON in a frame."""

BLOB_MAX: Final = 256 << 20
"""Bytes after the JSON: leaves and checksums of a file of some 2.5 TB."""

_LENGTHS: Final = struct.Struct(">II")

Header = dict[str, Any]


def encode(header: Header, blob: bytes = b"") -> bytes:
    """A frame. Raises FormatError where it would be too long for the other side."""
    text = json.dumps(header, separators=(",", ":")).encode("ascii")
    if len(text) > HEADER_MAX or len(blob) > BLOB_MAX:
        raise FormatError(f"a frame of {len(text)} and {len(blob)} bytes is too long")
    return _LENGTHS.pack(len(text), len(blob)) + text + blob


@dataclass(slots=True)
class Decoder:
    """Frames from bytes as they arrive, in whatever pieces."""

    _data: bytearray = field(default_factory=bytearray)

    def feed(self, data: bytes) -> Iterator[tuple[Header, bytes]]:
        """Yields the frames that are complete with `data`. Raises FormatError for what is no frame."""
        self._data += data
        while len(self._data) >= _LENGTHS.size:
            text_size, blob_size = _LENGTHS.unpack_from(self._data)
            if text_size > HEADER_MAX or blob_size > BLOB_MAX:
                raise FormatError(f"a frame of {text_size} and {blob_size} bytes is too long")
            blob_at = _LENGTHS.size + text_size
            if len(self._data) < blob_at + blob_size:
                return
            try:
                header = json.loads(self._data[_LENGTHS.size : blob_at])
            except (ValueError, RecursionError) as error:
                raise FormatError(f"a frame holds no JSON: {error}") from None
            if not isinstance(header, dict):
                raise FormatError("a frame holds no JSON object")
            blob = bytes(self._data[blob_at : blob_at + blob_size])
            del self._data[: blob_at + blob_size]
            yield header, blob


def text(path: bytes) -> str:
    """A path as it stands in JSON."""
    return path.decode("utf-8", "surrogateescape")


def path(text: str) -> bytes:
    """The reverse of `text`."""
    return text.encode("utf-8", "surrogateescape")
