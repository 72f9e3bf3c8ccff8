"""What a refusal by HTTP means, where nothing more special is known of it."""

from __future__ import annotations

import email.utils
import math
import time
from typing import Final

from ipfsfs.errors import OriginError, Unreachable
from ipfsfs.origins.message import Answer, Head
from ipfsfs.origins.origin import Busy
from ipfsfs.origins.said import shown

AFTER_MAX_S: Final = 300.0
"""A server that asks to be left alone for longer is asked again after this."""
_BUSY: Final = (429, 503, 504)
_SHOWN: Final = 200


def refusal(name: str, answer: Answer, authorization: str) -> OriginError:
    """The error for an answer that is no success. `authorization`: the value of the header that was sent."""
    status, said = answer.status, _first_line(answer.body, authorization)
    if status in _BUSY:
        after_s = retry_after_s(answer.head, time.time())
        return Busy(f"{name} is busy ({status}{said})", after_s=after_s)
    if status == 502:
        return Unreachable(f"{name} does not reach its own server ({status}{said})")
    if status in (401, 403):
        return OriginError(
            f"{name} refuses access ({status}{said})", hint="Give the credentials that it asks for, or ask its owner."
        )
    if 300 <= status < 400:
        return OriginError(f"{name} redirects to another place ({status}): not followed")
    return OriginError(f"{name} answers {status}{said}")


def _first_line(body: bytes, authorization: str) -> str:
    """What is shown of the text of a refusal: its first line, after a colon; empty where there is none."""
    lines = body.decode("utf-8", "replace").strip().splitlines()
    return f": {shown(lines[0], authorization, _SHOWN)}" if lines and not lines[0].startswith("<") else ""


def retry_after_s(head: Head, now: float) -> float:
    """How many seconds a server wants to be left alone (`Retry-After`, seconds or a date); 0 where it does not say."""
    said = head.header("retry-after").strip()[:64]
    if said.isascii() and said.isdigit():
        return min(float(said), AFTER_MAX_S)
    try:
        wait_s = email.utils.parsedate_to_datetime(said).timestamp() - now
    except (ValueError, TypeError, OverflowError):
        return 0.0
    return max(0.0, min(wait_s, AFTER_MAX_S)) if math.isfinite(wait_s) else 0.0
