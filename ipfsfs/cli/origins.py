"""The origins that settings name: where content is had that is not here, and where it is published."""

from __future__ import annotations

import importlib.util
import sys

from ipfsfs.cli.settings.kinds import NO_HUB
from ipfsfs.cli.settings.table import Settings
from ipfsfs.daemon.config import OriginConfig
from ipfsfs.errors import UsageError
from ipfsfs.origins.settings import KIT


def origins_of(settings: Settings) -> tuple[OriginConfig, ...]:
    """The origins, in the order in which they are asked. Raises UsageError for a package that is not installed."""
    if settings.ipfs_kit_py and importlib.util.find_spec(KIT) is None:  # which imports nothing of it
        raise UsageError(
            f"{KIT} is not installed where ipfsfs is",
            hint=f"Install it for {sys.executable}, or do without --ipfs-kit-py.",
        )
    return (
        *(OriginConfig("routing", url) for url in settings.routing),
        *(OriginConfig("kubo", url, settings.kubo_authorization_file) for url in settings.kubo),
        *(OriginConfig("gateway", url) for url in settings.gateway),
        *(OriginConfig("ipfs_kit_py", "") for _ in range(settings.ipfs_kit_py)),
    )


def hub_of(settings: Settings) -> OriginConfig | None:
    """The Hub. Raises UsageError for a token that is for no Hub, or that cannot be sent."""
    token_file = settings.hub_token_file
    if settings.hub == NO_HUB:
        if token_file is not None:
            raise UsageError("--hub-token-file names a token, and there is no Hub to give it to: --hub none")
        return None
    config = OriginConfig("hub", settings.hub, token_file)
    config.settings().checked()
    return config
