"""Origins as a user names them: what commands and the daemon pass on, without the code that speaks to them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from ipfsfs.errors import UsageError
from ipfsfs.origins import address
from ipfsfs.origins.address import Address

PUBLIC_HUB: Final = "https://huggingface.co"
"""The Hub that its clients ask where no other is named."""
KIT: Final = "ipfs_kit_py"
"""The package that is an origin, and the name of that kind."""
HINTS_MAX: Final = 8
"""Roots that holders are looked for by, besides what is asked for: of trees that were attached."""


@dataclass(frozen=True, slots=True)
class OriginSettings:
    """One origin as a user names it. `kind`: of `registry.KINDS`.

    `authorization`: the value of that header (`Bearer ...`, `Basic ...`), which no text of this room shows.
    """

    kind: str
    url: str
    authorization: str | None = field(default=None, repr=False)

    def checked(self) -> tuple[Address, str]:
        """The address, and the value of the header, which may be empty. Raises UsageError where one makes no sense."""
        at = address.parse(self.url)
        authorization = self.authorization or ""
        if not authorization.isascii() or not authorization.isprintable() or authorization != authorization.strip():
            raise UsageError(
                f"the credentials for {at.shown} cannot be the value of a header (a line too many, perhaps)",
                hint="They look like `Bearer TOKEN` or `Basic BASE64`.",
            )
        return at, authorization


@dataclass(frozen=True, slots=True)
class SiteSettings:
    """What a process needs to speak with other machines. `peers`: as `peer_list` reads it. `token`: the text of the
    site's token, empty for none. `id`: by which a machine knows itself, 32 hex digits drawn at its start. `port`: where
    this machine serves, 0 where it does not. `hub`: address of the Hub that other machines may be told of, empty for
    none."""

    peers: str
    token: str = field(default="", repr=False)
    id: str = ""
    port: int = 0
    hub: str = ""
