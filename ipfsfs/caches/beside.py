"""Names beside a file that say something of it, in whatever cache."""

from __future__ import annotations

from typing import Final

WITHDRAWN: Final = rb"\..+\.[0-9a-f]{8}\.withdrawn"
"""As a pattern, the names that `withdrawn_name` gives."""
HYDRATING: Final = rb"\..+\.[0-9a-f]{8}\.hydrating"
"""As a pattern, what is to take the place of a placeholder beside it."""
EVICTING: Final = rb"\..+\.[0-9a-f]{8}\.evicting"
"""As a pattern, a link that is to take the place of a file beside it, and then that file until it is removed."""
LINKING: Final = rb"\..+\.[0-9a-f]{8}\.linking"
"""As a pattern, what is to take the place of a file with the same content beside it."""
UNFINISHED: Final = rb".+\.aria2(?:__temp)?"
"""As a pattern, what aria2 keeps beside a download that it can go on with."""

_KEPT: Final = 200  # of the 255 bytes that a name may have


def withdrawn_name(name: bytes, token: str) -> bytes:
    """A hidden name, which clients and sealing pass over, beside `name`. `token`: 8 hex digits, to have a new one."""
    return b".%b.%b.withdrawn" % (name[:_KEPT], token.encode("ascii"))


def linking_name(name: bytes, token: str) -> bytes:
    """The same for a file that is to take the place of `name`."""
    return b".%b.%b.linking" % (name[:_KEPT], token.encode("ascii"))


def unfinished_marks(name: bytes) -> tuple[bytes, ...]:
    """Names beside `name` that mean, while they are there, that a program is to go on with downloading to it."""
    return (name + b".aria2",)
