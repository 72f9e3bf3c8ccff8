"""What takes bytes from outside, as targets for a fuzzer: atheris (`run`) or hypothesis.

A target must return: an error of ours is an answer, anything else is a find.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from tests.fuzz import content, local, servers

SLOW_S: Final = 5.0
TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    "tensor": content.tensor,
    "dag": content.dag,
    "tree": content.tree,
    "car": content.car,
    "placeholder": content.placeholder,
    "name": content.name,
    "leaves": content.leaves,
    "pipe": local.pipe,
    "question": local.question,
    "mountinfo": local.mountinfo,
    "settings": local.settings,
    "address": local.address,
    "exporter": local.exporter,
    "server": local.server,
    "http": servers.http,
    "kubo": servers.kubo,
    "keepers": servers.keepers,
    "hub": servers.hub,
    "listing": servers.listing,
    "router": servers.router,
}


def timed(target: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """A target that must not take long either (s of processor time)."""

    def once(data: bytes) -> None:
        began = time.process_time()
        target(data)
        assert time.process_time() - began < SLOW_S, "too slow"

    return once
