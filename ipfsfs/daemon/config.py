"""What a daemon is told when it is started."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from ipfsfs.errors import UsageError
from ipfsfs.unixfs.chunk import Chunker

_CHUNKERS: Final[dict[str, Chunker]] = {"auto": "auto", "fixed": "fixed"}


@dataclass(slots=True, frozen=True)
class Config:
    """All paths are absolute and resolved."""

    mountpoint: Path
    store: Path
    allow_other: bool = False
    chunker: Chunker = "auto"
    negotiate: bool = True
    """Ask the kernel for more than pyfuse3 does, where that can be done."""

    def to_json(self) -> str:
        """As one line."""
        return json.dumps({key: str(v) if isinstance(v, Path) else v for key, v in asdict(self).items()})

    @classmethod
    def from_json(cls, text: str) -> Config:
        """Raises UsageError where the text is no configuration."""
        try:
            read = json.loads(text)
            chunker = _CHUNKERS[read["chunker"]]
            paths = Path(read["mountpoint"]), Path(read["store"])
            return cls(*paths, bool(read["allow_other"]), chunker, bool(read["negotiate"]))
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"no configuration of a daemon: {error}") from error
