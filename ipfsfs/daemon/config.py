"""What a daemon is told when it is started."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from ipfsfs.daemon.codec import decode, encode
from ipfsfs.errors import FormatError, UsageError
from ipfsfs.origins.peer_list import host_port
from ipfsfs.origins.settings import OriginSettings, SiteSettings
from ipfsfs.unixfs.chunk import DEFAULT, Chunker

PATIENCE_S: Final = 60
"""How long a read waits, where the user says nothing, while nothing of its file comes."""
NATIVE_FROM: Final = 256 * 1024
"""The size in bytes from which a file is read natively, where the user says nothing. An open of one costs some eight
system calls more, and of a small file the kernel keeps the pages anyway."""
SCRUB_S: Final = 7 * 86_400
"""How often a file that is read natively is verified, where the user says nothing."""
_AUTHORIZATION_MOST: Final = 8_192


@dataclass(slots=True, frozen=True)
class OriginConfig:
    """An origin of content that is not here. `authorization_file`: holds the value of the header that it is asked with;
    what is in it is never part of a command line. `url` is empty where the kind has none."""

    kind: Literal["kubo", "gateway", "routing", "ipfs_kit_py", "hub"]
    url: str
    authorization_file: Path | None = None

    @property
    def name(self) -> str:
        """What users are told."""
        return f"{self.kind} {self.url}".rstrip()

    def settings(self) -> OriginSettings:
        """With the authorization, read from its file. Raises UsageError."""
        authorization = None
        if self.authorization_file is not None:
            try:
                authorization = self.authorization_file.read_text()[:_AUTHORIZATION_MOST].strip()
            except OSError as error:
                why = error.strerror or str(error)
                raise UsageError(f"the authorization in {self.authorization_file} cannot be read: {why}") from error
            except ValueError as error:
                raise UsageError(f"the authorization in {self.authorization_file} is no text") from error
            if self.kind == "hub":  # such a file holds the token alone, as the client's own does
                authorization = f"Bearer {authorization}" if authorization else None
        return OriginSettings(self.kind, self.url, authorization)


Share = Literal["public", "all", "published"]
"""What other machines may have: blobs that the Hub gives to anyone; all promised blobs; what `publish` named."""
SHARES: Final[tuple[Share, ...]] = ("public", "all", "published")


def share_named(name: str) -> Share:
    """Raises UsageError where there is none of that name."""
    for share in SHARES:
        if share == name:
            return share
    raise UsageError(f"no such share: {name[:40]!r}", hint="There are " + ", ".join(SHARES) + ".")


Check = Literal["read", "native"]
"""Who checks a file's bytes where its filesystem does not: the daemon at each READ; or the sealer, before the file is
first read natively and at an interval."""
CHECKS: Final[tuple[Check, ...]] = ("read", "native")


def check_named(name: str) -> Check:
    """Raises UsageError where there is none of that name."""
    for check in CHECKS:
        if check == name:
            return check
    raise UsageError(f"no such check: {name[:40]!r}", hint="There are " + ", ".join(CHECKS) + ".")


@dataclass(slots=True, frozen=True)
class SiteConfig:
    """How this machine shares with others. `serve`: HOST:PORT where it listens, None where it serves nothing. `peers`:
    as `ipfsfs.origins.peer_list` reads it, None for none. `token_file`: holds the site's token, with which requests are
    signed. `open`: requests without a signature get public blobs. `trusts_peers`: what a peer says of a digest is
    believed before all bytes are here, whatever their format."""

    serve: str | None = None
    peers: str | None = None
    token_file: Path | None = None
    open: bool = False
    share: Share = "public"
    trusts_peers: bool = False

    def token(self) -> str:
        """The text of the site's token, empty where there is none. Raises UsageError."""
        if self.token_file is None:
            return ""
        try:
            text = self.token_file.read_text()[:_AUTHORIZATION_MOST].strip()
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "it is no text"
            raise UsageError(f"the site's token in {self.token_file} cannot be read: {why}") from error
        from ipfsfs.origins.signing import Token  # here: commands load this module, and few have a token to check

        Token.of(text)
        return text


@dataclass(slots=True, frozen=True)
class Config:
    """All paths are absolute and resolved."""

    mountpoint: Path
    store: Path
    allow_other: bool = False
    chunker: Chunker = DEFAULT
    negotiate: bool = True
    """Ask the kernel for more than pyfuse3 does, where that can be done."""
    quarantine_size: int | None = None
    """How many bytes may lie in the quarantine; None: a share of what is free, see `ipfsfs.store.quarantine`."""
    origins: tuple[OriginConfig, ...] = ()
    """Where content is had that is not here, in the order in which they are asked."""
    hub: OriginConfig | None = None
    """The Hub that files are healed from, and asked for after all origins; None: none is."""
    patience_s: int = PATIENCE_S
    cache_size: int | None = None
    """How many bytes may be kept of what origins have; None: extents go while a tenth of their disk is not free."""
    check: Check = "read"
    scrub_s: int = SCRUB_S
    """How often a file is verified that is read natively, where `check` is "native" and its filesystem does not."""
    native_from: int = NATIVE_FROM
    """The size in bytes from which a file is read natively, where it may be."""
    metrics: str | None = None
    """Where metrics are served, see `ipfsfs.daemon.metrics.listening`; None: nowhere."""
    site: SiteConfig = SiteConfig()
    """How content is shared with other machines."""
    upstream: str | None = None
    """A CID or IPNS name of a tree that is kept attached at the root of the view."""
    team: str | None = None
    """A group that shares the cache: what one of it makes, all of it may use."""
    restarts: tuple[int, ...] | None = None
    """When the daemon was started again of late, in seconds since the epoch; None where it is not to be."""

    @property
    def asked(self) -> tuple[OriginConfig, ...]:
        """All that content is had from, in the order in which they are asked."""
        return (*self.origins, *([self.hub] if self.hub is not None else []))

    def origin_settings(self) -> list[OriginSettings]:
        """Of all that content is had from, with what they are asked with. Raises UsageError."""
        return [origin.settings() for origin in self.asked]

    def site_settings(self, machine: str) -> SiteSettings | None:
        """What is needed to speak with other machines, this one knowing itself by `machine`; None where nothing is
        shared. Raises UsageError."""
        site = self.site
        if site.serve is None and site.peers is None:
            return None
        port = 0 if site.serve is None else host_port(site.serve).port
        hub = "" if self.hub is None else self.hub.url
        return SiteSettings(site.peers or "", site.token(), machine, port, hub)

    def to_json(self) -> str:
        """As one line."""
        return json.dumps(encode(self))

    @classmethod
    def from_json(cls, text: str) -> Config:
        """Raises UsageError where the text is no configuration."""
        try:
            return decode(cls, json.loads(text))
        except (ValueError, FormatError) as error:
            raise UsageError(f"no configuration of a daemon: {error}") from error
