"""A model file of any size in which every byte can be checked: a page's content follows from its number."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

PAGE: Final = 4096
_PATTERN: Final = b"".join(hashlib.sha512(b"%d" % number).digest() for number in range(2 * PAGE // 64))
_AT_ONCE: Final = 4096


def page(number: int) -> bytes:
    """The content of a page."""
    start = number * 37 % PAGE
    return number.to_bytes(8, "little") + _PATTERN[start : start + PAGE - 8]


def write(path: Path, pages: int) -> None:
    """Write a whole file of so many pages."""
    with path.open("wb") as file:
        for first in range(0, pages, _AT_ONCE):
            file.write(b"".join(page(number) for number in range(first, min(first + _AT_ONCE, pages))))
