"""The parts of the server that are about other machines, put together: the one place where they are chosen."""

from __future__ import annotations

from dataclasses import dataclass

from ipfsfs.workers.server.endpoints import Endpoints, NoEndpoints
from ipfsfs.workers.server.relay import NoRelay, Relay
from ipfsfs.workers.server.settings import ServerSettings
from ipfsfs.workers.server.totals import Totals


@dataclass(slots=True, frozen=True)
class Parts:
    """`endpoints`: what machines tell each other. `relay`: what is had for others."""

    endpoints: Endpoints
    relay: Relay


def parts(settings: ServerSettings, totals: Totals) -> Parts:
    """The parts of a server with these settings. `totals`: what it has given, kept up to date by the server."""
    return Parts(NoEndpoints(), NoRelay())
