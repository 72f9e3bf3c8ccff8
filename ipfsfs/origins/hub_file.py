"""What a file is called on a Hub."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a repository at a revision. `kind`: models, datasets, ... `with_token`: as its user."""

    kind: str
    repository: str
    revision: str
    path: str
    with_token: bool = False

    @property
    def target(self) -> str:
        """Path of the URL that it is had from."""
        kind = "" if self.kind == "models" else self.kind + "/"
        return f"/{kind}{quote(self.repository)}/resolve/{quote(self.revision, safe='')}/{quote(self.path)}"
