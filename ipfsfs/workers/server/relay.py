"""*Get*: a block that is not here, had for another machine of the site, from the holders it names, else from the Hub.

What the question holds beside the CID, as parameters of the query (a *have* has the header `Cache-Control:
only-if-cached`, and is never passed on; with `leaves=N` it asks for so many leaves of the file `root`, from this one
on):

    root=CID  holders=HOST:PORT,...  hub=KIND/NAME/COMMIT/PATH (percent-encoded)  at=OFFSET  length=N
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ipfsfs.origins.hub_file import HubFile
from ipfsfs.origins.peer_list import HostPort


@dataclass(slots=True, frozen=True)
class Sought:
    """A leaf that another machine wants. `root`: the CID of its file. `at`, `length`: where it lies in that, and how
    many bytes it has (at most 2 MiB). `holders`: at most 8. `hub`: a file on the Hub that has it, asked without a
    token; None where none was named. All of it is what the asker says; only the form was checked."""

    cid: bytes
    root: bytes
    at: int
    length: int
    holders: tuple[HostPort, ...]
    hub: HubFile | None


class Relay(Protocol):
    """Has blocks that are not here."""

    async def get(self, sought: Sought) -> bytes | None:
        """The block, compared with its CID; None where it cannot be had. Bounds itself in time and memory. Raises
        trio.TooSlowError or WouldBlock where it has too much to do: the asker is told to try later."""


class NoRelay:
    """Has nothing: what is not here is not given."""

    async def get(self, sought: Sought) -> bytes | None:
        """As `Relay`."""
        return None
