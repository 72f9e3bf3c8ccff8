"""Storages in a file that torch.save wrote (a zip whose members are stored, not compressed), and in TorchScript.

Only what lies below `<prefix>/data/` is cut out: that is where storages are. The other members (pickle, code, version)
stay with the zip's own bytes between them.
"""

from __future__ import annotations

from struct import Struct

from ipfsfs.unixfs.span import TENSORS_MAX, NotTensors, ReadAt, Span, exactly

MAGIC = b"PK\x03\x04"
DIRECTORY_MAX = 32 << 20
"""Bytes of the central directory."""

# APPNOTE.TXT 6.3: end of central directory, its zip64 forms, an entry of the directory, a local header.
_END = Struct("<4sHHHHIIH")
_LOCATOR64 = Struct("<4sIQI")
_END64 = Struct("<4sQHHIIQQQQ")
_ENTRY = Struct("<4sHHHHHHIIIHHHHHII")
_LOCAL = Struct("<4sHHHHHIIIHH")
_EXTRA64 = 1
_STORED = 0
_ENCRYPTED = 1
_IN_EXTRA = 0xFFFF_FFFF


def spans(read_at: ReadAt, size: int) -> list[Span]:
    """The storages. The zip must end with its file (no comment, nothing behind) and have `data.pkl` and `version`."""
    begin, length, count = _central_directory(read_at, size)
    directory = exactly(read_at, begin, length)
    result: list[Span] = []
    prefix = b""
    missing = {b"data.pkl", b"version"}
    at = 0
    for _ in range(count):
        if at + _ENTRY.size > length:
            raise NotTensors
        fields = _ENTRY.unpack_from(directory, at)
        flags, method = fields[3], fields[4]
        name_length, extra_length, comment_length = fields[10:13]
        name_at = at + _ENTRY.size
        extra_at = name_at + name_length
        at = extra_at + extra_length + comment_length
        if fields[0] != b"PK\x01\x02" or at > length:
            raise NotTensors
        name = directory[name_at:extra_at]
        if not prefix:
            prefix = name[: name.find(b"/") + 1]
        if not prefix or not name.startswith(prefix):
            raise NotTensors
        rest = name[len(prefix) :]
        missing.discard(rest)
        if rest.startswith(b"data/") and method == _STORED:
            extra = directory[extra_at : extra_at + extra_length]
            whole, stored, header = _sizes(fields[9], fields[8], fields[16], extra)
            if flags & _ENCRYPTED or stored != whole:
                raise NotTensors
            if stored:
                start = _data_start(read_at, header, name_length)
                if start + stored > begin:
                    raise NotTensors
                result.append((start, start + stored))
    if at != length or missing or not result:
        raise NotTensors
    return result


def _central_directory(read_at: ReadAt, size: int) -> tuple[int, int, int]:
    """Offset and length in bytes of the central directory, and how many entries it has."""
    end_at = size - _END.size
    tail = exactly(read_at, end_at - _LOCATOR64.size, _LOCATOR64.size + _END.size)
    magic, disk, first_disk, _, count, length, begin, comment = _END.unpack_from(tail, _LOCATOR64.size)
    if magic != b"PK\x05\x06" or disk or first_disk or comment:
        raise NotTensors
    locator = _LOCATOR64.unpack_from(tail)
    if locator[0] == b"PK\x06\x07":
        end64_at = locator[2]
        if end64_at + _END64.size != end_at - _LOCATOR64.size:
            raise NotTensors
        end64 = _END64.unpack(exactly(read_at, end64_at, _END64.size))
        if end64[0] != b"PK\x06\x06":
            raise NotTensors
        count, length, begin = end64[7:10]
        end_at = end64_at
    if begin + length != end_at or length > DIRECTORY_MAX or not 0 < count <= TENSORS_MAX:
        raise NotTensors
    return begin, length, count


def _sizes(whole: int, stored: int, header: int, extra: bytes) -> tuple[int, int, int]:
    """The three numbers of an entry, taken from the zip64 field of `extra` where the entry itself has no room."""
    wanted = [value == _IN_EXTRA for value in (whole, stored, header)]
    if not any(wanted):
        return whole, stored, header
    at = 0
    while at + 4 <= len(extra):
        tag = int.from_bytes(extra[at : at + 2], "little")
        length = int.from_bytes(extra[at + 2 : at + 4], "little")
        at += 4
        if tag == _EXTRA64:
            field = extra[at : at + length]
            if len(field) != length or length < 8 * sum(wanted):
                raise NotTensors
            numbers = iter([int.from_bytes(field[i : i + 8], "little") for i in range(0, 8 * sum(wanted), 8)])
            whole, stored, header = (
                next(numbers) if absent else value
                for absent, value in zip(wanted, (whole, stored, header), strict=True)
            )
            return whole, stored, header
        at += length
    raise NotTensors


def _data_start(read_at: ReadAt, header: int, name_length: int) -> int:
    """Where the bytes of the member begin whose local header is at `header`."""
    fields = _LOCAL.unpack(exactly(read_at, header, _LOCAL.size))
    if fields[0] != MAGIC or fields[9] != name_length:
        raise NotTensors
    return header + _LOCAL.size + int(fields[9]) + int(fields[10])
