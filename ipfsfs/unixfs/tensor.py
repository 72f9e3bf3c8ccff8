"""Where tensors lie in a file of weights, found from its content alone.

Headers come from anywhere and are taken for hostile. Each reader (`safetensors`, `gguf`, `torchzip`) reads a bounded
amount, takes a bounded time, and gives up (`NotTensors`) at the first thing that does not fit: a field out of range, an
overlap, a hole, bytes behind the end. Giving up costs sharing and nothing else: the file is then cut every mebibyte.
What they accept is part of the format of CIDs that this program makes; a change gives other CIDs for the same bytes.
"""

from __future__ import annotations

from ipfsfs.unixfs import gguf, safetensors, torchzip
from ipfsfs.unixfs.span import NotTensors, ReadAt, Span, exactly


def cuts(read_at: ReadAt, size: int) -> list[int]:
    """Offsets at which a tensor begins or ends, ascending, above 0 and below `size`; none if this is no such file.

    Never raises for what the content is. What `read_at` raises goes on.
    """
    try:
        magic = exactly(read_at, 0, 9)
        if magic.startswith(gguf.MAGIC):
            spans = gguf.spans(read_at, size)
        elif magic.startswith(torchzip.MAGIC):
            spans = torchzip.spans(read_at, size)
        elif magic.endswith(safetensors.MAGIC_AFTER_LENGTH):
            spans = safetensors.spans(read_at, size)
        else:
            return []
        return _cuts(spans, size)
    except NotTensors:
        return []


def _cuts(spans: list[Span], size: int) -> list[int]:
    found: list[int] = []
    reached = 0
    for begin, end in sorted(spans):
        if not reached <= begin < end <= size:
            raise NotTensors
        if begin > reached:
            found.append(begin)
        found.append(end)
        reached = end
    if found and found[-1] == size:
        found.pop()
    return found
