"""Several origins, asked one after the other until one has the block. An error says what each of them said."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from ipfsfs.errors import NoOrigin, NotHeld, OriginError, Said, Unreachable
from ipfsfs.origins.origin import Origin
from ipfsfs.unixfs import cid as cids


class Given(NamedTuple):
    """A block, the name of the origin that gave it, and what those said that were asked before."""

    block: bytes
    by: str
    refused: tuple[Said, ...] = ()


@dataclass(slots=True, eq=False)
class Ordered:
    """Origins in the order in which they are asked. Each is to be one with pauses and a time of its own (`Paused`).

    `quick`: asked for blocks before all of them. They are some of `origins` as well, and only there does it count what
    they say when they have none.
    """

    origins: Sequence[Origin]
    quick: Sequence[Origin] = ()

    @property
    def name(self) -> str:
        return ", ".join(origin.name for origin in self.origins) or "no origin"

    async def block(self, cid: bytes) -> bytes:
        """As `given`, without the origin's name."""
        return (await self.given(cid)).block

    async def given(self, cid: bytes) -> Given:
        """The block of the first origin that gives it, and which one that is.

        Raises NotHeld where all say that they do not have it, NoOrigin where there is none, Unreachable where one could
        not be asked (it may have it), else OriginError.
        """
        for origin in self.quick:
            with suppress(OriginError):
                return Given(await origin.block(cid), origin.name)
        said: list[OriginError] = []
        for origin in self.origins:
            try:
                return Given(await origin.block(cid), origin.name, self._said(said))
            except OriginError as error:
                said.append(error)
        raise self._together(cid, said)

    async def has(self, cid: bytes) -> bool:
        """Whether an origin has the block. Raises as `block` does where none says so and one could not answer."""
        said: list[OriginError] = []
        for origin in self.origins:
            try:
                if await origin.has(cid):
                    return True
            except OriginError as error:
                said.append(error)
        if said:
            raise self._together(cid, said)
        return False

    async def aclose(self) -> None:
        for origin in (*self.quick, *self.origins):
            await origin.aclose()

    def _said(self, said: Sequence[OriginError]) -> tuple[Said, ...]:
        """What the first so many origins said."""
        return tuple(Said(origin.name, str(error)) for origin, error in zip(self.origins, said, strict=False))

    def _together(self, cid: bytes, said: Sequence[OriginError]) -> OriginError:
        """One error for what all said: of the kind that leaves the most hope."""
        text = f"no origin gives {cids.to_text(cid)}: " + ("; ".join(dict.fromkeys(map(str, said))) or "none is set")
        hint = next((error.hint for error in said if error.hint), "")
        kind: type[OriginError] = OriginError
        if not said:
            kind = NoOrigin
        elif any(isinstance(error, Unreachable) for error in said):
            kind = Unreachable
        elif all(isinstance(error, NotHeld) for error in said):
            kind = NotHeld
        return kind(text, hint=hint, said=self._said(said))
