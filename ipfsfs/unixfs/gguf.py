"""Tensors in a GGUF file, versions 2 and 3, little-endian (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md).

Metadata and the list of tensors stand before the data without a table of contents, so all of it is walked through, a
window at a time. Arrays of strings (a tokenizer's 250,000 tokens) can only be passed one string after the other.
"""

from __future__ import annotations

from struct import Struct

from ipfsfs.unixfs.span import TENSORS_MAX, NotTensors, ReadAt, Span, exactly

MAGIC = b"GGUF"
HEADER_MAX = 64 << 20
"""Bytes of metadata and tensor list together. A large tokenizer makes it 15 MiB."""

_WINDOW = 1 << 20
_VALUES_MAX = 1 << 16
_DIMENSIONS_MAX = 4
_ALIGNMENT_MAX = 1 << 20

_UINT32 = Struct("<I")
_UINT64 = Struct("<Q")
# Sizes of the types of metadata values, by number; 8 is a string, 9 an array.
_VALUE_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_STRING = 8
_ARRAY = 9
_ALIGNMENT_KEY = b"general.alignment"
_ALIGNMENT_TYPE = 4
# Bytes an element of the tensor types that are plain numbers: these may lie in other formats too, and their ends must
# be known. A quantized tensor lies in GGUF only and is taken to reach to the next one, padding included, so that no
# table of block sizes has to keep up with ggml.
_ELEMENT_SIZES = {0: 4, 1: 2, 24: 1, 25: 2, 26: 4, 27: 8, 28: 8, 30: 2}


class _Header:
    """A cursor that goes forward only, over at most `HEADER_MAX` bytes."""

    __slots__ = ("_at", "_base", "_limit", "_read_at", "_window")

    def __init__(self, read_at: ReadAt, size: int) -> None:
        self._read_at = read_at
        self._limit = min(size, HEADER_MAX)
        self._window = b""
        self._base = 0
        self._at = 0

    @property
    def offset(self) -> int:
        """Where the cursor is, in bytes from the start of the file."""
        return self._base + self._at

    def take(self, length: int) -> bytes:
        if self._at + length > len(self._window):
            self._refill(length)
        data = self._window[self._at : self._at + length]
        self._at += length
        return data

    def skip(self, length: int) -> None:
        """Goes on by any length; if that is beyond the header, what is taken next is refused."""
        self._at += length

    def uint32(self) -> int:
        value: int = _UINT32.unpack(self.take(4))[0]
        return value

    def uint64(self) -> int:
        value: int = _UINT64.unpack(self.take(8))[0]
        return value

    def skip_strings(self, count: int) -> None:
        unpack = _UINT64.unpack_from
        while count:
            if self._at + 8 > len(self._window):
                self._refill(8)
            window, at, last = self._window, self._at, len(self._window) - 8
            while count and at <= last:
                at += 8 + unpack(window, at)[0]
                count -= 1
            self._at = at

    def _refill(self, length: int) -> None:
        self._base += self._at
        self._at = 0
        if length > self._limit - self._base:
            raise NotTensors
        self._window = exactly(self._read_at, self._base, min(max(length, _WINDOW), self._limit - self._base))


def spans(read_at: ReadAt, size: int) -> list[Span]:
    """The tensors. Holes and what follows the last one must be padding, shorter than the alignment."""
    header = _Header(read_at, size)
    header.skip(4)
    if header.uint32() not in (2, 3):
        raise NotTensors
    tensors, values = header.uint64(), header.uint64()
    if not 0 < tensors <= TENSORS_MAX or values > _VALUES_MAX:
        raise NotTensors
    alignment = 32
    for _ in range(values):
        key_length = header.uint64()
        key = b""
        if key_length == len(_ALIGNMENT_KEY):
            key = header.take(key_length)
        else:
            header.skip(key_length)
        value_type = header.uint32()
        if key == _ALIGNMENT_KEY:
            if value_type != _ALIGNMENT_TYPE:
                raise NotTensors
            alignment = header.uint32()
        else:
            _skip_value(header, value_type)
    if not 0 < alignment <= _ALIGNMENT_MAX or alignment & (alignment - 1):
        raise NotTensors
    found = sorted((_tensor(header) for _ in range(tensors)), key=lambda tensor: tensor[0])
    data = -(-header.offset // alignment) * alignment
    result: list[Span] = []
    for at, (offset, length) in enumerate(found):
        begin = data + offset
        bound = data + found[at + 1][0] if at + 1 < tensors else size
        end = bound if length is None else begin + length
        if begin % alignment or end > bound or bound - end >= alignment:
            raise NotTensors
        if begin < end:
            result.append((begin, end))
    if found[0][0] != 0:
        raise NotTensors
    return result


def _skip_value(header: _Header, value_type: int) -> None:
    count = 1
    if value_type == _ARRAY:
        value_type, count = header.uint32(), header.uint64()
    if value_type == _STRING:
        header.skip_strings(count)
    elif (length := _VALUE_SIZES.get(value_type)) is not None:
        header.skip(count * length)
    else:  # an array of arrays too: ggml refuses them
        raise NotTensors


def _tensor(header: _Header) -> tuple[int, int | None]:
    """Offset of the next tensor in the list, and its length in bytes where the type says it."""
    header.skip_strings(1)
    dimensions = header.uint32()
    if dimensions > _DIMENSIONS_MAX:
        raise NotTensors
    elements = 1
    for _ in range(dimensions):
        elements *= header.uint64()
    element = _ELEMENT_SIZES.get(header.uint32())
    return header.uint64(), None if element is None else elements * element
