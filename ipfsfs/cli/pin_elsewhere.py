"""`ipfsfs pin ... --cluster` and `--service NAME`: pins that others hold."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

import click
import trio

from ipfsfs.cli.scripts import tell
from ipfsfs.errors import OriginError, UsageError
from ipfsfs.origins.registry import open_pin_keeper
from ipfsfs.origins.remote_pins import PinKeeper, RemotePin, RemoteState
from ipfsfs.origins.settings import OriginSettings
from ipfsfs.printed import command, printable
from ipfsfs.unixfs import cid as cids

T = TypeVar("T")

NAME_MAX: Final = 60
"""Characters of a pin's name: services take 255 bytes."""
_FIRST_LOOK_S: Final = 0.2
_LOOK_S: Final = 5.0
"""How often at most a keeper is asked how far it is."""
_TOLD_S: Final = 60.0
_UNDECIDED: Final = ("queued", "pinning")


@dataclass(slots=True, frozen=True)
class RemoteFacts:
    """A pin that a cluster or service holds: `id` is what it is known by there, `why` its words on a failure."""

    cid: str
    name: str
    state: RemoteState
    why: str
    id: str


@dataclass(slots=True, frozen=True)
class Unpinned:
    """What is pinned no longer. `freed`: bytes of disk; null of a cluster or service."""

    cid: str
    freed: int | None = None


def add(settings: OriginSettings, root: bytes, name: str, *, wait_s: int, as_json: bool) -> None:
    """Have a root pinned, and wait until it is, for at most `wait_s` seconds while its state stays the same. Raises
    OriginError where that failed, and where it was waited in vain."""

    async def ask(keeper: PinKeeper) -> RemotePin:
        pin = await keeper.add(root, name.encode("utf-8", "replace").decode()[:NAME_MAX])
        pause_s = _FIRST_LOOK_S
        waiting = _Waiting(keeper, wait_s, is_quiet=as_json)
        while wait_s and pin.state in _UNDECIDED:
            waiting.look_at(pin)
            await trio.sleep(pause_s)
            pause_s = min(pause_s * 1.5, _LOOK_S)
            found = await keeper.look(root)
            if found is None:
                raise OriginError(f"{keeper.name} has dropped the pin of {cids.to_text(root)}")
            pin = found
        if pin.state == "failed":
            raise OriginError(
                f"{keeper.name} cannot pin {cids.to_text(root)}{f': {pin.why}' if pin.why else ''}",
                hint="It has to find every block: publish the content to a node that it reaches, then pin it again.",
            )
        return pin

    pin = _with(settings, ask)
    if as_json:
        tell(_facts(pin))
        return
    click.echo(f"The pin is {pin.state}.", err=True)
    click.echo(cids.to_text(root))


@dataclass(slots=True)
class _Waiting:
    """A wait for a pin, which is told of from time to time."""

    keeper: PinKeeper
    most_s: int
    is_quiet: bool
    news: tuple[RemoteState, str] | None = None
    """What its keeper says of the pin."""
    since: float = -math.inf
    _told_at: float = -math.inf

    def look_at(self, pin: RemotePin) -> None:
        """The pin as it is now. Raises OriginError where nothing new was said of it for too long."""
        now = trio.current_time()
        if (pin.state, pin.why) != self.news:
            self.news, self.since, self._told_at = (pin.state, pin.why), now, -math.inf
        for_s = now - self.since
        if for_s > self.most_s:
            raise OriginError(
                f"{self.keeper.name} has not got on with {cids.to_text(pin.cid)} for {self.most_s} s: it is {pin.state}"
                + (f" ({pin.why})" if pin.why else ""),
                hint="It may go on there by itself: run this again to wait on, or list the pins "
                f"(`{command('pin ls')}`).",
            )
        if not self.is_quiet and now - self._told_at >= _TOLD_S:
            self._told_at = now
            details = f" ({pin.why})" if pin.why else ""
            since = f" for {for_s / 60:.0f} min" if for_s > 1 else ""
            click.echo(f"{self.keeper.name}: {pin.state}{since}{details}", err=True)


def list_(settings: OriginSettings, *, as_json: bool) -> None:
    """Print the pins that a keeper holds. Raises OriginError."""
    pins = _with(settings, lambda keeper: keeper.all())
    if as_json:
        tell([_facts(pin) for pin in pins])
        return
    for pin in pins:
        why = f" ({printable(pin.why)})" if pin.why else ""
        click.echo(f"{_text(pin)}  {pin.state}{why}  {printable(pin.name)}".rstrip())
    if not pins:
        click.echo("Nothing is pinned there.")


def remove(settings: OriginSettings, root: bytes, *, as_json: bool) -> None:
    """Remove the pins of a root. Raises OriginError, and UsageError where there is none."""
    if not _with(settings, lambda keeper: keeper.remove(root)):
        raise UsageError(f"{cids.to_text(root)} is not pinned there")
    if as_json:
        tell(Unpinned(cids.to_text(root)))
    else:
        click.echo(f"Unpinned {cids.to_text(root)}.")


def _with(settings: OriginSettings, ask: Callable[[PinKeeper], Awaitable[T]]) -> T:
    async def main() -> T:
        keeper = open_pin_keeper(settings)
        try:
            return await ask(keeper)
        finally:
            await keeper.aclose()

    return trio.run(main)


def _facts(pin: RemotePin) -> RemoteFacts:
    return RemoteFacts(_text(pin), pin.name, pin.state, pin.why, pin.handle)


def _text(pin: RemotePin) -> str:
    return cids.to_text(pin.cid) if pin.cid else "(no CID of UnixFS)"
