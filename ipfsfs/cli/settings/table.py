"""The table of settings. An option of `mount` that is more than a wish of the moment is one entry here: the flag, the
variable of the environment, the key of the file, `--help` and `ipfsfs config` follow from it.
"""

# ruff: noqa: RUF009  (`_setting` makes a field, as `dataclasses.field` does)
from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from ipfsfs.cli.settings.kinds import (
    HOST_PORT,
    HUB,
    LISTENING,
    PEERS,
    UPSTREAM,
    URL,
    Choice,
    Duration,
    File,
    Kind,
    Parsed,
    SecretFile,
    Several,
    Size,
    Switch,
    Whole,
    team_name,
)
from ipfsfs.daemon.config import CHECKS, NATIVE_FROM, PATIENCE_S, SCRUB_S, SHARES
from ipfsfs.origins.settings import PUBLIC_HUB
from ipfsfs.unixfs.chunk import CHUNKERS, DEFAULT

Scope = Literal["any view", "one view"]
"""Where in the file a setting may stand: what is for one view alone has its place in `[view."PATH"]`."""

_KEY: Final = "setting"
_BYTES: Final = "bytes"
_SECONDS: Final = "seconds"


@dataclass(slots=True, frozen=True)
class Entry:
    """A setting. `meaning`: a sentence for `--help`; `unless_set`: what holds where nothing is said, in words;
    `unit`: of the value, empty where it has none."""

    name: str
    kind: Kind
    unit: str
    meaning: str
    default: Any
    unless_set: str
    environment: str
    scope: Scope

    @property
    def flag(self) -> str:
        """The option of commands."""
        return "--" + self.name.replace("_", "-")

    @property
    def without(self) -> str:
        """The option of commands that says no to a switch."""
        return "--no-" + self.flag[2:]


def _setting(
    default: Any,
    kind: Kind,
    meaning: str,
    *,
    unit: str = "",
    unless_set: str = "",
    environment: str = "",
    scope: Scope = "any view",
) -> Any:
    told = {"kind": kind, "unit": unit, "meaning": meaning, "unless_set": unless_set, "environment": environment}
    return dataclasses.field(default=default, metadata={_KEY: {**told, "scope": scope}})


@dataclass(slots=True, frozen=True)
class Settings:
    """The value of each setting. A field is the table's entry: its name, default, kind, meaning, unit."""

    store: Path | None = _setting(
        None,
        File(),
        "The directory for seals and quarantine",
        unless_set="that of the last view, else PATH.ipfsfs, beside PATH; where PATH is a filesystem of its own, as a "
        "tmpfs is, or its parent is not yours: below ~/.local/state/ipfsfs",
        scope="one view",
    )
    allow_other: bool = _setting(
        False, Switch(), "Let other users in. In root's view, files belong to the user who makes them"
    )
    chunker: str = _setting(
        DEFAULT,
        Choice(tuple(CHUNKERS)),
        "Where files are cut into leaves. " + ". ".join(f"{name}: {rule.meaning}" for name, rule in CHUNKERS.items()),
    )
    restart: bool = _setting(
        False, Switch(), "Start the daemon again if it dies or hangs (the systemd units do that themselves)"
    )
    quarantine_size: int | None = _setting(
        None,
        Size(),
        "Limit of the quarantine, such as 500MB or 16G",
        unit=_BYTES,
        unless_set="a quarter of the free space, at most 16G",
    )
    kubo: tuple[str, ...] = _setting(
        (),
        Several(URL),
        "An IPFS node to have content from, by its RPC: http://127.0.0.1:5001 or unix:///PATH. Repeatable",
        unless_set="none",
    )
    kubo_authorization_file: Path | None = _setting(
        None,
        SecretFile(),
        "A file that holds what the node wants to be asked with, such as: Bearer TOKEN",
        unless_set="none",
    )
    gateway: tuple[str, ...] = _setting(
        (),
        Several(URL),
        "A trustless gateway to have content from. Repeatable",
        unless_set="none",
        environment="IPFSFS_GATEWAYS",
    )
    routing: tuple[str, ...] = _setting(
        (),
        Several(URL),
        "A router to find holders by (routing/v1), such as the gateway port of a Kubo; content comes from them "
        "directly, by HTTP. Repeatable",
        unless_set="none",
    )
    ipfs_kit_py: bool = _setting(
        False,
        Switch(),
        "Have content through the Python package ipfs_kit_py as well, after all other origins. It must be installed "
        "where ipfsfs is",
    )
    hub: str = _setting(
        PUBLIC_HUB,
        HUB,
        "The Hub that files of its repositories are had from again; `none` for none",
        environment="HF_ENDPOINT",
    )
    hub_token_file: Path | None = _setting(
        None,
        SecretFile(),
        "A file that holds a token of the Hub, for private and gated repositories",
        unless_set="none",
    )
    patience: int = _setting(
        PATIENCE_S,
        Whole(1, 86_400, _SECONDS),
        "How long a read waits while nothing comes of a file that is not here; then it fails",
        unit=_SECONDS,
    )
    cache_size: int | None = _setting(
        None,
        Size(),
        "Keep at most this much, such as 200GB, of what origins can give again; the longest unused goes first",
        unit=_BYTES,
        unless_set="parts of files go while less than a tenth of the disk is free, whole files never",
    )
    check: str = _setting(
        "read",
        Choice(CHECKS),
        "Who checks a file's bytes where its filesystem does not. read: every read of them is checked. native: the "
        "kernel reads the file at the disk's speed, once it was verified in full; it is verified again every --scrub, "
        "so that rot is reported within that time, and not prevented",
    )
    scrub: int = _setting(
        SCRUB_S,
        Duration(1, 365 * 86_400),
        "With --check native: how often a file that is read so is verified again",
        unit=_SECONDS,
    )
    native_from: int = _setting(
        NATIVE_FROM,
        Size(),
        "The size from which the kernel reads files itself, where it may: each open then takes longer. 1TB: none",
        unit=_BYTES,
    )
    serve: str | None = _setting(
        None,
        HOST_PORT,
        "Serve blocks to other machines at HOST:PORT, by the trustless gateway protocol",
        unless_set="nothing is served",
        scope="one view",
    )
    peers: str | None = _setting(
        None,
        PEERS,
        "The machines that share what they have: HOST:PORT,... or dns:NAME:PORT, or a file with such a list",
        unless_set="none",
    )
    token_file: Path | None = _setting(
        None,
        SecretFile(),
        "A file that holds the site's token, with which requests between machines are signed; it never travels",
        unless_set="none: then only loopback is served, or all with --open",
    )
    open: bool = _setting(False, Switch(), "Serve public blobs to requests without a signature, too")
    share: str = _setting(
        "public",
        Choice(SHARES),
        "What other machines may have. public: blobs that the Hub gives to anyone. all: every promised blob, a site's "
        "own models too. published: what `publish` named",
    )
    trust_peers: bool = _setting(
        False,
        Switch(),
        "Serve any format that comes from a peer before all of it is here and proven; without, safetensors and GGUF",
    )
    upstream: str | None = _setting(
        None,
        UPSTREAM,
        "Keep a published tree attached: its immutable content fills in where the view has nothing",
        unless_set="none",
        scope="one view",
    )
    team: str | None = _setting(
        None,
        Parsed("the name of a group", "GROUP", team_name),
        "Share the cache within a group (as root): what one of it downloads, all of it can use, update and remove",
        unless_set="no group",
        scope="one view",
    )
    metrics: str | None = _setting(
        None,
        LISTENING,
        "Serve metrics to Prometheus: unix:///PATH or http://127.0.0.1:PORT",
        unless_set="they are not served",
        scope="one view",
    )
    stock_init: bool = _setting(
        False, Switch(), "Let pyfuse3 negotiate with the kernel. Slower; for finding the cause of a fault"
    )


def _entry(field: dataclasses.Field[Any]) -> Entry:
    told = dict(field.metadata[_KEY])
    told["environment"] = told["environment"] or f"IPFSFS_{field.name.upper()}"
    told["unless_set"] = told["unless_set"] or told["kind"].shown(field.default)
    return Entry(name=field.name, default=field.default, **told)


SETTINGS: Final = {field.name: _entry(field) for field in dataclasses.fields(Settings)}
"""All entries, by name."""
ORIGINS: Final = ("kubo", "kubo_authorization_file", "gateway")
"""The settings that commands have too which speak to origins themselves."""
