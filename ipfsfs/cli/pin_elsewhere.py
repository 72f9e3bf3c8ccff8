"""`ipfsfs pin ... --cluster` and `--service NAME`: pins that others hold."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import click
import trio

from ipfsfs.cli import render
from ipfsfs.errors import OriginError, UsageError
from ipfsfs.origins.registry import OriginSettings, open_pin_keeper
from ipfsfs.origins.remote_pins import PinKeeper, RemotePin
from ipfsfs.printed import printable
from ipfsfs.unixfs import cid as cids

T = TypeVar("T")

NAME_MAX: Final = 60
"""Characters of a pin's name: services take 255 bytes."""
_FIRST_LOOK_S: Final = 0.2
_LOOK_S: Final = 5.0
"""How often at most a keeper is asked how far it is."""


def add(settings: OriginSettings, root: bytes, name: str, *, waits: bool, as_json: bool) -> None:
    """Have a root pinned, and wait until it is. Raises OriginError where that failed."""

    async def ask(keeper: PinKeeper) -> RemotePin:
        pin = await keeper.add(root, name.encode("utf-8", "replace").decode()[:NAME_MAX])
        pause_s, said = _FIRST_LOOK_S, ""
        while waits and pin.state in ("queued", "pinning"):
            if not as_json and pin.state != said:
                said = pin.state
                click.echo(f"{keeper.name}: {said}", err=True)
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
        render.facts(_facts(pin), True)
        return
    click.echo(f"The pin is {pin.state}.", err=True)
    click.echo(cids.to_text(root))


def list_(settings: OriginSettings, *, as_json: bool) -> None:
    """Print the pins that a keeper holds. Raises OriginError."""
    pins = _with(settings, lambda keeper: keeper.all())
    if as_json:
        render.facts([_facts(pin) for pin in pins], True)
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
        render.facts({"cid": cids.to_text(root)}, True)
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


def _facts(pin: RemotePin) -> dict[str, render.Fact]:
    return {"cid": _text(pin), "name": pin.name, "state": pin.state, "why": pin.why, "id": pin.handle}


def _text(pin: RemotePin) -> str:
    return cids.to_text(pin.cid) if pin.cid else "(no CID of UnixFS)"
