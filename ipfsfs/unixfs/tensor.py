"""Where tensors begin and end in a file: safetensors, GGUF, torch zip."""

from __future__ import annotations

from collections.abc import Callable


def cuts(read_at: Callable[[int, int], bytes], size: int) -> list[int]:
    """Offsets at which a tensor begins or ends, ascending, above 0 and below `size`; none if this is no such file."""
    return []
