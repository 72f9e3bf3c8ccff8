"""The parts of the server that are about other machines, put together: the one place where they are chosen."""

from __future__ import annotations

from dataclasses import dataclass

from ipfsfs.origins.hub_lane import HubLane
from ipfsfs.origins.peers import Peers
from ipfsfs.origins.registry import HUB, open_hub
from ipfsfs.origins.settings import OriginSettings, SiteSettings
from ipfsfs.workers.server.endpoints import Endpoints
from ipfsfs.workers.server.relay import Relay
from ipfsfs.workers.server.relay_blocks import RelayBlocks
from ipfsfs.workers.server.settings import ServerSettings
from ipfsfs.workers.server.site_endpoints import SiteEndpoints
from ipfsfs.workers.server.totals import Totals


@dataclass(slots=True, frozen=True)
class Parts:
    """`endpoints`: what machines tell each other. `relay`: what is had for others."""

    endpoints: Endpoints
    relay: Relay


def parts(settings: ServerSettings, totals: Totals) -> Parts:
    """The parts of a server with these settings. `totals`: what it has given, kept up to date by the server."""
    said = SiteSettings(settings.peers or "", settings.token or "", settings.id)
    peers = Peers(said)
    lane = HubLane(open_hub(OriginSettings(HUB, settings.hub))) if settings.hub else None
    endpoints = SiteEndpoints(settings, totals, peers)
    return Parts(endpoints, RelayBlocks(peers, lane, totals=totals))
