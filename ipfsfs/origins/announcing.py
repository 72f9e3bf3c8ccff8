"""A node that announces content which it does not hold: it keeps the root block alone, and the blocks below are served
by HTTP from somewhere else, at an address that the node announces as one of its own.

That address is a setting of the node (`Addresses.AppendAnnounce`), which takes its restart: what is lacking is said.
"""

from __future__ import annotations

import ipaddress
import json
import shlex
from dataclasses import dataclass
from typing import Any, Final

from ipfsfs.errors import OriginError, UsageError
from ipfsfs.origins.rpc import Rpc
from ipfsfs.unixfs import cid as cids

_PROVIDE_S: Final = 120.0
"""Kubo tells its DHT for up to a minute before it answers."""
_ANNOUNCED: Final = "Addresses.AppendAnnounce"
_BITSWAP: Final = "Bitswap.Libp2pEnabled"
_TOLD_MAX: Final = 1 << 20
_NAME_MAX: Final = 255
_ELSEWHERE: Final = "ADDRESS-OF-THIS-MACHINE"


@dataclass(slots=True, frozen=True)
class Announced:
    """How a root is announced. `commands`: what is to be run on the node's machine so that others find the way to this
    server, which takes a restart of the node; empty where nothing is lacking. `trouble`: what the node said where it
    did not announce the root now; it does so by itself at intervals. `holds_all`: the node has all content of the root,
    and gives it itself."""

    commands: tuple[str, ...] = ()
    trouble: str = ""
    holds_all: bool = False


@dataclass(slots=True, frozen=True)
class Announcing:
    """One node, by its RPC."""

    rpc: Rpc

    async def announce(self, root: bytes, name: str, served_at: str) -> Announced:
        """Pin the block of `root`, which the node has, and nothing below it; have it announced. `served_at`: HOST:PORT
        of the server that gives what is below. Raises Unreachable, OriginError."""
        if len(name.encode()) > _NAME_MAX:
            raise UsageError(f"the name of a pin is longer than {_NAME_MAX} bytes: {name[:60]!r}...")
        text = cids.to_text(root)
        holds_all = not await self._pinned(text, name)
        commands = await self._lacking(served_at)
        try:
            await self.rpc.call("routing/provide", (("arg", text),), _TOLD_MAX, answer_s=_PROVIDE_S)
            trouble = ""
        except OriginError as error:
            trouble = str(error)
        return Announced(commands, trouble, holds_all)

    async def _pinned(self, text: str, name: str) -> bool:
        """Pin one block; returns False where all below it is pinned already."""
        arguments = (("arg", text), ("recursive", "false"), ("name", name), ("offline", "true"))
        try:
            await self.rpc.ask("pin/add", arguments)
        except OriginError as error:
            if "already pinned recursively" in str(error):
                return False
            raise
        return True

    async def _lacking(self, served_at: str) -> tuple[str, ...]:
        """The commands that set what the node's configuration lacks."""
        commands = []
        ours = multiaddr(served_at)
        said = await self._setting(_ANNOUNCED)
        listed = [one for one in said if isinstance(one, str)] if isinstance(said, list) else []
        end = ours.removeprefix(f"/ip4/{_ELSEWHERE}")
        if not any(one == ours or (_ELSEWHERE in ours and one.endswith(end)) for one in listed):
            commands.append(f"ipfs config --json {_ANNOUNCED} {shlex.quote(json.dumps([*listed, ours]))}")
        if await self._setting(_BITSWAP) is not False:
            # Others would ask it by bitswap for blocks that it has not, and wait.
            commands.append(f"ipfs config --json {_BITSWAP} false")
        return tuple(commands)

    async def _setting(self, key: str) -> Any:
        """A setting of the node; None where it has none, or does not say."""
        try:
            return (await self.rpc.ask("config", (("arg", key),), _TOLD_MAX)).get("Value")
        except OriginError:
            return None


def multiaddr(served_at: str) -> str:
    """How Kubo names a server at HOST:PORT. It takes plain HTTP from an IP address only, never from a name."""
    host, _, port = served_at.rpartition(":")
    try:
        ip = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return f"/ip4/{_ELSEWHERE}/tcp/{port}/http"
    return f"/ip4/{_ELSEWHERE}/tcp/{port}/http" if ip.is_unspecified else f"/ip{ip.version}/{ip}/tcp/{port}/http"
