"""Settings and what a daemon is told, one from the other; and which of those that were asked for a view lacks."""

from __future__ import annotations

from collections.abc import Container, Iterator
from pathlib import Path

from ipfsfs.cli import stores
from ipfsfs.cli.origins import hub_of, origins_of
from ipfsfs.cli.paths import mountpoint
from ipfsfs.cli.settings.kinds import NO_HUB, Switch
from ipfsfs.cli.settings.table import SETTINGS, Entry, Settings
from ipfsfs.daemon.config import Config, SiteConfig, check_named, share_named
from ipfsfs.unixfs.chunk import chunker_named


def config_of(at: Path, settings: Settings, *, foreground: bool) -> Config:
    """What a daemon is told. Raises UsageError for settings that make no sense together."""
    return Config(
        mountpoint=at,
        store=mountpoint(settings.store) if settings.store is not None else stores.of_moved(at).warned(),
        allow_other=settings.allow_other or settings.team is not None,
        chunker=chunker_named(settings.chunker),
        negotiate=not settings.stock_init,
        quarantine_size=settings.quarantine_size,
        origins=origins_of(settings),
        hub=hub_of(settings),
        patience_s=settings.patience,
        cache_size=settings.cache_size,
        check=check_named(settings.check),
        scrub_s=settings.scrub,
        native_from=settings.native_from,
        metrics=settings.metrics,
        site=SiteConfig(
            serve=settings.serve,
            peers=settings.peers,
            token_file=settings.token_file,
            open=settings.open,
            share=share_named(settings.share),
            trusts_peers=settings.trust_peers,
        ),
        upstream=settings.upstream,
        team=settings.team,
        restarts=() if settings.restart and not foreground else None,
    )


def settings_of(config: Config) -> Settings:
    """The settings that are in force where a daemon was told this. A secret that goes to no origin is not."""
    kubo = [origin for origin in config.origins if origin.kind == "kubo"]
    hub, site = config.hub, config.site
    return Settings(
        store=config.store,
        allow_other=config.allow_other,
        chunker=config.chunker,
        restart=config.restarts is not None,
        quarantine_size=config.quarantine_size,
        kubo=_urls(config, "kubo"),
        kubo_authorization_file=kubo[0].authorization_file if kubo else None,
        gateway=_urls(config, "gateway"),
        routing=_urls(config, "routing"),
        ipfs_kit_py=bool(_urls(config, "ipfs_kit_py")),
        hub=hub.url if hub is not None else NO_HUB,
        hub_token_file=hub.authorization_file if hub is not None else None,
        patience=config.patience_s,
        cache_size=config.cache_size,
        check=config.check,
        scrub=config.scrub_s,
        native_from=config.native_from,
        serve=site.serve,
        peers=site.peers,
        token_file=site.token_file,
        open=site.open,
        share=site.share,
        trust_peers=site.trusts_peers,
        upstream=config.upstream,
        team=config.team,
        metrics=config.metrics,
        stock_init=not config.negotiate,
    )


def _urls(config: Config, kind: str) -> tuple[str, ...]:
    return tuple(origin.url for origin in config.origins if origin.kind == kind)


def lacking(names: Container[str], asked: Settings, mounted: Settings) -> Iterator[str]:
    """Of the settings of these names, a sentence for each that was asked for and is not so in a mounted view."""
    for name, entry in SETTINGS.items():
        wanted, has = getattr(asked, name), getattr(mounted, name)
        if name not in names or wanted == has:
            continue
        if isinstance(entry.kind, Switch):
            yield f"{entry.flag if wanted else entry.without} is not in force."
        else:
            yield f"{entry.flag} {entry.kind.shown(wanted)} is not in force (in force: {_in_words(entry, has)})."


def _in_words(entry: Entry, value: object) -> str:
    return entry.unless_set if value == entry.default else entry.kind.shown(value)
