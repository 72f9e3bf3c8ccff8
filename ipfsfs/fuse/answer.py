"""The one wrapper around every handler (H1): whatever happens in one, the kernel gets an errno and the view goes on."""

from __future__ import annotations

import errno
import functools
import logging
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

import pyfuse3

from ipfsfs.errors import IpfsfsError
from ipfsfs.fuse.turns import passing_on

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")


def answered(handler: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Turn what a handler raises into an errno, the only thing pyfuse3 survives.

    OSError passes its errno on, an error of ours has one, anything else is a bug: logged whole, and EIO.
    """

    @functools.wraps(handler)
    async def answer(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await passing_on(handler(*args, **kwargs))
        except pyfuse3.FUSEError:
            raise
        except Exception as error:  # a bug must cost one request, not the mount
            raise pyfuse3.FUSEError(errno_of(error, handler.__name__)) from None

    return answer


def errno_of(error: Exception, where: str) -> int:
    """What a request that failed is answered with."""
    if isinstance(error, OSError):
        return error.errno or errno.EIO
    if isinstance(error, IpfsfsError):
        return error.errno
    log.error("a bug in %s; the request was answered with EIO", where, exc_info=error)
    return errno.EIO


def unanswered(handler: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, Coroutine[Any, Any, None]]:
    """The same for FORGET, which has no answer: nothing at all may leave its handler."""

    @functools.wraps(handler)
    async def go_on(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            await passing_on(handler(*args, **kwargs))
        except Exception:  # as above
            log.exception("a bug in %s; it was passed over", handler.__name__)

    return go_on
