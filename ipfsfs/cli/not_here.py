"""What a view leaves behind on plain disk that is not wholly there: for `umount`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ipfsfs.cli import render
from ipfsfs.daemon.config import OriginConfig, SiteConfig
from ipfsfs.errors import MountError
from ipfsfs.exchange.overview import Entry, EntryKind, Known, has_placeholders, overview
from ipfsfs.origins.settings import PUBLIC_HUB
from ipfsfs.plain.directory import PlainDirectory
from ipfsfs.printed import command, printable, shell

_NAMED_MOST: Final = 8
_FILE_OPTIONS: Final = {"kubo": "--kubo-authorization-file", "hub": "--hub-token-file"}


@dataclass(slots=True, frozen=True)
class Missing:
    """Something of which `missing` bytes, of `size`, are not here."""

    kind: EntryKind
    name: str
    size: int
    missing: int


@dataclass(slots=True, frozen=True)
class NotHere:
    """Entries of a plain directory (`at`) with files that are links there, those with most bytes first; `command`
    mounts a view in which they can be read."""

    at: Path = Path()
    entries: tuple[Entry, ...] = ()
    command: str = ""

    @classmethod
    def of(cls, at: Path, origins: tuple[OriginConfig, ...], site: SiteConfig | None) -> NotHere:
        """What is not wholly in the plain directory `at`. Nothing where that cannot be looked at (any more)."""
        try:
            plain = PlainDirectory.open(at)
        except MountError:
            return cls()
        try:
            if not has_placeholders(plain.fd, bytes(at)):
                return cls()
            found = overview(plain.fd, bytes(at), Known())
        except OSError:
            return cls()
        finally:
            plain.close()
        entries = [entry for entry in found.entries if entry.here < entry.size]
        entries.sort(key=lambda entry: entry.here - entry.size)
        return cls(at, tuple(entries), _command(at, origins, site))

    def as_facts(self) -> tuple[Missing, ...]:
        """For scripts."""
        return tuple(Missing(entry.kind, entry.name, entry.size, entry.size - entry.here) for entry in self.entries)

    def in_words(self) -> Iterator[str]:
        """For a person; nothing where all is here."""
        if not self.entries:
            return
        yield "Not wholly here, and left as links that name their content:"
        for entry in self.entries[:_NAMED_MOST]:
            missing = render.size(entry.size - entry.here)
            yield f"  {printable(entry.name)}: {missing} of {render.size(entry.size)} missing"
        if len(self.entries) > _NAMED_MOST:
            yield f"  and {len(self.entries) - _NAMED_MOST:,} more"
        yield f"They come when they are read, after: {self.command}"
        yield f"To have all of them on plain disk, then: {command('prefetch', self.at)}"
        repositories = [entry for entry in self.entries if entry.kind not in ("other", "unfinished")]
        if repositories:
            yield "Until then `hf cache` does not see the repositories among them. To remove the first instead:"
            yield f"  rm -rf {shell(self.at / os.fsdecode(repositories[0].path))}"


def _command(at: Path, origins: tuple[OriginConfig, ...], site: SiteConfig | None) -> str:
    words = [command("mount"), *(_option(origin) for origin in origins if origin.url != PUBLIC_HUB)]
    files = {(origin.kind, origin.authorization_file) for origin in origins if origin.authorization_file is not None}
    words += [f"{_FILE_OPTIONS[kind]} {shell(file)}" for kind, file in sorted(files)]
    peers = None if site is None else site.peers
    if site is not None and peers is not None:
        words.append(f"--peers {shell(peers)}")
        if site.token_file is not None:
            words.append(f"--token-file {shell(site.token_file)}")
    if not origins and peers is None:
        words.append("--kubo URL")  # it was mounted without any: nobody but the user knows who has the content
    return " ".join([*words, shell(at)])


def _option(origin: OriginConfig) -> str:
    return " ".join([f"--{origin.kind.replace('_', '-')}", *([shell(origin.url)] if origin.url else [])])
