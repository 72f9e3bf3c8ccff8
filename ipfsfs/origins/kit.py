"""An adapter: blocks by way of the Python package ipfs_kit_py, where that is installed. It is off unless asked for.

The package is imported when the first block is asked for, by who asks origins (the fetching process, or a command that
speaks to origins itself), never by the daemon. Nothing that it says is believed: `checked.Checked` hashes its blocks
like those of every origin, and what it reports of a failure is sorted by its words, for it has no others.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import trio

from ipfsfs.errors import NotHeld, OriginError, Unreachable
from ipfsfs.origins.origin import gives
from ipfsfs.origins.settings import KIT
from ipfsfs.unixfs import cid as cids
from ipfsfs.unixfs.dagpb import BLOCK_MAX

_MODULE: Final = "ipfs_kit_py.ipfs.ipfs_py"
_CLASS: Final = "ipfs_py"
_AT_ONCE: Final = 8
"""Calls side by side. A call cannot be ended: one that hangs keeps its place."""
_ABSENT: Final = re.compile(r"not found|no such|not have|does not exist|404|unknown cid", re.IGNORECASE)
_AWAY: Final = re.compile(r"connect|refused|unreachable|timed? ?out|no route", re.IGNORECASE)
_SAID_MOST: Final = 200


class _Backend(Protocol):
    """The part of the package that is used."""

    def block_get(self, cid: str) -> object:
        """A dict with `success`, and with `data` or `error`."""


@dataclass(slots=True, eq=False)
class Kit:
    """An origin that asks the package."""

    _backend: _Backend | None = None
    _limiter: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(_AT_ONCE))
    _opening: trio.Lock = field(default_factory=trio.Lock)

    @property
    def name(self) -> str:
        return KIT

    async def block(self, cid: bytes) -> bytes:
        """The block. Raises NotHeld, Unreachable, OriginError."""
        backend = await self._opened()
        text = cids.to_text(cid)
        return _block(text, await self._call(backend.block_get, text))

    async def has(self, cid: bytes) -> bool:
        """Whether the package gives the block: it cannot be asked in another way."""
        return await gives(self, cid)

    async def aclose(self) -> None:
        self._backend = None

    async def _opened(self) -> _Backend:
        async with self._opening:
            if self._backend is None:
                self._backend = await self._call(_open)
            return self._backend

    async def _call(self, function: Any, *arguments: Any) -> Any:
        """Call into the package, in a thread. Whatever it raises is an error of ours."""
        try:
            return await trio.to_thread.run_sync(function, *arguments, abandon_on_cancel=True, limiter=self._limiter)
        except OriginError:
            raise
        except OSError as error:
            raise Unreachable(f"{KIT} cannot be reached: {error.strerror or type(error).__name__}") from error
        except Exception as error:  # whatever code of others raises
            raise OriginError(f"{KIT} failed: {type(error).__name__}: {str(error)[:_SAID_MOST]}") from error


def _open() -> _Backend:
    try:
        found: Any = getattr(importlib.import_module(_MODULE), _CLASS)
    except Exception as error:  # importing it runs its code
        raise Unreachable(
            f"{KIT} cannot be imported: {type(error).__name__}: {str(error)[:_SAID_MOST]}",
            hint="Install it where ipfsfs is, or do without --ipfs-kit-py.",
        ) from error
    backend = found({}, {})
    if not callable(getattr(backend, "block_get", None)):
        raise Unreachable(f"this {KIT} has no block_get, and is of no use as an origin")
    opened: _Backend = backend
    return opened


def _block(text: str, said: object) -> bytes:
    """The block in an answer. Raises NotHeld, Unreachable, OriginError."""
    if not isinstance(said, Mapping):
        raise OriginError(f"{KIT} gave {type(said).__name__} for {text}, not a dict")
    if said.get("success") is not True:
        raise _failure(text, said.get("error"))
    if (told := said.get("cid")) not in (None, text):
        raise OriginError(f"{KIT} gave {str(told)[:_SAID_MOST]!r} for {text}")
    data = said.get("data")
    if not isinstance(data, bytes | bytearray):
        raise OriginError(f"{KIT} says that it has {text}, and gives nothing")
    if len(data) > BLOCK_MAX:
        raise OriginError(f"{KIT} gave {len(data)} bytes for {text}: no block is longer than {BLOCK_MAX}")
    return bytes(data)


def _failure(text: str, error: object) -> OriginError:
    why = str(error or "for no reason that it names")[:_SAID_MOST]
    if _ABSENT.search(why):
        return NotHeld(f"{KIT} does not have {text}: {why}")
    if _AWAY.search(why):
        return Unreachable(f"{KIT} cannot be reached: {why}")
    return OriginError(f"{KIT} failed for {text}: {why}")
