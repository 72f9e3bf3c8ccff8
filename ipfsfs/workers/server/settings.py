"""What the server is told when it starts, in a file in memory: arguments of a process can be read by every user."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

from ipfsfs.errors import FormatError
from ipfsfs.origins.signing import Token


@dataclass(slots=True, frozen=True)
class ServerSettings:
    """`id`: 32 hex digits, random for each start of the daemon, by which a machine knows itself in a list of peers.
    `token`: the text of the site's token, empty for none. `open`: requests without a signature get what is public.
    `share`: what may be served, in the word of `--share`. `peers`: the list of peers as the user gave it; None for
    none. `hub`: the URL of the Hub that leaves may be had from for others, asked without a token; None for none."""

    id: str
    token: str = field(default="", repr=False)
    open: bool = False
    share: str = "public"
    peers: str | None = None
    hub: str | None = None

    @property
    def key(self) -> Token | None:
        """What requests are signed with. Raises UsageError."""
        return Token.of(self.token) if self.token else None

    def to_json(self) -> bytes:
        """As the process reads it."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, text: bytes) -> ServerSettings:
        """Raises FormatError."""
        try:
            return cls(**json.loads(text))
        except (ValueError, TypeError) as error:
            raise FormatError(f"no settings of a server: {error}") from error
