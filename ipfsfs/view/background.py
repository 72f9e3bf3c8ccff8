"""Tasks that go on behind the requests: whatever comes of one, the view goes on."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import trio

from ipfsfs.errors import IpfsfsError

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Background:
    """Starts tasks in a nursery that outlives the requests; their errors are logged and end nothing."""

    nursery: trio.Nursery

    def start(self, function: Callable[..., Awaitable[object]], *arguments: object) -> None:
        """Start a task. Never waits, never raises."""
        self.nursery.start_soon(logged, function, *arguments)


async def logged(function: Callable[..., Awaitable[object]], *arguments: object) -> None:
    """Run a task to its end; an error in it is logged."""
    try:
        await function(*arguments)
    except IpfsfsError as error:
        log.warning("%s", error)
    except Exception:  # a bug there must not end the view
        log.exception("a bug in a background task")
