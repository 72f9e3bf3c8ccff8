"""Who asks."""

from __future__ import annotations

from dataclasses import dataclass

from ipfsfs.origins.peer_list import HostPort


@dataclass(slots=True, frozen=True)
class Ends:
    """The two ends of a connection. `host`: the remote address, without a port. `local`: where it was made to."""

    host: str
    local: HostPort


@dataclass(slots=True, frozen=True)
class Caller:
    """Who sent a request that is answered. `host`: the remote address of its connection, without a port."""

    host: str
    is_signed: bool
    """Whether it was signed with the site's token: only then it may have, and hear of, what is not public."""
    is_of_site: bool
    """Whether it may announce, ask for leases, and have something fetched for it: it was signed, or there is no token,
    so that all who are let in are alike."""
