"""Tensors in a safetensors file (https://huggingface.co/docs/safetensors): length, JSON header, data to the end.

The offsets are picked out of the header by a pattern, not by a JSON parser: a string cannot hold an unescaped quote, so
the pattern matches in the same places; it needs no memory for what it passes over, and it cannot differ between
versions of a parser (depth, doubled keys, numbers that are no numbers), which would make the CID depend on one.
"""

from __future__ import annotations

import re
from itertools import islice

from ipfsfs.unixfs.span import TENSORS_MAX, NotTensors, ReadAt, Span, exactly

MAGIC_AFTER_LENGTH = b"{"
HEADER_MAX = 32 << 20
"""Bytes. The format allows 100 MB; huggingface_hub reads headers up to 25 MB."""

_OFFSETS = re.compile(rb'"data_offsets"\s*:\s*\[\s*([0-9]{1,16})\s*,\s*([0-9]{1,16})\s*\]')


def spans(read_at: ReadAt, size: int) -> list[Span]:
    """The tensors. They must fill the file from the header to its end without holes, as the format asks."""
    length = int.from_bytes(exactly(read_at, 0, 8), "little")
    data = 8 + length
    if length > HEADER_MAX or data > size:
        raise NotTensors
    header = exactly(read_at, 8, length)
    found = sorted((int(match[1]), int(match[2])) for match in islice(_OFFSETS.finditer(header), TENSORS_MAX + 1))
    if not 0 < len(found) <= TENSORS_MAX:
        raise NotTensors
    result: list[Span] = []
    reached = 0
    for begin, end in found:
        if begin != reached or end < begin:
            raise NotTensors
        if end > begin:
            result.append((data + begin, data + end))
        reached = end
    if data + reached != size:
        raise NotTensors
    return result
